"""The Network protocol: capture, heads and features, edits of activations, retracing, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import network, saliency, targets
from xai_jax.core.precision import highest

LAYERS = oracle.random_layers()
NET = oracle.jax_network(LAYERS)
X = np.random.default_rng(0).normal(size=oracle.SHAPE).astype(np.float32)


@highest()
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


WEIGHTS = [jnp.asarray(np.random.default_rng(i).normal(size=s), jnp.float32) for i, s in enumerate([(3, 4), (4, 4)])]


def _residual(x, relu=jax.nn.relu, tap=network.keep):
    below = tap("relu1", relu(x @ WEIGHTS[0]))
    branch = tap("relu2", relu(below @ WEIGHTS[1]))
    return tap("mean", tap("sum", below + branch).mean((1, 2)))


def _branches(x, relu=jax.nn.relu, tap=network.keep):
    first, second = tap("first", relu(x @ WEIGHTS[0])), tap("second", relu(-x @ WEIGHTS[0]))
    return tap("both", jnp.concatenate([first, second], -1)).mean((1, 2))


def _inside_of_a_jit(x, relu=jax.nn.relu, tap=network.keep):
    @jax.jit
    def block(x):
        return tap("inner", relu(x @ WEIGHTS[0])), jnp.zeros_like(x)

    return tap("outer", block(x)[0] + 1).mean((1, 2))


def _shape_of_the_input(x, relu=jax.nn.relu, tap=network.keep):
    inner = tap("inner", relu(x @ WEIGHTS[0]))
    scanned, _ = jax.lax.scan(lambda carry, _: (carry + 0 * x[..., :1], None), jnp.zeros_like(inner), length=x.shape[1])
    return (inner + scanned).mean((1, 2)) + x.shape[2] + jnp.zeros_like(x)[:, 0, 0, :1]


def _gated(x, relu=jax.nn.relu, tap=network.keep):
    gate = tap("gate", jax.nn.sigmoid(x.mean((1, 2))))
    return gate * tap("mean", relu(x).mean((1, 2)))


def _pairs(x, relu=jax.nn.relu, tap=network.keep):
    first, second = tap("pair", (relu(x @ WEIGHTS[0]), relu(-x @ WEIGHTS[0])))
    return tap("part", {"first": first})["first"].mean((1, 2)) + tap("mean", second.mean((1, 2)))


@pytest.mark.parametrize(
    "net, right, wrong, remedy",
    [
        (_residual, ["relu1", "sum", "mean"], ["relu2"], "'sum'"),
        (_branches, ["both"], ["first", "second"], "'both'"),
        (_inside_of_a_jit, ["outer"], [], None),
        (_shape_of_the_input, ["inner"], [], None),
        (_gated, [], ["gate", "mean"], "images"),
        (_pairs, [], ["mean"], "images"),
        (NET, list(network.layer_names(NET, X)), [], None),
    ],
)
def test_heads_are_right_or_refused(net, right, wrong, remedy):
    for layer in right:
        head = network.head(net, layer, jax.ShapeDtypeStruct(X.shape, X.dtype))
        np.testing.assert_allclose(head(network.features(net, layer)(X)), net(X), atol=1e-5)
    for layer in wrong:
        with pytest.raises(ValueError, match=f"around '{layer}', too. .* junction.*{remedy}"):
            network.head(net, layer, X)
        kept = network.features(net, layer)(X)
        np.testing.assert_allclose(network.replace(net, layer, kept)(X), net(X), atol=1e-5)


def test_heads_of_networks_with_several_outputs():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        inner = tap("sum", sum(tap("pair", (relu(x), relu(-x)))))
        return {"logits": inner.mean((1, 2)), "map": inner}

    head = network.head(net, "sum", X)
    for name, value in net(X).items():
        np.testing.assert_array_equal(head(network.features(net, "sum")(X))[name], value)


def test_heads_are_analysed_once_for_each_structure():
    traces = []

    def model(weights, x, relu=jax.nn.relu, tap=network.keep):
        traces.append(1)
        return tap("relu1", relu(x)).mean((1, 2)) @ weights

    for seed in range(3):
        network.head(Partial(model, jax.random.normal(jax.random.key(seed), (3, 2))), "relu1", X)
    assert len(traces) == 2


def test_layers_inside_of_other_traces_are_edited_but_not_read():
    np.testing.assert_array_equal(network.ablate(_inside_of_a_jit, "inner", range(4))(X), 1)
    with pytest.raises(ValueError, match="'inner' to be tapped where its value can be read"):
        network.features(_inside_of_a_jit, "inner")(X)
    with pytest.raises(ValueError, match="'inner' to be tapped where its value can be read"):
        jax.jit(lambda x: network.capture(_inside_of_a_jit, x, ["inner"]))(X)


@pytest.mark.parametrize("channels", [99, 6, -1, [0, 6], np.array([-7, 2]), jnp.array([6])])
def test_channels_out_of_range_are_refused(channels):
    ablated = network.ablate(NET, "relu1", channels)
    refused = pytest.raises(ValueError, match=r"channel between 0 and 5, got (99|6|-1|-7)\. .* 6 channels")
    with refused:
        ablated(X)
    with refused:
        saliency.gradient(ablated, X, targets.logit(0))
    with refused:
        saliency.gradient(network.perturb(ablated, "conv0", 1.0), X, targets.logit(0))
    assert np.isnan(jax.jit(lambda net, x: net(x))(ablated, X)).all()  # unknown when it is traced


@pytest.mark.parametrize("channels", [[True, False], 1.0, "relu", [[0], [1]], None])
def test_channels_are_integers(channels):
    with pytest.raises(ValueError, match="Expected a channel index"):
        network.ablate(NET, "relu1", channels)


@pytest.mark.parametrize("channels", [[], (), range(0), np.array([])])
def test_no_channel_may_be_ablated(channels):
    np.testing.assert_array_equal(network.ablate(NET, "relu1", channels)(X), NET(X))


def test_any_collection_of_channels_is_ablated():
    expected = network.ablate(NET, "relu1", [0, 2, 4])(X)
    for channels in (range(0, 6, 2), (i for i in (0, 2, 4)), {0, 2, 4}, np.array([0, 2, 4], np.uint8), [0, 0, 2, 4]):
        np.testing.assert_array_equal(network.ablate(NET, "relu1", channels)(X), expected)


def test_values_and_perturbations_fit_the_activation():
    kept = np.asarray(network.capture(NET, X)[1]["relu1"])
    for value in (kept.astype(np.float64), kept.tolist(), jnp.asarray(kept)):
        got = network.replace(NET, "relu1", value)(X)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, NET(X), atol=1e-5)
    shifted = network.perturb(NET, "relu1", np.float32(2))(X)
    for delta in (2, 2.0, [2] * 6, np.full(6, 2), np.full((17, 1), 2, np.float16), jnp.float32(2)):
        np.testing.assert_allclose(network.perturb(NET, "relu1", delta)(X), shifted, atol=1e-5)
    for value in (kept[:1], kept[..., :3], 0.0):
        with pytest.raises(ValueError, match=r"Expected an activation of shape \(2, 17, 17, 6\), got"):
            network.replace(NET, "relu1", value)(X)
    for delta in (np.ones(5), np.ones((3, 2, 17, 17, 6)), np.ones((4, 17, 17, 6))):
        with pytest.raises(ValueError, match=r"broadcasts to \(2, 17, 17, 6\), got"):
            network.perturb(NET, "relu1", delta)(X)
    for edit in (network.replace, network.perturb):
        for value in (None, "relu1", kept > 0, kept * 1j):
            with pytest.raises(ValueError, match="Expected numbers in place of an activation"):
                edit(NET, "relu1", value)(X)


def test_layers_that_are_tapped_twice_are_not_edited():
    for edit in (network.replace, network.perturb):
        with pytest.raises(ValueError, match="taps 'a' twice"):
            edit(lambda x, relu, tap: tap("a", tap("a", x)).mean((1, 2)), "a", X)(X)
