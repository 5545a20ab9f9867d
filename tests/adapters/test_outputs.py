"""Models that return more than logits: `output` chooses by key, index or function, and messages say what there is."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xai_jax import adapt, network, saliency, targets

X = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


def outputs(x, axes):
    """Features and logits, as one of the structures below."""
    features = x.mean(axes)
    return features, jnp.asarray(W).T @ features if features.ndim == 1 else features @ W


STRUCTURES = {
    "dictionary": (lambda features, logits: {"aux": (features,), "logits": logits}, "logits"),
    "pair": (lambda features, logits: (features, logits), 1),
    "nested": (lambda features, logits: {"heads": [features, logits]}, lambda outputs: outputs["heads"][1]),
}


def function(structure, **options):
    return adapt.from_function(lambda x: structure(*outputs(x, (1, 2))), **options)


def linen(structure, **options):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            self.param("unused", nn.initializers.zeros, (1,))
            return structure(*outputs(x, (1, 2)))

    module = Model()
    return adapt.from_linen(module, module.init(jax.random.key(0), X, train=False), train=False, **options)


def from_nnx(structure, **options):
    class Model(nnx.Module):
        def __call__(self, x):
            return structure(*outputs(x, (1, 2)))

    return adapt.from_nnx(Model(), **options)


def equinox(structure, **options):
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        def __call__(self, x, state):
            return structure(*outputs(x, (1, 2))), state

    return adapt.from_equinox(Model(), jnp.zeros(1), **options)


def haiku(structure, **options):
    hk = pytest.importorskip("haiku")
    return adapt.from_haiku(hk.transform(lambda x: structure(*outputs(x, (1, 2)))), {}, **options)


def keras(structure, **options):
    keras = pytest.importorskip("keras")
    inputs = keras.Input((4, 4, 3))
    features = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(5, use_bias=False)
    model = keras.Model(inputs, structure(features, dense(features)))
    dense.set_weights([W])
    return adapt.from_keras(model, **options)


ADAPTERS = [function, linen, from_nnx, equinox, haiku, keras]


@pytest.mark.parametrize("make", ADAPTERS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_logits_are_chosen_by_key_index_or_function(make, name):
    structure, output = STRUCTURES[name]
    net = make(structure, output=output)
    np.testing.assert_allclose(net(X), X.mean((1, 2)) @ W, atol=1e-5)
    map_ = saliency.gradient(net, X, targets.logit(2))
    np.testing.assert_allclose(map_, np.broadcast_to(W[:, 2] / 16, X.shape), atol=1e-6)


@pytest.mark.parametrize("make", ADAPTERS)
def test_messages_say_what_a_model_returns_and_how_to_choose(make):
    one = () if make is equinox else (2,)
    net = make(STRUCTURES["dictionary"][0])
    for use in (net, lambda x: saliency.gradient(net, x, targets.logit(2)), lambda x: network.layer_names(net, x)):
        with pytest.raises(ValueError, match="^Expected one array of logits, the model returned ") as caught:
            use(X)
        message = str(caught.value)
        assert f"['aux'][0] {(*one, 3)}, ['logits'] {(*one, 5)}. Choose by key, index or function: " in message
        assert "output='logits' or output=lambda outputs: outputs['logits']." in message and len(message) <= 600
    with pytest.raises(ValueError, match=r"returned \[0\].*, \[1\].* Choose by .*: output=0 or output=lambda"):
        make(STRUCTURES["pair"][0])(X)
    with pytest.raises(ValueError, match=r"Choose by function: output=lambda outputs: outputs\['heads'\]\[0\]\."):
        make(STRUCTURES["nested"][0])(X)


@pytest.mark.parametrize(
    "output", ["logit", 7, "heads", lambda outputs: 1 / 0, lambda outputs: None, lambda outputs: outputs]
)
def test_outputs_that_are_none(output):
    net = function(lambda features, logits: {"heads": [features, logits], "long" * 100: logits}, output=output)
    with pytest.raises(ValueError, match=r"^Expected .* output=.*the model returned \['heads'\]\[0\]") as caught:
        saliency.gradient(net, X, targets.logit(2))
    assert len(str(caught.value)) <= 600


def test_a_model_of_one_output_needs_no_choice():
    for output in (0, "logits"):
        with pytest.raises(ValueError, match="Expected no output=, as the model returns one array"):
            function(lambda _, logits: logits, output=output)(X)
    np.testing.assert_array_equal(function(lambda _, logits: logits, output=lambda y: y[:, :2])(X).shape, (2, 2))
    for output in (True, 1.5, ["logits"]):
        with pytest.raises(TypeError, match="Expected output as a key, an index or a function"):
            function(lambda _, logits: logits, output=output)
    with pytest.raises(ValueError, match="the model returned None"):
        adapt.from_function(lambda x: None)(X)


def test_attributes_and_further_collections():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Outputs:
        features: jax.Array
        logits: jax.Array

    np.testing.assert_allclose(function(Outputs, output="logits")(X), X.mean((1, 2)) @ W, atol=1e-5)
    with pytest.raises(ValueError, match=r"returned \.features \(2, 3\), \.logits \(2, 5\)\..* output='logits'"):
        function(Outputs)(X)
    module = nn.BatchNorm(use_running_average=False)
    variables = module.init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"output=0"):
        adapt.from_linen(module, variables, mutable=["batch_stats"])(X)


def test_the_same_choice_does_not_retrace():
    for output in ("logits", 1, STRUCTURES["nested"][1]):
        first, second = (function(STRUCTURES["pair"][0], output=output) for _ in range(2))
        assert jax.tree.structure(first.choose) == jax.tree.structure(second.choose)
    different = [function(STRUCTURES["pair"][0], output=output) for output in (0, 1)]
    assert jax.tree.structure(different[0].choose) != jax.tree.structure(different[1].choose)
