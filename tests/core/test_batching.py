"""Chunks: one at a time is on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax.adapters import adapt
from xai_jax.attribution import metrics, saliency
from xai_jax.core import batching, network, targets
from xai_jax.synthesis import inversion

X = np.random.default_rng(0).normal(size=(7, 5, 6, 3)).astype(np.float32)  # of a shape that no other test has
TARGET = targets.logit(0)


def net(x, relu=jax.nn.relu, tap=network.keep):
    return tap("relu1", relu(x)).sum((1, 2))


def test_a_step_gets_a_chunk_of_arrays_on_the_host():
    seen = []

    def step(net, x, target, mask, baseline):
        seen.append([type(x), type(mask), x.shape, mask.shape, baseline.shape])
        return net(x).sum(1), net(x)

    found = batching.chunked(step, net, X, TARGET, 3, X[..., 0], X[:1])
    np.testing.assert_allclose(found, np.maximum(X, 0).sum((1, 2, 3)), rtol=1e-5)
    assert seen == [[np.ndarray, np.ndarray, (3, 5, 6, 3), (3, 5, 6), (1, 5, 6, 3)]] * 3


@pytest.mark.parametrize(
    "method",
    [
        lambda x: saliency.integrated_gradients(net, x, TARGET, steps=2, batch_size=2),
        lambda x: saliency.guided_backprop(net, x, TARGET, batch_size=2),
        lambda x: metrics.deletion(net, x, x, TARGET, steps=2, batch_size=2),
        lambda x: metrics.infidelity(net, x, x, TARGET, samples=2, batch_size=2),
    ],
)
def test_methods_leave_all_images_on_the_host_while_they_compute(method, monkeypatch):
    def count():
        return sum(array.shape == X.shape for array in jax.live_arrays())

    before, during, evaluate = count(), [], targets.evaluate

    def counting(*args, **options):
        during.append(count())
        return evaluate(*args, **options)

    monkeypatch.setattr(targets, "evaluate", counting)
    jax.clear_caches()  # `evaluate` is called where a method is traced
    method(X)
    assert during and set(during) == {before}


def test_call_in_chunks_equals_one_call():
    seen = []

    def features(scale, x, side):
        seen.append(x.shape[0])
        return scale * jax.nn.relu(x).sum((1, 2)) + side

    both = adapt.from_function(features, jnp.float32(2), inputs=(jnp.arange(7.0)[:, None],))
    found = batching.call_in_chunks(both, X, 3)
    assert isinstance(found, np.ndarray) and max(seen) == 3
    np.testing.assert_allclose(found, 2 * np.maximum(X, 0).sum((1, 2)) + np.arange(7)[:, None], rtol=1e-5)


def test_the_error_of_an_inversion_makes_no_pairs():
    others = np.random.default_rng(1).normal(size=(40, 50)).astype(np.float32) + 1000
    represent = lambda x: x.reshape(len(x), -1)[:, :50]  # noqa: E731
    x = others[:2].reshape(2, 5, 10, 1) + 1
    pairs = np.mean([((a.astype(np.float64) - b) ** 2).sum() for a in others for b in others])
    np.testing.assert_allclose(inversion.error(represent, x, others[:2], others), 50 / pairs, rtol=1e-4)
    program = jax.make_jaxpr(lambda x, others: inversion.error(represent, x, others[:2], others))(x, others)
    assert max(variable.aval.size for eqn in program.eqns for variable in eqn.outvars) <= others.size
