"""Targets: values, arithmetic, per-image indices, retracing, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax

from tests.helpers import oracle
from xai_jax import adapt, fooling, metrics, network, realism, saliency, targets, tcav

NET = oracle.jax_network(oracle.random_layers())
X = np.random.default_rng(0).normal(size=oracle.SHAPE).astype(np.float32)
LOGITS, KEPT = jax.tree.map(np.asarray, network.capture(NET, X))


def value(target):
    targets.check(NET, X, target)
    return targets.evaluate(NET, X, target)[0]


def test_classes():
    k = np.array([4, 1])
    rows = np.arange(2)
    np.testing.assert_allclose(value(targets.logit(k)), LOGITS[rows, k], rtol=1e-5)
    np.testing.assert_allclose(value(targets.logit(2)), LOGITS[:, 2], rtol=1e-5)
    np.testing.assert_allclose(value(targets.probability(k)), softmax(LOGITS, 1)[rows, k], rtol=1e-5)
    np.testing.assert_allclose(value(targets.log_probability(k)), log_softmax(LOGITS, 1)[rows, k], rtol=1e-5)


def test_labels_that_do_not_exclude_each_other():
    k = np.array([4, 1])
    np.testing.assert_allclose(value(targets.sigmoid(k)), expit(LOGITS)[np.arange(2), k], rtol=1e-5)
    np.testing.assert_allclose(value(targets.log_sigmoid(2)), log_expit(LOGITS)[:, 2], rtol=1e-5)


ONE_LOGIT = adapt.from_function(lambda w, x: x.reshape(len(x), -1) @ w, 0.01 * np.ones((867, 1), np.float32))


def test_the_sigmoid_of_a_network_with_one_logit():
    p = expit(0.01 * X.sum((1, 2, 3)))
    for target, derivative in ((targets.sigmoid(0), p * (1 - p)), (targets.log_sigmoid(0), 1 - p)):
        got = saliency.gradient(ONE_LOGIT, X, target)
        np.testing.assert_allclose(got, np.broadcast_to(0.01 * derivative[:, None, None, None], X.shape), rtol=1e-4)
    curve = metrics.deletion(ONE_LOGIT, X, X, targets.sigmoid(0), steps=4)
    np.testing.assert_allclose(curve.values[:, [0, -1]].T, [p, [0.5, 0.5]], rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: saliency.gradient(ONE_LOGIT, X, targets.probability(0)),
        lambda: saliency.occlusion(ONE_LOGIT, X, targets.log_probability(0)),
        lambda: saliency.gradient(ONE_LOGIT, X, targets.logit(0) + targets.probability(0)),
        lambda: saliency.gradient(ONE_LOGIT, X, tcav.code_loss(0)),
        lambda: jax.jit(lambda x: saliency.gradient(ONE_LOGIT, x, targets.probability(0)))(X),
        lambda: metrics.insertion(ONE_LOGIT, X, X, targets.probability(0)),
        lambda: fooling.ascend(ONE_LOGIT, [0, 0], X),
        lambda: fooling.evolve(ONE_LOGIT, fooling.Direct((17, 17, 3)), 2, jax.random.key(0)),
        lambda: realism.agreement(ONE_LOGIT, X, [0, 0]),
    ],
)
def test_a_softmax_of_one_logit_raises(call):
    with pytest.raises(ValueError, match="logits.*, got one"):
        call()


@pytest.mark.parametrize("last", [jax.nn.sigmoid, jax.jit(lambda z: jax.nn.sigmoid(z).reshape(-1, 1, 2)[:, 0])])
@pytest.mark.parametrize("target", [targets.sigmoid, targets.log_sigmoid, targets.probability])
def test_a_probability_of_a_network_that_ends_in_a_sigmoid_raises(last, target):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("logits", last(x.mean((1, 2))[:, :2]))

    with pytest.raises(ValueError, match="outputs of a sigmoid"):
        saliency.gradient(net, X, target(0))
    assert saliency.gradient(net, X, targets.logit(0)).any()  # its output is a probability itself
    assert saliency.gradient(lambda x, **_: jax.nn.sigmoid(x).mean((1, 2)), X, target(0)).any()  # no last operation
    both = jax.jit(lambda z: (z.mean((1, 2)), jax.nn.sigmoid(z)))
    assert saliency.gradient(lambda x, **_: both(x)[0], X, target(0)).any()


@pytest.mark.parametrize("softmax", [jax.nn.softmax, lambda z: jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True)])
def test_a_network_with_one_logit_that_ends_in_a_softmax_raises(softmax):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("softmax", softmax(tap("logit", x.mean((1, 2))[:, :1])))

    for target in (targets.logit(0), targets.sigmoid(0), targets.neuron("logit", 0) + targets.log_sigmoid(0)):
        with pytest.raises(ValueError, match="softmax of one"):
            saliency.gradient(net, X, target)
    assert saliency.gradient(net, X, targets.neuron("logit", 0)).any()


def signal_net(x, relu=jax.nn.relu, tap=network.keep):
    """Convolves signals (N, 1, T, C) and images (N, H, W, C), row after row, along the time."""
    x = x.reshape(len(x), -1, x.shape[-1])
    return tap(
        "relu1", relu(jax.lax.conv_general_dilated(x, KERNEL, (2,), "SAME", None, None, ("NTC", "TIO", "NTC")))
    ).mean(1)


KERNEL = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3, 5)), jnp.float32)
SIGNALS = np.random.default_rng(1).normal(size=(3, 1, 16, 3)).astype(np.float32)


def test_neurons_of_sequences():
    maps = np.asarray(network.capture(signal_net, SIGNALS)[1]["relu1"])
    assert maps.shape == (3, 8, 5)

    def value(*args):
        targets.check(signal_net, SIGNALS, target := targets.neuron("relu1", *args))
        return targets.evaluate(signal_net, SIGNALS, target)[0]

    for at in (None, "max"):
        np.testing.assert_array_equal(value(2, at), maps[..., 2].max(1))
    np.testing.assert_allclose(value(2, "mean"), maps[..., 2].mean(1), rtol=1e-5)
    for at in (3, np.int64(3), (3,), [3]):
        np.testing.assert_array_equal(value(2, at), maps[:, 3, 2])
    np.testing.assert_array_equal(
        value(np.array([4, 0, 1]), (np.array([7, 0, 2]),)), maps[range(3), [7, 0, 2], [4, 0, 1]]
    )
    target = targets.neuron("relu1", 2, (np.array([7, 0, 2]),))
    np.testing.assert_array_equal(
        targets.evaluate(signal_net, SIGNALS[1:2], target.rows(slice(1, 2)))[0], maps[1:2, 0, 2]
    )
    for at, words in (((0, 1), "Expected position in at, got 2 indices"), (8, "between 0 and 7, got 8.*8 positions")):
        with pytest.raises(ValueError, match=words):
            value(2, at)


def test_neurons():
    maps = KEPT["relu1"]
    np.testing.assert_allclose(value(targets.neuron("relu1", 2)), maps[..., 2].max((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(value(targets.neuron("relu1", 2, "max")), maps[..., 2].max((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(value(targets.neuron("relu1", 2, "mean")), maps[..., 2].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(value(targets.neuron("relu1", 2, (3, 5))), maps[:, 3, 5, 2], rtol=1e-6)
    at = np.array([0, 3]), np.array([1, 2])
    got = value(targets.neuron("relu1", np.array([4, 5]), at))
    np.testing.assert_allclose(got, [maps[0, 0, 1, 4], maps[1, 3, 2, 5]], rtol=1e-6)
    np.testing.assert_allclose(value(targets.neuron("dense9", 3)), KEPT["dense9"][:, 3], rtol=1e-5)


def test_messages_quote_layers_of_any_name():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("{a}" * 300, x).mean((1, 2))

    with pytest.raises(ValueError, match=r"Layer '\{a\}\{a.* has 3 channels") as error:
        targets.check(net, X, targets.neuron("{a}" * 300, 9))
    assert len(str(error.value)) < 200


def test_gradient_of_max_goes_to_the_first_of_ties():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("map", x).mean((1, 2))

    target = targets.neuron("map", 0)
    gradient = jax.grad(lambda x: targets.evaluate(net, x, target)[0].sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, ..., 0], [[1, 0], [0, 0]])


def test_direction_takes_both_shapes():
    vector = np.random.default_rng(1).normal(size=KEPT["pool2"].shape[1:]).astype(np.float32)
    expected = (KEPT["pool2"] * vector).sum((1, 2, 3))
    np.testing.assert_allclose(value(targets.direction("pool2", vector)), expected, rtol=1e-4)
    np.testing.assert_allclose(value(targets.direction("pool2", vector.ravel())), expected, rtol=1e-4)


def test_arithmetic():
    a, b = targets.logit(1), targets.neuron("relu1", 0, "mean")
    expected = 2 * value(a) - 0.5 * value(b)
    np.testing.assert_allclose(value(2 * a - b * 0.5), expected, rtol=1e-5)
    np.testing.assert_allclose(value(-a), -value(a), rtol=1e-6)
    assert (a - b + targets.neuron("relu4", 1)).layers == ("relu1", "relu4")
    with pytest.raises(TypeError):
        a * b
    with pytest.raises(TypeError):
        a + 1


def test_rows_follow_the_images():
    target = targets.logit(np.array([4, 1])) + 2 * targets.neuron("relu1", np.array([0, 5]), (0, np.array([1, 2])))
    both = value(target)
    alone = targets.evaluate(NET, X[1:], target.rows(slice(1, 2)))[0]
    np.testing.assert_allclose(alone, both[1:], rtol=1e-5)


def test_a_new_class_or_vector_does_not_retrace():
    traces = []

    @jax.jit
    def run(target, logits):
        traces.append(1)
        return target(logits, {})

    for k in range(3):
        run(2.0 * k * targets.logit(k), LOGITS)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "target, words",
    [
        (lambda: targets.logit(5), r"between 0 and 4, got 5\. The network has 5 classes"),
        (lambda: targets.logit(-1), "got -1"),
        (lambda: targets.logit(np.array([0, 1, 2])), "one for each of 2 images, got 3"),
        (lambda: targets.logit(1.5), "Expected a class index"),
        (lambda: targets.neuron("relu1", 6), "'relu1' has 6 channels"),
        (lambda: targets.neuron("relu1", 0, (17, 0)), "17 rows"),
        (lambda: targets.neuron("relu1", 0, "best"), "Expected at=None"),
        (lambda: targets.neuron("dense9", 0, "max"), "without positions"),
        (lambda: targets.neuron("dense9", 0, 3), "without positions"),
        (lambda: targets.neuron("relu1", 0, 3), "Expected row and column in at, got 1 ind"),
        (lambda: targets.neuron("relu1", 0, (1, 2, 3)), "Expected at=None"),
        (lambda: targets.neuron("relu77", 0), "Did you mean"),
        (lambda: targets.direction("relu1", np.ones(3)), "Expected a vector shaped like"),
        (lambda: targets.direction("dense9", np.full(10, np.nan)), "finite vector"),
        (lambda: targets.logit(0) + targets.logit(9), "got 9"),
    ],
)
def test_invalid_targets_raise(target, words):
    with pytest.raises(ValueError, match=words):
        targets.check(NET, X, target())


def test_invalid_networks_images_and_logits_raise():
    with pytest.raises(ValueError, match=r"Expected images that the network can read, got float32 \(2, 17, 17, 1\)"):
        targets.check(NET, X[..., :1], targets.logit(0))
    with pytest.raises(ValueError, match=r"logits \(2, K\), got \(2, 17, 17, 3\)"):
        targets.check(lambda x, relu, tap: x, X, targets.logit(0))
    with pytest.raises(ValueError, match=r"logits \(2, K\), got \(2,\). Usual cause: one logit without its axis"):
        targets.check(lambda x, relu, tap: x.sum((1, 2, 3)), X, targets.sigmoid(0))
    with pytest.raises(ValueError, match="Expected class 0, the only one, got 1"):
        targets.check(lambda x, relu, tap: x.sum((1, 2, 3))[:, None], X, targets.sigmoid(1))
    with pytest.raises(TypeError, match="Expected a target"):
        targets.check(NET, X, 3)
    with pytest.raises(ValueError, match="got probabilities"):
        targets.check_logits(softmax(LOGITS, 1))
    with pytest.raises(ValueError, match="finite logits"):
        targets.check_logits(LOGITS * np.nan)
