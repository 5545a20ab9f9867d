"""Outputs of modules have the module's path as a name, and the values that the library itself gives them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.helpers import adapted_models
from tests.helpers.resnets import RESNETS, X, linen_outputs
from tests.helpers.vits import VITS
from xai_jax import adapt, network, targets

HEAD = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


@pytest.mark.parametrize("make", [*RESNETS, *VITS], ids=lambda make: f"{make.__module__[14:]}-{make.__name__}")
def test_outputs_are_those_of_the_library_and_are_the_input_of_the_rest(make):
    net, expected, block = make()
    found = jax.jit(network.capture)(net, X)[1]
    assert expected.keys() <= found.keys() and len(expected) > 6
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    other = X[::-1] + 0.1
    head = network.head(net, block, X)  # all of the input passes the residual sum
    logits, of_head = jax.jit(lambda net, x: (net(x), head(network.features(net, block)(x))))(net, other)
    np.testing.assert_allclose(of_head, logits, atol=1e-5)
    assert np.abs(logits - jax.jit(lambda net, x: net(x))(net, X)).max() > 1e-3


NAMES = {
    "plain_adapted": "conv1 relu1 pool1 conv2 relu2 dense1",
    "linen": "Model/Conv_0/conv1 Model/Conv_0 Model/relu1 Model/pool1 Model/Conv_1/conv2 Model/Conv_1 Model/relu2 "
    "Model/Dense_0/dense1 Model/Dense_0 Model",
    "nnx": "conv1 Model/a relu1 pool1 conv2 Model/b relu2 dense1 Model/c Model",
    "equinox": "eqx.nn.Conv/conv1 Model/a relu1 eqx.nn.MaxPool2d/eqx.nn.Pool/pool1 Model/pool eqx.nn.Conv/conv2 "
    "Model/b relu2 eqx.nn.Linear/dense1 Model/c Model",
    "haiku": "conv2_d/conv1 conv2_d relu1 pool1 conv2_d_1/conv2 conv2_d_1 relu2 linear/dense1 linear",
}


@pytest.mark.parametrize("make", [m for m in adapted_models.MODELS if m.__name__ in NAMES])
def test_names_of_single_layers_are_by_kind_and_order(make):
    assert " ".join(network.layer_names(make(), adapted_models.X)) == NAMES[make.__name__]


def scoped(name, function):
    def call(x):
        with jax.named_scope(name):
            return function(x)

    return call


def names(function, x=X):
    return list(network.layer_names(adapt.from_function(function), x))


def test_each_call_of_a_module_has_its_own_output():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + nn.tanh(nn.Dense(3)(x))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            block = Block()
            return nn.remat(Block)(name="last")(block(block(block(x)))).mean((1, 2))

    module = Model()
    variables = module.init(jax.random.key(0), X)
    net, expected = adapt.from_linen(module, variables), linen_outputs(module, variables, X)
    found = network.capture(net, X)[1]
    assert {
        "Model/Block_0",
        "Model/Block_0#2",
        "Model/Block_0#3",
        "Model/Block_0/Dense_0#3",
        "Model/last",
    } <= expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_scopes_of_plain_functions_and_inside_of_transformations():
    block = scoped("block", lambda x: x + scoped("inner", jnp.tanh)(x))
    assert names(lambda x: block(x).mean((1, 2))) == ["block/inner", "block"]
    assert names(lambda x: jax.jit(block)(x).mean((1, 2))) == ["block/inner", "block"]
    assert names(scoped("outer", lambda x: jax.checkpoint(block)(x).mean((1, 2)))) == [
        "outer/block/inner",
        "outer/block",
        "outer",
    ]
    assert names(lambda x: jax.vmap(block)(x).mean((1, 2))) == ["block/inner", "block"]
    repeated = scoped("repeated", lambda x: lax.fori_loop(0, 3, lambda i, x: block(x), x))
    assert names(lambda x: repeated(x).mean((1, 2))) == ["repeated"]


def test_several_outputs_and_none():
    """Values in order of computation; what is unused, an input that is returned, no float or not per image is none."""
    pair = scoped("pair", lambda x: (x + 1, jnp.tanh(x), x * 3))
    assert names(lambda x: sum(pair(x)[:2]).mean((1, 2))) == ["pair[0]", "pair[1]"]
    assert names(lambda x: scoped("same", lambda x: x)(x).mean((1, 2))) == []
    assert (
        names(
            lambda x: (
                x.mean((1, 2)) * scoped("largest", lambda x: x.mean((1, 2)).argmax(1, keepdims=True))(x).astype(float)
            )
        )
        == []
    )
    assert names(lambda x: x.mean((1, 2)) + scoped("transposed", lambda x: x.mean((1, 2)).T)(x).T) == []
    assert names(lambda x: x.mean((1, 2)) * scoped("weights", jnp.tanh)(jnp.ones((2, 3)))) == []


def test_a_name_that_is_taken_gets_a_number():
    function = scoped("conv1", lambda x: x * 2)
    kernel = np.ones((3, 3, 3, 3), np.float32)
    assert names(lambda x: adapted_models.conv(function(x), kernel).mean((1, 2))) == ["conv1", "conv1#2"]


def test_an_edited_sum_changes_what_follows():
    block = scoped("block", lambda x: x + jnp.tanh(x))
    net = adapt.from_function(lambda x: (block(x) ** 2).mean((1, 2)) @ HEAD)
    delta = np.float32(0.5)
    got = network.perturb(net, "block", delta)(X)
    np.testing.assert_allclose(got, ((X + np.tanh(X) + delta) ** 2).mean((1, 2)) @ HEAD, atol=1e-5)
    gradient = jax.grad(lambda x: targets.evaluate(net, x, targets.neuron("block", 1, at=(2, 3)))[0].sum())(X)
    expected = np.zeros_like(X)
    expected[:, 2, 3, 1] = 1 + 1 / np.cosh(X[:, 2, 3, 1]) ** 2
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_models_keep_their_classes():
    eqx = pytest.importorskip("equinox")
    from flax import nnx

    model = eqx.nn.Sequential([eqx.nn.Lambda(lambda x: x.mean((1, 2))), eqx.nn.Linear(3, 2, key=jax.random.key(0))])
    assert "Sequential/layers/1" in network.layer_names(adapt.from_equinox(model), X)
    assert type(model) is eqx.nn.Sequential and type(model.layers[1]) is eqx.nn.Linear
    linear = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    model = nnx.Sequential(lambda x: x.mean((1, 2)), linear)
    assert "Sequential/layers/1" in network.layer_names(adapt.from_nnx(model), X)
    assert type(model) is nnx.Sequential and type(linear) is nnx.Linear


def test_modules_of_nnx_that_are_split_within_the_model():
    from flax import nnx

    class Block(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(3, 3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return x + nnx.relu(self.linear(x))

    class Model(nnx.Module):
        def __init__(self):
            self.first, self.second, self.third = Block(), Block(), Block()

        def __call__(self, x):
            x = nnx.jit(lambda block, x: block(x))(self.first, x)
            x = nnx.remat(lambda block, x: block(x))(self.second, x)
            return self.third(x).mean((1, 2))

    model = Model()
    found = network.capture(adapt.from_nnx(model), X)[1]
    np.testing.assert_allclose(found["Model/first"], model.first(X), atol=1e-5)
    np.testing.assert_allclose(found["Model/second"], model.second(model.first(X)), atol=1e-5)


def test_modules_of_equinox_that_are_compiled_mapped_or_scanned_within_the_model():
    eqx = pytest.importorskip("equinox")

    class Block(eqx.Module, strict=True):
        linear: eqx.nn.Linear

        def __call__(self, x):
            return x + jax.nn.relu(self.linear(x))

    class Model(eqx.Module):
        first: Block
        stacked: Block
        last: Block

        def __call__(self, x):
            x = jax.vmap(eqx.filter_jit(self.first))(x.mean(1).T)
            arrays, rest = eqx.partition(self.stacked, eqx.is_array)
            x = lax.scan(lambda x, block: (jax.vmap(eqx.combine(block, rest))(x), None), x, arrays)[0]
            return self.last(x.mean(0))

    keys = jax.random.split(jax.random.key(0), 4)
    block = lambda key: Block(eqx.nn.Linear(3, 3, key=key))  # noqa: E731
    model = Model(block(keys[0]), eqx.filter_vmap(block)(keys[1:3]), block(keys[3]))
    found = network.capture(adapt.from_equinox(model), X)[1]
    expected = jax.vmap(jax.vmap(model.first))(X.mean(1))
    np.testing.assert_allclose(found["Model/first"], expected, atol=1e-5)
    assert "Model/last" in found and not any("stacked" in name for name in found)


def test_layers_are_printed_as_a_table():
    net = adapt.from_function(lambda x: scoped("Block_12", jnp.tanh)(jax.nn.relu(x)).mean((1, 2)))
    layers = network.layer_names(net, X)
    assert str(layers).splitlines() == [
        "layer     kind   shape",
        "relu1     relu   (2, 16, 16, 3)",
        "Block_12  Block  (2, 16, 16, 3)",
    ]
    assert jax.tree.leaves(layers) == jax.tree.leaves(dict(layers))
    zeros = jax.tree.map(lambda layer: jnp.zeros(layer.shape), layers)
    assert type(zeros) is type(layers) and list(zeros) == ["relu1", "Block_12"] and layers == dict(layers)
