"""Chunks: one at a time is on the device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax.adapters import adapt
from xai_jax.attribution import metrics, saliency
from xai_jax.core import batching, memory, network, targets
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
        lambda x: saliency.input_x_gradient(net, x, TARGET, batch_size=2),
        lambda x: saliency.occlusion(net, x, TARGET, patch=3, stride=3, batch_size=2),
        lambda x: saliency.integrated_gradients(net, x, TARGET, x / 2, steps=2, batch_size=2),
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


def test_samples_of_noise_are_one_program_of_a_chunk_on_accelerators(monkeypatch):
    """Of methods of a module, with any arguments; others, and those that compute with NumPy, are called by sample."""
    usual, compiled = {}, saliency._sample_all
    methods = {
        "gradient": saliency.gradient,
        "two steps": functools.partial(saliency.integrated_gradients, steps=2),
        "occlusion": functools.partial(saliency.occlusion, patch=3, stride=3),
        "a lambda": lambda *args, batch_size: saliency.gradient(*args, batch_size=batch_size),
        "numpy": by_numpy,
    }
    for name, method in methods.items():
        usual[name] = np.asarray(saliency.smoothgrad(squared, X, TARGET, method, samples=3, batch_size=4))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for name, method in methods.items():
        again = functools.partial(method.func, **method.keywords) if hasattr(method, "func") else method
        for number, each in enumerate((method, again)):
            before = compiled._cache_size()
            found = saliency.smoothgrad(squared, X, TARGET, each, samples=3, batch_size=4)
            np.testing.assert_allclose(found, usual[name], rtol=1e-4, atol=1e-5)
            if name != "numpy":
                assert compiled._cache_size() - before == (number == 0 and name != "a lambda"), name


def squared(x, relu=jax.nn.relu, tap=network.keep):
    return (tap("relu1", relu(x)) ** 2).sum((1, 2))


def by_numpy(net, x, target, batch_size):
    return np.asarray(saliency.gradient(net, x, target, batch_size=batch_size))


@pytest.mark.parametrize("bad, computed", [(0, 2), (3, 3), (6, 3)])
def test_a_chunk_is_checked_while_the_next_one_is_computed(bad, computed):
    seen, x = [], X.copy()
    x[bad, 0] = 2e38  # the sum is infinite

    def step(net, x, target):
        seen.append(len(x))
        return net(x), net(x)

    with pytest.raises(ValueError, match=f"finite logits, got NaN or infinity for image {bad}"):
        batching.chunked(step, net, x, TARGET, 3)
    assert len(seen) == computed


def test_each_chunk_is_looked_at_once(monkeypatch):
    looked, original = [], targets.refuse_faults
    monkeypatch.setattr(targets, "refuse_faults", lambda *args: looked.append(args) or original(*args))
    saliency.gradient(net, X, TARGET)
    assert len(looked) == 1
    saliency.gradient(net, X, TARGET, batch_size=3)
    assert [first for _, first in looked] == [0, 0, 3, 6]


class Device:
    """An accelerator with so many bytes of memory."""

    def __init__(self, limit, used=0):
        self.stats = {"bytes_limit": limit, "bytes_in_use": used}

    def memory_stats(self):
        return self.stats


def test_chunks_fill_the_memory_of_an_accelerator(monkeypatch):
    needed = 4 * (5 * 6 * 3 + 3)  # bytes of a ReLU's and a sum's outputs for one image

    def size(function, limit, used=0):
        monkeypatch.setattr(jax, "local_devices", lambda: [Device(limit, used)])
        return memory.images_at_once(network.as_network(function), X)

    assert [size(plain, needed * count) for count in (1, 2, 3, 4, 100, 300)] == [1, 2, 2, 4, 64, 256]
    assert size(plain, 0) == 1 and size(plain, 1 << 40) == 256
    assert size(plain, 64 * needed, used=60 * needed) == 8  # twice what is free
    looped = lambda x: jax.lax.scan(lambda y, _: (y + x, None), x, length=8)[0]  # noqa: E731
    assert [size(looped, 4 * 90 * rounds * 16) for rounds in (7, 8)] == [8, 16]
    assert batching.chunk_size(None, 1000, network.as_network(looped), X, number=8) == 128


def test_a_network_for_one_number_of_images_serves_on_an_accelerator(monkeypatch):
    def fixed(x, relu=jax.nn.relu, tap=network.keep):
        if x.shape[0] != len(X):
            raise ValueError(f"compiled for {len(X)} images")
        return relu(x).sum((1, 2))

    monkeypatch.setattr(memory, "_device", lambda x: Device(1 << 30))
    np.testing.assert_array_equal(saliency.gradient(fixed, X, TARGET), saliency.gradient(net, X, TARGET))


def plain(x, relu=None, tap=None):
    return jax.lax.reduce(jnp.maximum(x, 0), np.float32(0), jax.lax.add, (1, 2))


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
