"""Sums over steps, samples and patches are computed in at least float32, whatever the dtype of the images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax.adapters import adapt
from xai_jax.attribution import metrics, saliency
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core import network, targets
from xai_jax.synthesis import dgn_am, hog_dsift, inversion, priors

LOW = [jnp.bfloat16, jnp.float16]
TARGET = targets.logit(0)


def linear(dtype=jnp.float32, size=16):
    weights = jnp.ones((size, 3), dtype)
    return adapt.from_function(lambda w, x: x.reshape(len(x), -1).astype(w.dtype) @ w, weights)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("steps", [64, 2048])
def test_integrated_gradients_of_a_linear_network(dtype, steps):
    x = jnp.ones((2, 4, 4, 1), dtype)
    maps, delta = saliency.integrated_gradients(linear(dtype), x, TARGET, steps=steps, return_delta=True)
    np.testing.assert_allclose(maps, np.ones(x.shape), rtol=1e-4)
    np.testing.assert_allclose(delta, 0, atol=1e-3)
    in_one_program = jax.jit(lambda x: saliency.integrated_gradients(linear(dtype), x, TARGET, steps=steps))
    np.testing.assert_allclose(in_one_program(x), np.ones(x.shape), rtol=1e-4)


@pytest.mark.parametrize("dtype", LOW)
def test_moments_of_many_samples(dtype):
    """In bfloat16 the steps of a mean are too small to count after some hundred samples."""
    numbers = iter(range(600))

    def method(net, x, target, batch_size):
        return jnp.full(x.shape, 1 + (next(numbers) % 2), dtype)

    x = jnp.ones((1, 2, 2, 1), dtype)
    np.testing.assert_allclose(saliency.smoothgrad(linear(dtype, 4), x, TARGET, method, samples=300), 1.5, rtol=1e-5)
    np.testing.assert_allclose(saliency.vargrad(linear(dtype, 4), x, TARGET, method, samples=300), 0.25, rtol=1e-5)


METHODS = {
    "gradient": saliency.gradient,
    "input_x_gradient": saliency.input_x_gradient,
    "guided_backprop": saliency.guided_backprop,
    "integrated_gradients": saliency.integrated_gradients,
    "smoothgrad": functools.partial(saliency.smoothgrad, samples=40),
    "vargrad": functools.partial(saliency.vargrad, samples=40, method=saliency.input_x_gradient),
    "occlusion": functools.partial(saliency.occlusion, patch=2, stride=1),
    "grad_cam": functools.partial(saliency.grad_cam, layer="relu1"),
    "guided_grad_cam": functools.partial(saliency.guided_grad_cam, layer="relu1"),
}


def cast_at_the_logits(x, relu=jax.nn.relu, tap=network.keep, dtype=jnp.bfloat16):
    """Positive activations and logits of about 100, whose last digit in bfloat16 is a half."""
    maps = tap("relu1", relu(x))
    return (maps.sum((1, 2)) * jnp.asarray([6.0, 3.0], x.dtype)).astype(dtype)


@pytest.mark.parametrize("name", METHODS)
def test_maps_of_bfloat16_images_are_nearly_those_of_float32(name):
    x = jnp.asarray(np.random.default_rng(0).uniform(0.25, 2, size=(2, 6, 6, 1)), jnp.bfloat16)
    maps = METHODS[name](functools.partial(cast_at_the_logits, dtype=jnp.float32), x, TARGET)
    exact = METHODS[name](functools.partial(cast_at_the_logits, dtype=jnp.float32), x.astype(jnp.float32), TARGET)
    assert maps.dtype == jnp.float32
    # one rounding of the images and of the gradient, however many terms are added
    np.testing.assert_allclose(maps, exact, rtol=0.03, atol=0.03 * float(abs(exact).max()))


@pytest.mark.parametrize("dtype", LOW)
def test_metrics_in_low_precision(dtype):
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, size=(2, 16, 16, 1)), dtype)
    maps = saliency.gradient(linear(dtype, 256), x, TARGET)
    curve = metrics.deletion(linear(jnp.float32, 256), x, maps.astype(dtype), TARGET, steps=4)
    assert curve.values.dtype == np.float32
    np.testing.assert_allclose(curve.values[:, 0], np.asarray(x, np.float32).sum((1, 2, 3)), rtol=1e-5)
    exact = linear(jnp.float32, 256)  # of which the map is right: what remains is the rounding
    assert (np.asarray(metrics.infidelity(exact, x, maps.astype(dtype), TARGET, samples=8)) < 1e-4).all()


@pytest.mark.parametrize("dtype", LOW)
def test_order_of_pixels_by_attributions_with_many_channels(dtype):
    """In bfloat16 512 channels of 1 add up to 256, as 300 do."""
    maps = np.ones((1, 1, 2, 512), dtype)
    maps[0, 0, 0, 300:] = 0
    x = jnp.ones((1, 1, 2, 512)).at[0, 0, 1].set(2)
    net = lambda x, relu=jax.nn.relu, tap=network.keep: x.sum((1, 2))  # noqa: E731
    assert metrics.deletion(net, x, maps, TARGET, steps=2).values.tolist() == [[3.0, 1.0, 0.0]]


@pytest.mark.parametrize("dtype", LOW)
def test_targets_compute_in_float32(dtype):
    logits = jnp.asarray([[200.0, 199.0, 0.0]], dtype)
    kept = {"relu1": jnp.full((1, 64, 64, 2), 1.01, dtype)}
    net = lambda x, relu=jax.nn.relu, tap=network.keep: (tap("relu1", kept["relu1"]), logits)[1]  # noqa: E731
    x, one = jnp.zeros((1, 2, 2, 1)), float(kept["relu1"][0, 0, 0, 0])

    def value(target):
        return float(targets.evaluate(net, x, target)[0][0])

    np.testing.assert_allclose(value(targets.probability(0)), 1 / (1 + np.exp(-1)), rtol=1e-5)
    np.testing.assert_allclose(value(targets.logit(0) - 0.999 * targets.logit(1)), 200 - 0.999 * 199, rtol=1e-5)
    np.testing.assert_allclose(value(targets.neuron("relu1", 1, "mean")), one, rtol=1e-5)
    vector = jnp.ones((64, 64, 2))
    np.testing.assert_allclose(value(targets.direction("relu1", vector)), one * 64 * 64 * 2, rtol=1e-5)


@pytest.mark.parametrize("dtype", [*LOW, jnp.float32])
def test_softmax_outputs_are_found_in_every_precision(dtype):
    """A softmax in bfloat16 adds up to 1 within a hundredth."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(8, 10)), dtype)
    with pytest.raises(ValueError, match="got probabilities"):
        targets.check_logits(jax.nn.softmax(logits))
    targets.check_logits(logits)
    targets.check_logits(1.1 * jax.nn.softmax(logits))


