"""Cached activations and gradients: values, batching, invalidation, damaged files and errors."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import activation_cache, adapt, network, targets
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core.precision import highest

LAYERS = oracle.random_layers(3)
NET = oracle.jax_network(LAYERS)
X = np.random.default_rng(1).normal(size=(7, 17, 17, 3)).astype(np.float32)
K = np.arange(7) % 5
NAMES = ("relu1", "pool2", "dense9")
WEIGHTS = jnp.asarray(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
IMAGES = np.random.default_rng(2).normal(size=(5, 2, 2, 3)).astype(np.float32)


def tiny(weights=WEIGHTS, scale=1.0, backward=1.0):
    """Two layers; `backward` scales the gradient between them and leaves the forward pass as it is."""

    @jax.custom_vjp
    def identity(x):
        return x

    identity.defvjp(lambda x: (x, None), lambda _, g: (backward * g,))

    def call(weights, x, relu=jax.nn.relu, tap=network.keep):
        x = tap("hidden", relu(x.reshape(len(x), -1) @ weights))
        return tap("logits", identity(x[:, :4]) - scale * x[:, 4:])

    return Partial(call, weights)


@pytest.fixture
def computed(monkeypatch):
    """Layers that were computed, one entry per pass over the images."""
    seen, original = [], activation_cache._compute

    def counted(function, net, x, target, files, batch_size):
        seen.append(tuple(files))
        return original(function, net, x, target, files, batch_size)

    monkeypatch.setattr(activation_cache, "_compute", counted)
    return seen


def test_activations_are_those_of_the_network_at_any_batch_size(tmp_path):
    with highest():
        _, kept = jax.jit(lambda x: network.capture(NET, x, NAMES))(X)
    found = ActivationCache(NET, NAMES, tmp_path, batch_size=3).activations(X)
    for name in NAMES:
        assert found[name].shape == (7, kept[name][0].size) and not found[name].flags.writeable
        np.testing.assert_allclose(found[name], kept[name].reshape(7, -1), atol=1e-6)


@pytest.mark.parametrize("target", [targets.logit(K), targets.log_probability(2), targets.neuron("dense9", 3)])
def test_gradients_are_those_of_the_head(target, tmp_path):
    found = ActivationCache(NET, ("relu1", "conv5"), tmp_path, batch_size=3).gradients(X, target)
    for name, gradients in found.items():
        value, head = network.call(network.features(NET, name), X), network.head(NET, name, X)
        with highest():
            expected = jax.jit(jax.grad(lambda value, head=head: targets.evaluate(head, value, target)[0].sum()))(value)
        np.testing.assert_allclose(gradients, expected.reshape(7, -1), atol=1e-6)


def test_gradients_agree_with_finite_differences(tmp_path):
    with jax.enable_x64(True):
        x = jnp.asarray(X[:2], jnp.float64)
        double = [tuple(v.astype(np.float64) if isinstance(v, np.ndarray) else v for v in layer) for layer in LAYERS]
        net = oracle.jax_network(double)
        gradients = ActivationCache(net, "conv3", tmp_path).gradients(x, targets.logit(1))["conv3"]
        value, head = network.call(network.features(net, "conv3"), x), jax.jit(network.head(net, "conv3", x))
        step = 1e-6 * np.random.default_rng(4).normal(size=value.shape)
        change = (head(value + step)[:, 1] - head(value - step)[:, 1]) / 2
        np.testing.assert_allclose((gradients * step.reshape(2, -1)).sum(1), change, rtol=1e-5)


def test_adapted_networks_are_accepted(tmp_path):
    net = adapt.from_function(lambda x: jax.nn.relu(x.reshape(len(x), -1) @ WEIGHTS) @ WEIGHTS[:8])
    name = next(name for name in network.layer_names(net, IMAGES) if name.startswith("relu"))
    found = ActivationCache(net, name, tmp_path).activations(IMAGES)[name]
    np.testing.assert_allclose(found, np.maximum(IMAGES.reshape(5, -1) @ np.asarray(WEIGHTS), 0), atol=1e-5)


def test_cached_layers_are_not_recomputed(tmp_path, computed):
    for layers in (["relu1"], ["relu1", "dense9"], ["dense9"]):
        cache = ActivationCache(NET, layers, tmp_path)
        cache.activations(X)
        cache.gradients(X, targets.logit(1))
    assert computed == [("relu1",), ("relu1",), ("dense9",), ("dense9",)]


def test_a_temporary_cache_is_deleted_with_its_object(computed):
    cache = ActivationCache(NET, "relu1")
    for _ in range(2):
        cache.activations(X)
    path = cache.cache_dir
    assert computed == [("relu1",)] and path.exists()
    del cache
    assert not path.exists()


CHANGES = {
    "weights": (tiny(WEIGHTS + 1e-6), IMAGES, targets.logit(0)),
    "program": (tiny(scale=0.6), IMAGES, targets.logit(0)),
    "backward rule": (tiny(backward=3.0), IMAGES, targets.logit(0)),
    "images": (tiny(), IMAGES + np.float32(1e-6), targets.logit(0)),
    "order": (tiny(), IMAGES[::-1], targets.logit(0)),
    "class": (tiny(), IMAGES, targets.logit(1)),
    "classes": (tiny(), IMAGES, targets.logit(np.array([0, 0, 0, 0, 1]))),
    "target": (tiny(), IMAGES, targets.probability(0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_invalidates_the_cache(change, tmp_path, computed):
    before = ActivationCache(tiny(), "hidden", tmp_path).gradients(IMAGES, targets.logit(0))["hidden"]
    net, x, target = CHANGES[change]
    found = ActivationCache(net, "hidden", tmp_path).gradients(x, target)["hidden"]
    assert len(computed) == 2
    fresh = ActivationCache(net, "hidden", tmp_path / "elsewhere").gradients(x, target)["hidden"]
    np.testing.assert_array_equal(found, fresh)
    if change == "backward rule":
        np.testing.assert_array_equal(found[:, :4], 3 * before[:, :4])


def test_a_renamed_layer_invalidates_the_cache(tmp_path):
    """The program is the same, the layer another one."""

    def call(first, second, weights, x, relu=jax.nn.relu, tap=network.keep):
        x = tap(first, x.reshape(len(x), -1) @ weights)
        return tap(second, relu(x))

    found = []
    for names in (("before", "after"), ("after", "before")):
        net = Partial(lambda *given, names=names, **rest: call(*names, *given, **rest), WEIGHTS)
        found.append(ActivationCache(net, "before", tmp_path).activations(IMAGES)["before"])
    assert (found[0] < 0).any() and (found[1] >= 0).all()


def test_closed_over_weights_are_part_of_the_fingerprint(tmp_path):
    nets = [oracle.jax_network(oracle.random_layers(seed)) for seed in (0, 1)]
    first, second = (ActivationCache(net, "relu1", tmp_path).activations(X)["relu1"] for net in nets)
    assert np.abs(first - second).max() > 0.1
    prints = [activation_cache.fingerprint(net, X) for net in (*nets, oracle.jax_network(oracle.random_layers(0)))]
    assert prints[0] == prints[2] != prints[1]


def test_the_fingerprint_is_the_same_in_another_process():
    code = (
        "import jax; jax.config.update('jax_numpy_dtype_promotion', 'strict'); import numpy as np; "
        "from tests.helpers import oracle; from xai_jax import activation_cache; "
        "net = oracle.jax_network(oracle.random_layers(3)); "
        "print(activation_cache.fingerprint(net, np.zeros((1, 17, 17, 3), np.float32)))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == activation_cache.fingerprint(NET, X)


@pytest.mark.parametrize("length", [-10, 100, 0])
def test_a_truncated_file_is_recomputed(length, tmp_path, computed, caplog):
    cache = ActivationCache(NET, "relu1", tmp_path)
    whole = np.array(cache.activations(X)["relu1"])
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:length])
    np.testing.assert_array_equal(cache.activations(X)["relu1"], whole)
    assert len(computed) == 2 and "damaged" in caplog.text


def test_an_interrupted_run_leaves_no_file(tmp_path, monkeypatch):
    original, calls = activation_cache.targets.check_logits, []

    def interrupt(logits, first):
        calls.append(len(logits))
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(logits, first)

    monkeypatch.setattr(activation_cache.targets, "check_logits", interrupt)
    cache = ActivationCache(NET, "relu1", tmp_path, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        cache.activations(X)
    assert not list(tmp_path.iterdir())
    expected = network.call(network.features(NET, "relu1"), X).reshape(7, -1)
    np.testing.assert_allclose(cache.activations(X)["relu1"], expected, atol=1e-6)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    reserved = []

    def full(descriptor, offset, size):
        assert size > 5 * 4 * 4  # the whole array
        reserved.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if len(reserved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device, for activations: .*\.npy") as caught:
        ActivationCache(tiny(), ("hidden", "logits"), tmp_path).activations(IMAGES)
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())
    assert str(caught.value).count("for activations") == 1 and Path(caught.value.filename).stem in reserved[1]


def softmaxed(x, relu=jax.nn.relu, tap=network.keep):
    return jax.nn.softmax(NET(x, relu, tap))


def broken(x, relu=jax.nn.relu, tap=network.keep):
    tap("broken", jnp.where(x.mean((1, 2, 3)) > 100, jnp.inf, 0.0)[:, None])
    return NET(x, relu, tap)


FAR = np.concatenate([X, X[:1] + 200])


@pytest.mark.parametrize(
    "net, layers, x, target, words",
    [
        (NET, "relu9", X, targets.logit(0), "Did you mean"),
        (NET, (), X, targets.logit(0), "one layer or more"),
        (NET, "relu1", X[0], targets.logit(0), "leading axis"),
        (NET, "relu1", X[:0], targets.logit(0), "at least one image"),
        (NET, "relu1", X[..., :2], targets.logit(0), "network can read"),
        (NET, "relu1", np.where(X > 2.5, np.nan, X), targets.logit(0), "finite images"),
        (NET, "relu1", X, targets.logit(5), "between 0 and 4"),
        (NET, "relu1", X, targets.logit(np.zeros(3, int)), "one for each of 7"),
        (softmaxed, "relu1", X, targets.logit(0), "probabilities"),
        (broken, "broken", FAR, None, "layer 'broken', got NaN or infinity for image 7"),
    ],
)
def test_invalid_arguments_are_refused(net, layers, x, target, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        cache = ActivationCache(net, layers, tmp_path, batch_size=3)
        cache.gradients(x, target) if target else cache.activations(x)
    assert not list(tmp_path.iterdir())


def test_images_in_both_sets_are_refused():
    own, others = activation_cache.digests(X[:3]), activation_cache.digests(X[2:])
    with pytest.raises(ValueError, match="'stripes' among the 'random images'.* got 1, the first at index 2"):
        activation_cache.refuse_shared("stripes", own, "random images", others)
    activation_cache.refuse_shared("stripes", own[:2], "random images", others)
