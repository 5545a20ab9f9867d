"""Models are evaluated in evaluation mode and with weights of their own, whatever their owner does with them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.helpers.adapted_models import haiku as haiku_network
from tests.helpers.adapted_models import linen
from xai_jax import adapt, network, saliency, targets

X = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
TARGET = targets.logit(0)


class Nnx(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv, self.norm = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.drop, self.out = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.norm(self.conv(x))).mean((1, 2))))


def test_an_nnx_model_in_training_mode_is_evaluated_and_keeps_its_mode():
    model = Nnx()
    model(X)  # in training mode this updates the statistics
    net = adapt.from_nnx(model)
    assert not model.norm.use_running_average and not model.drop.deterministic
    model.eval()
    np.testing.assert_array_equal(net(X), model(X))
    alone = np.concatenate([saliency.gradient(net, X[i : i + 1], TARGET) for i in range(4)])
    np.testing.assert_allclose(saliency.gradient(net, X, TARGET), alone, atol=1e-5)


def test_a_keras_network_outlives_fit_and_predict():
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.weights])
    net = adapt.from_keras(model)
    before = np.asarray(saliency.guided_backprop(net, X, TARGET))
    model.compile("sgd", "mse")
    model.fit(X, np.ones((4, 2)), verbose=0)
    model.predict(X, verbose=0)
    np.testing.assert_array_equal(saliency.guided_backprop(net, X, TARGET), before)
    assert np.abs(saliency.guided_backprop(adapt.from_keras(model), X, TARGET) - before).max() > 0


@pytest.mark.parametrize("make", [linen, haiku_network])
def test_donated_weights_are_named(make):
    net = jax.tree.map(jnp.array, make())
    donate = jax.jit(lambda net: jax.tree.map(lambda w: 2 * w, net), donate_argnums=0)
    donate(net)
    x = np.zeros((1, 10, 10, 2), np.float32)
    for use in (net, lambda x: saliency.gradient(net, x, TARGET), lambda x: network.layer_names(net, x)):
        with pytest.raises(ValueError, match="donate"):
            use(x)


def test_what_is_missing_is_named_at_once():
    module = nn.Sequential([nn.Conv(4, (3, 3)), lambda x: x.mean((1, 2))])
    variables = module.init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="instead of variables"):
        adapt.from_linen(module, variables["params"])
    hk = pytest.importorskip("haiku")
    with pytest.raises(ValueError, match="Expected a state, got none"):
        adapt.from_haiku(hk.transform_with_state(lambda x: x), {})
    with pytest.raises(ValueError, match="Expected no state, got one"):
        adapt.from_haiku(hk.transform(lambda x: x), {}, {})
    keras = pytest.importorskip("keras")
    with pytest.raises(ValueError, match="Expected a built model"):
        adapt.from_keras(keras.Sequential([keras.layers.Dense(3)]))
    without_parameters = nn.Sequential([nn.relu, lambda x: x.mean((1, 2))])
    np.testing.assert_array_equal(adapt.from_linen(without_parameters, {})(X), np.maximum(X, 0).mean((1, 2)))


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(3)(nn.relu(nn.BatchNorm(use_running_average=not train)(x)).mean((1, 2)))


@pytest.mark.parametrize("drops", [False, True])
def test_training_mode_and_models_that_are_not_adapted_are_among_the_causes(drops):
    module = Normalised() if drops else nn.BatchNorm(use_running_average=False)
    variables = module.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, X)
    for net in (adapt.from_linen(module, variables), module):
        with pytest.raises(ValueError, match="not adapted .*training mode .train=False") as caught:
            saliency.gradient(net, X, TARGET)
        assert len(str(caught.value)) <= 600


def test_the_longest_image_shape_and_error_fit_into_a_message():
    def net(x, relu, tap):
        raise RuntimeError("long\n" * 500)

    with pytest.raises(ValueError, match="network can read") as caught:
        network.abstract(net, jax.ShapeDtypeStruct((100_000, 10_240, 10_240, 3), jnp.float8_e4m3b11fnuz))
    assert 500 < len(str(caught.value)) <= 600


def haiku_models():
    hk = pytest.importorskip("haiku")
    return [lambda: adapt.from_haiku({}, hk.transform(lambda x: x)), lambda: adapt.from_haiku(Nnx(), {})]


def keras_models():
    pytest.importorskip("keras")
    return [lambda: adapt.from_keras(Nnx()), lambda: adapt.from_keras(X)]


def equinox_models():
    eqx = pytest.importorskip("equinox")
    return [lambda: adapt.from_equinox(eqx.nn.Linear), lambda: adapt.from_equinox(X)]


def flax_models():
    dense = nn.Dense(3)
    return [
        lambda: adapt.from_linen(dense.init(jax.random.key(0), X), dense),
        lambda: adapt.from_linen(nn.Dense, {}),
        lambda: adapt.from_linen(Nnx(), {}),
        lambda: adapt.from_linen(dense, X),
        lambda: adapt.from_nnx(Nnx),
        lambda: adapt.from_nnx(X),
        lambda: adapt.from_nnx(dense),
    ]


@pytest.mark.parametrize("cases", [flax_models, haiku_models, equinox_models, keras_models])
def test_classes_other_libraries_and_swapped_arguments_are_refused_at_once(cases):
    for case in cases():
        with pytest.raises(
            TypeError, match=r"^Expected (an?|the) .*, got .*\. (Usual cause|Make an instance)"
        ) as caught:
            case()
        assert len(str(caught.value)) <= 600


@pytest.mark.parametrize("given", ["max", X, ("min",), (X,), None, 3])
def test_patterns_are_a_tuple(given):
    for make in (lambda: adapt.from_function(lambda x: x, relu_patterns=given), lambda: adapt.from_nnx(Nnx(), given)):
        with pytest.raises(ValueError, match=r"Expected relu_patterns=\(\) or \('max',\), got .*Usual cause") as caught:
            make()
        assert len(str(caught.value)) <= 600