def test_synthesis_with_low_precision():
    x = jnp.asarray(np.random.default_rng(0).uniform(-2, 2, size=(2, 32, 32, 3)), jnp.bfloat16)
    exact = x.astype(jnp.float32)
    for prior in (priors.alpha_norm, priors.colour_norm, priors.total_variation, priors.mean_total_variation):
        np.testing.assert_allclose(prior(x), prior(exact), rtol=1e-5)
    for operator in (functools.partial(priors.blur, std=1.0), functools.partial(priors.denoise, weight=0.5)):
        assert operator(x).dtype == jnp.bfloat16
        np.testing.assert_array_equal(operator(x), operator(exact).astype(jnp.bfloat16))
    grey = exact[..., :1].astype(jnp.bfloat16)
    for features in (hog_dsift.hog, hog_dsift.hogb, hog_dsift.dsift):
        np.testing.assert_array_equal(features(grey), features(grey.astype(jnp.float32)))
    np.testing.assert_allclose(dgn_am.upper_bounds(x), dgn_am.upper_bounds(exact), rtol=1e-6)
    half = lambda x: (x / 2).astype(jnp.bfloat16)  # noqa: E731
    target, one = half(exact).astype(jnp.float32), jnp.ones(())
    for measure in (
        lambda represent: inversion.distance(represent, target + 1, one, exact),
        lambda represent: inversion.inner_product(represent, target + 1, exact),
        lambda represent: inversion.error(represent, exact, target + 1),
    ):
        np.testing.assert_allclose(measure(half), measure(lambda x: half(x).astype(jnp.float32)), rtol=1e-5)


def test_cached_arrays_are_float32():
    x = jnp.ones((2, 4, 4, 1), jnp.bfloat16)
    net = lambda x, relu=jax.nn.relu, tap=network.keep: tap("relu1", relu(x)).sum((1, 2))  # noqa: E731
    cache = ActivationCache(net, "relu1")
    assert cache.activations(x)["relu1"].dtype == cache.gradients(x, TARGET)["relu1"].dtype == np.float32
