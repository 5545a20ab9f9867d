"""Faithfulness measures and sanity checks against slow versions of their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from tests.helpers import oracle
from xai_jax import metrics, network, pooling, saliency, targets

LAYERS = oracle.random_layers(2)
NET = oracle.jax_network(LAYERS)
X = np.random.default_rng(1).normal(size=(3, 17, 17, 3)).astype(np.float32)
TARGET = targets.probability(np.array([0, 1, 4]))
MAPS = np.asarray(saliency.gradient(NET, X, TARGET))


def probability(x):
    z, _ = oracle.numpy_forward(LAYERS, np.asarray(x, np.float64))
    return (np.exp(z) / np.exp(z).sum(1, keepdims=True))[np.arange(3), [0, 1, 4]]


@pytest.mark.parametrize("removing", [True, False])
@pytest.mark.parametrize("fill", [np.float32(0.25), X[::-1], X[0], X[0, 0, 0]])
def test_curves_equal_a_slow_loop(removing, fill):
    curve = (metrics.deletion if removing else metrics.insertion)(
        NET, X, MAPS, TARGET, steps=5, fill=fill, batch_size=2
    )
    total = MAPS.sum(-1).reshape(3, -1)
    for step, fraction in enumerate(np.linspace(0, 1, 6)):
        images = X.copy()
        for n in range(3):
            chosen = np.zeros(289, bool)
            chosen[np.argsort(-total[n], kind="stable")[: round(fraction * 289)]] = True
            hidden = chosen if removing else ~chosen
            images[n][hidden.reshape(17, 17)] = np.broadcast_to(fill, X.shape)[n][hidden.reshape(17, 17)]
        np.testing.assert_allclose(curve.values[:, step], probability(images), atol=1e-5)
    area = (curve.values[:, 1:] + curve.values[:, :-1]).mean(1) / 2
    np.testing.assert_allclose(curve.area, area, rtol=1e-5)


def test_curves_prefer_input_x_gradient_to_random_attributions():
    rng = np.random.default_rng(0)
    random = rng.normal(size=MAPS.shape).astype(np.float32)
    for measure, sign in ((metrics.deletion, -1), (metrics.insertion, 1)):
        ours, theirs = (measure(NET, X, m, TARGET).area for m in (np.asarray(MAPS * X), random))
        assert (sign * (ours - theirs)).mean() > 0


def linear(weights, x, relu=jax.nn.relu, tap=network.keep):
    return x.reshape(len(x), -1) @ weights


def test_infidelity_of_a_linear_network():
    """0 for its gradient; for an error e of the attribution it is E[(I.e)^2] = noise^2 |e|^2."""
    net = Partial(linear, jax.random.normal(jax.random.key(0), (27, 2)))
    x = X[:, :3, :3]
    maps = saliency.gradient(net, x, targets.logit(1))
    np.testing.assert_allclose(metrics.infidelity(net, x, maps, targets.logit(1)), 0, atol=1e-8)
    error = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    got = metrics.infidelity(net, x, maps + error, targets.logit(1), samples=4000, noise=0.3, batch_size=2)
    np.testing.assert_allclose(got, 0.09 * (error**2).sum((1, 2, 3)), rtol=0.1)


def test_infidelity_is_a_function_of_the_key():
    a, b, c = (metrics.infidelity(NET, X, MAPS, TARGET, samples=4, key=jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0


def test_similarity():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 12, 12, 3))
    result = metrics.similarity(a, b)
    for n in range(3):
        expected = stats.spearmanr(a[n].sum(-1).ravel(), b[n].sum(-1).ravel()).statistic
        np.testing.assert_allclose(result.spearman[n], expected)
        np.testing.assert_allclose(
            result.spearman_abs[n], stats.spearmanr(abs(a[n]).sum(-1).ravel(), abs(b[n]).sum(-1).ravel()).statistic
        )
    for value in metrics.similarity(a, a):
        np.testing.assert_allclose(value, 1)
    np.testing.assert_allclose(metrics.similarity(a, -a).spearman, -1)
    np.testing.assert_allclose(metrics.similarity(a, -a).ssim, 1)
    assert np.isnan(metrics.similarity(a, np.zeros_like(a)).spearman).all()


class Bound:
    """A small network whose layers are applied in another order than that of its pytree."""

    @staticmethod
    def apply(weights, x, relu=jax.nn.relu, tap=network.keep):
        for name in ("zeta", "alpha", "mid"):
            x = relu(
                jax.lax.conv(x.transpose(0, 3, 1, 2), weights[name]["kernel"], (1, 1), "SAME").transpose(0, 2, 3, 1)
            )
            x = x + weights[name]["bias"]
        return pooling.max_pool(x, 4).reshape(len(x), -1)[:, :5]

    @staticmethod
    def weights(seed=0):
        rng = np.random.default_rng(seed)
        return {
            name: {"kernel": rng.normal(size=(3, 3, 3, 3)).astype(np.float32), "bias": np.ones(3, np.float32) * i}
            for i, name in enumerate(("alpha", "mid", "zeta"))
        }


def test_randomisation_permutes_weights_from_the_top_down():
    weights = Bound.weights()
    networks = metrics.randomise(Partial(Bound.apply, weights), X)
    assert list(networks) == ["mid", "alpha", "zeta"]
    for depth, net in enumerate(networks.values(), 1):
        (new,) = net.args
        changed = [n for n in weights if (np.asarray(new[n]["kernel"]) != weights[n]["kernel"]).any()]
        assert sorted(changed) == sorted(["mid", "alpha", "zeta"][:depth])
        for name in weights:
            np.testing.assert_array_equal(
                np.sort(np.ravel(new[name]["kernel"])), np.sort(weights[name]["kernel"].ravel())
            )


def test_sanity_checks_distinguish_an_edge_detector_from_the_gradient():
    net = Partial(Bound.apply, Bound.weights())

    def edges(net, x, target, batch_size=None):
        return jnp.abs(x - jnp.roll(x, 1, axis=1))

    edge_detector = metrics.cascading_randomisation(edges, net, X, targets.logit(0))
    sensitive = metrics.cascading_randomisation(saliency.gradient, net, X, targets.logit(0))
    assert list(edge_detector) == list(sensitive) == ["mid", "alpha", "zeta"]
    assert all((s.spearman == 1).all() for s in edge_detector.values())
    assert np.abs(sensitive["zeta"].spearman).mean() < 0.5
    assert (metrics.random_logit(edges, net, X, [0, 1, 2]).spearman == 1).all()
    assert np.nanmax(metrics.random_logit(saliency.gradient, net, X, [0, 1, 2]).spearman) < 0.9


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metrics.deletion(NET, X, MAPS[..., :1], TARGET), "shaped like the images"),
        (lambda: metrics.deletion(NET, X, MAPS * np.nan, TARGET), "finite attributions"),
        (lambda: metrics.insertion(NET, X, MAPS, TARGET, steps=0), "steps"),
        (lambda: metrics.deletion(NET, X, MAPS, TARGET, fill=X[:2]), "fill that broadcasts"),
        (lambda: metrics.infidelity(NET, X, MAPS, TARGET, noise=0), "noise > 0"),
        (lambda: metrics.similarity(MAPS, MAPS[:1]), "one shape"),
        (lambda: metrics.randomise(NET, X), "leaves of a pytree"),
        (lambda: metrics.random_logit(saliency.gradient, Partial(linear, jnp.ones((867, 1))), X, 0), "two classes"),
        (lambda: metrics.random_logit(saliency.gradient, NET, X, [0] * 99), "one class for all or .*, got 99"),
    ],
)
def test_invalid_input_raises(call, words):
    with pytest.raises(ValueError, match=words):
        call()
