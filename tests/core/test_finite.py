"""NaN and infinity are refused in every chunk, in logits and in results, and the message names the image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xai_jax.attribution import metrics, saliency
from xai_jax.concepts import gram, layer_scores, sampling
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core import finite, network, targets
from xai_jax.data.datasets import InMemory
from xai_jax.synthesis import optimize, realism
from xai_jax.training import evaluation
from xai_jax.units import deconvnet

X = np.ones((40, 4, 4, 1), np.float32)
BAD = X.copy()
BAD[35] = -1
CONSTANT = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
CONSTANT[3] = 0.5
TARGET = targets.logit(0)


def log(x, relu=jax.nn.relu, tap=network.keep):
    """NaN for images of which the sum is negative."""
    return jnp.log(tap("relu1", relu(x) - relu(-x)).sum((1, 2))) * jnp.arange(1.0, 4.0)


def standardised(x, relu=jax.nn.relu, tap=network.keep):
    """Finite with a NaN gradient for images of one colour."""
    x = (x - x.mean((1, 2, 3), keepdims=True)) / (x.std((1, 2, 3), keepdims=True) + 1e-5)
    return tap("relu1", relu(x)).sum((1, 2)) * jnp.arange(1.0, 4.0)


def project(net, x, target, batch_size=None):
    return deconvnet.project(net, x, targets.neuron("relu1", 0, (0, 0)), batch_size=batch_size)


def deletion(net, x, target, batch_size=None):
    return metrics.deletion(net, x, np.ones_like(x), target, steps=1, fill=0.5, batch_size=batch_size)


def infidelity(net, x, target, batch_size=None):
    return metrics.infidelity(net, x, np.ones_like(x), target, samples=2, noise=1e-3, batch_size=batch_size)


def occlude(net, x, target, batch_size=None):
    """Of a function that is no target."""
    return saliency.occlude(net, x, lambda logits, kept: logits.argmax(-1), patch=2, stride=2, batch_size=batch_size)


occlusion = functools.partial(saliency.occlusion, patch=2, stride=2)
smoothgrad = functools.partial(saliency.smoothgrad, samples=1)
vargrad = functools.partial(saliency.vargrad, samples=1)
grad_cam = functools.partial(saliency.grad_cam, layer="relu1")
integrated_gradients = functools.partial(saliency.integrated_gradients, baseline=0.5)
LOGITS = [saliency.gradient, saliency.guided_backprop, saliency.input_x_gradient, integrated_gradients, smoothgrad]
LOGITS += [occlusion, occlude, grad_cam, deletion, infidelity, project]


@pytest.mark.parametrize("method", LOGITS)
@pytest.mark.parametrize("batch_size", [None, 7, 40])
def test_bad_logits_of_any_image_are_refused(method, batch_size):
    with pytest.raises(ValueError, match=r"image 35\b"):
        method(log, BAD, TARGET, batch_size=batch_size)


GRADIENTS = [saliency.gradient, saliency.input_x_gradient, integrated_gradients, smoothgrad, vargrad, project]


@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_bad_gradients_of_finite_logits_are_refused(method, batch_size):
    with pytest.raises(ValueError, match=r"image 3, whose logits are finite"):
        method(standardised, CONSTANT, TARGET, batch_size=batch_size)


def test_bad_maps_of_a_method_of_users_are_refused():
    def method(net, x, target, batch_size):
        return jnp.where(jnp.arange(len(x))[:, None, None, None] == 2, jnp.nan, jnp.asarray(x))

    with pytest.raises(ValueError, match="image 2"):
        saliency.smoothgrad(standardised, CONSTANT, TARGET, method, samples=2)
    with pytest.raises(ValueError, match="image 2"):
        metrics.random_logit(method, standardised, CONSTANT, 1)
    with pytest.raises(ValueError, match="image 2"):
        metrics.deletion(standardised, CONSTANT, method(None, CONSTANT, None, None), TARGET)


def test_bad_images_are_named():
    x = X.copy()
    x[35, 0, 0, 0] = np.nan
    for images in (x, jnp.asarray(x)):
        with pytest.raises(ValueError, match="image 35"):
            saliency.gradient(log, images, TARGET)
    with pytest.raises(ValueError, match="image 35"):
        ActivationCache(log, "relu1", batch_size=16).activations(x)


def test_activations_gradients_and_strongest_images_name_the_image():
    for call in (
        lambda: ActivationCache(log, "relu1", batch_size=16).activations(BAD),
        lambda: ActivationCache(log, "relu1", batch_size=16).gradients(BAD, TARGET),
        lambda: deconvnet.top_k(lambda x, relu, tap: tap("log", jnp.log(x)).sum((1, 2)), "log", BAD, 1, batch_size=16),
    ):
        with pytest.raises(ValueError, match=r"image 35\b"):
            call()
    with pytest.raises(ValueError, match="image 3"):
        ActivationCache(lambda x, relu, tap: standardised(tap("images", x)), "images").gradients(CONSTANT, TARGET)


def test_arrays_of_concepts_name_the_example():
    parts, bad = np.random.default_rng(0).normal(size=(2, 70, 5)), np.random.default_rng(1).normal(size=(4, 5))
    for wrong in (np.nan, np.inf):
        for example in (3, 66, 100):
            broken = parts.copy()
            broken.reshape(-1, 5)[example, 2] = wrong
            with pytest.raises(ValueError, match=rf"example {example}\."):
                gram.matrix(list(broken))
    bad[2, 1] = np.nan
    sets = sampling.sample({"a": 10}, random_count=130, runs=2, controls=1)
    with pytest.raises(ValueError, match="image 2 of class 1"):
        layer_scores.score_layer(list(parts), [bad[:2], bad], sets)


def test_logits_that_are_not_finite_count_as_no_prediction():
    """NaN is neither larger nor smaller than the logit of the label, which counted as right."""
    images = np.full((20, 2, 2, 3), 9, np.uint8)
    images[13] = 0
    data = InMemory(images, np.zeros(20, np.int32), ("a", "b", "c"))
    with pytest.raises(ValueError, match="image 13"):
        evaluation.errors(lambda x, relu=None, tap=None: x.mean((1, 2)) / x.mean((1, 2)), data, batch_size=8)
    masked = lambda x, relu=None, tap=None: x.mean((1, 2)) + jnp.array([0.0, 0.0, -jnp.inf])  # noqa: E731
    assert evaluation.errors(masked, data, batch_size=8).top1 == 0
    with pytest.raises(ValueError, match="image 1"):
        realism.agreement(lambda x, **_: x, np.array([[0.1, 0.9], [np.nan, 0.2]]), classes=[1, 1])


def test_infinite_outputs_of_a_function_may_be_meant():
    net = lambda x, relu, tap: x.sum((1, 2)) + jnp.array([0.0, -jnp.inf, 1.0])  # noqa: E731
    best = saliency.occlude(net, X[:2], lambda logits, kept: logits.argmax(-1), patch=2, stride=2)
    assert (np.asarray(best) == 2).all()
    with pytest.raises(ValueError, match="finite logits"):
        saliency.occlude(net, X[:2], TARGET, patch=2, stride=2)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_to_nan_is_an_error_even_if_it_is_the_last(steps):
    objective = lambda x: {"norm": jnp.sqrt(x**2).sum(1)}  # noqa: E731
    with pytest.raises(optimize.DivergedError, match="roblem 1"):
        optimize.minimise(objective, jnp.array([[1.0], [0.0]]), optax.sgd(0.1), steps)


def test_images_that_a_jitted_function_closes_over_are_checked():
    def explained(images):
        net = lambda x, relu=jax.nn.relu, tap=network.keep: relu(x).sum((1, 2))  # noqa: E731
        return jax.jit(lambda k: saliency.gradient(net, images, targets.logit(k)))(0)

    images = jnp.ones((2, 4, 4, 3))
    np.testing.assert_array_equal(explained(images).sum((0, 1, 2)), [32, 0, 0])
    with pytest.raises(ValueError, match="in image 1"):
        explained(images.at[1].set(jnp.nan))


def test_traced_values_pass():
    maps = jax.jit(lambda x: saliency.gradient(standardised, x, TARGET))(CONSTANT)
    assert np.isnan(maps[3]).all() and np.isfinite(np.delete(maps, 3, 0)).all()
    assert finite.first_bad(jax.ShapeDtypeStruct((2, 3), np.float32)) is None
