"""The Network protocol: capture, heads and features, edits of activations, retracing, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import network

LAYERS = oracle.random_layers()
NET = oracle.jax_network(LAYERS)
X = np.random.default_rng(0).normal(size=oracle.SHAPE).astype(np.float32)


def test_capture_equals_the_oracle():
    logits, kept = network.capture(NET, X)
    expected, inputs = oracle.numpy_forward(LAYERS, X)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(kept["relu1"], inputs[2], atol=1e-4)
    assert list(network.capture(NET, X, ["relu4"])[1]) == ["relu4"]


def test_layer_names_are_in_forward_order():
    names = network.layer_names(NET, jax.ShapeDtypeStruct((7, 17, 17, 3), jnp.float32))
    assert list(names) == [f"{layer[0]}{i}" for i, layer in enumerate(LAYERS)]
    assert names["conv0"].shape == (7, 17, 17, 6)


def test_head_of_features_is_the_network():
    for layer in ("conv0", "pool2", "dense9"):
        features = network.features(NET, layer)(X)
        np.testing.assert_allclose(network.head(NET, layer, X)(features), NET(X), atol=1e-5)


def test_head_compiles_only_the_layers_above():
    features = jax.eval_shape(network.features(NET, "dense9"), X)
    text = jax.jit(network.head(NET, "dense9", X)).lower(features).compile().as_text()
    assert "convolution" not in text


def test_replace_perturb_ablate():
    kept = network.capture(NET, X)[1]["relu1"]
    np.testing.assert_allclose(network.replace(NET, "relu1", kept)(X), NET(X), atol=1e-5)
    np.testing.assert_allclose(network.perturb(NET, "relu1", jnp.zeros(6))(X), NET(X), atol=1e-5)
    ablated = network.capture(network.ablate(NET, "relu1", [0, 3]), X)[1]["relu1"]
    expected = np.array(kept)
    expected[..., [0, 3]] = 0
    np.testing.assert_array_equal(ablated, expected)
    shifted = network.capture(network.perturb(NET, "relu1", jnp.float32(1)), X)[1]["relu1"]
    np.testing.assert_allclose(shifted, kept + 1, atol=1e-6)


def test_edits_stack_and_are_pytrees_that_do_not_retrace():
    traces = []

    @jax.jit
    def run(net, x):
        traces.append(1)
        return net(x)

    def edited(scale):
        return network.ablate(network.perturb(NET, "conv0", jnp.full(6, scale)), "relu4", 2)

    # as_network wraps a plain function by identity, so the same function gives the same structure
    first, second = run(edited(1.0), X), run(edited(2.0), X)
    assert len(traces) == 1 and np.abs(first - second).max() > 0


def test_new_weights_do_not_retrace():
    traces = []

    def model(variables, x, relu=jax.nn.relu, tap=network.keep):
        traces.append(1)
        return relu(x).mean((1, 2)) @ variables

    run = jax.jit(lambda net, x: net(x))
    for seed in range(3):
        run(Partial(model, jax.random.normal(jax.random.key(seed), (3, 2))), X)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: network.capture(NET, X, ["relu2"]),
        lambda: network.features(NET, "relu2")(X),
        lambda: network.head(NET, "relu2", X)(X),
        lambda: network.replace(NET, "relu2", X)(X),
        lambda: network.ablate(NET, "relu2", 0)(X),
    ],
)
def test_unknown_layers_raise_with_the_nearest_match(call):
    with pytest.raises(ValueError, match=r"got 'relu2'\. Did you mean 'relu\d+'\? Layers: conv0, relu1"):
        call()


def test_invalid_networks_and_edits_raise():
    with pytest.raises(ValueError, match="taps 'a' twice"):
        network.capture(lambda x, relu, tap: tap("a", tap("a", x)).mean((1, 2)), X)
    with pytest.raises(ValueError, match="Expected an activation of shape"):
        network.replace(NET, "relu1", jnp.zeros((2, 3)))(X)
    with pytest.raises(TypeError, match="Expected a network"):
        network.as_network({"params": 1})


@pytest.mark.parametrize(
    "images, words",
    [
        (X[0], "leading axis"),
        (X[:0], "at least one image"),
        (X.astype(np.uint8), "preprocess"),
        (np.where(X > 2, np.nan, X), "finite"),
        (np.where(X > 2, np.inf, X), "finite"),
        ([[1.0]], "Expected an array"),
    ],
)
def test_invalid_images_raise(images, words):
    with pytest.raises((ValueError, TypeError), match=words):
        network.check_images(images)
