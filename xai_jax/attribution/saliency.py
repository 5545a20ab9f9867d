"""Attribution methods: the contribution of each pixel to a target.

All methods share the signature `method(net, x, target, ..., batch_size=None)` and return attributions shaped like the
images, in float32 or wider. Images are processed in chunks, so memory does not grow with N, and each shape compiles
once.

>>> net = lambda x, relu=jax.nn.relu, tap=network.keep: tap("relu1", relu(x)).sum((1, 2))
>>> x, target = jnp.ones((1, 4, 4, 3)), targets.logit(2)
"""

import contextlib
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.attribution.grad_cam import grad_cam as grad_cam
from xai_jax.attribution.occlusion import occlude as occlude
from xai_jax.attribution.occlusion import occlusion as occlusion
from xai_jax.core import devices, network, rules, targets
from xai_jax.core.arguments import check_amount, check_count, check_method, is_integer
from xai_jax.core.batching import chunked, like_images
from xai_jax.core.loops import fold, one_program
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import wide, wide_dtype
from xai_jax.core.pytrees import hashable, is_module_level
from xai_jax.core.rules import Relu
from xai_jax.core.targets import Target


def backprop(net: Network, x: Array, target: Target, relu: Relu, batch_size: int | None = None) -> Array:
    """Gradient of the target with the backward rule `relu` at every rectification.

    >>> backprop(net, x, target, rules.guided_relu).shape
    (1, 4, 4, 3)

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      target: the target to explain.
      relu: a ReLU with its backward rule, such as those of `xai_jax.core.rules`.
      batch_size: number of images processed at once; None: by the device's memory.

    Returns:
      Attributions (N, H, W, C).

    Raises:
      ValueError: images, network and target do not match, or the network ends in a softmax.
    """
    return chunked(functools.partial(_backprop, relu=relu), net, x, target, batch_size)


def gradient(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Gradient of the target with respect to the image (Simonyan et al. 2014, section 3).

    >>> float(gradient(net, x, target).sum())
    16.0

    Args, Returns, Raises: as in `backprop`.
    """
    return backprop(net, x, target, jax.nn.relu, batch_size)


def deconvnet(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Backward signal rectified at each ReLU regardless of the forward activation (Zeiler & Fergus 2014, section 2.1).

    >>> float(deconvnet(net, -x, target).sum())
    16.0

    Args, Returns, Raises: as in `backprop`.
    """
    return backprop(net, x, target, rules.deconv_relu, batch_size)


def guided_backprop(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Gradient passed only where both input and signal are positive (Springenberg et al. 2015, section 3.4).

    >>> float(guided_backprop(net, -x, target).sum())
    0.0

    Args, Returns, Raises: as in `backprop`.
    """
    return backprop(net, x, target, rules.guided_relu, batch_size)


def input_x_gradient(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Image times gradient: first-order contribution of each pixel (Shrikumar et al. 2017, section 2).

    >>> float(input_x_gradient(net, 2 * x, target).sum())
    32.0

    Args, Returns, Raises: as in `backprop`.
    """
    return chunked(_times_image, net, x, target, batch_size)


def guided_grad_cam(net: Network, x: Array, target: Target, layer: str, batch_size: int | None = None) -> Array:
    """Guided backpropagation times Grad-CAM (Selvaraju et al. 2017, section 3.2).

    >>> guided_grad_cam(net, x, target, "relu1").shape
    (1, 4, 4, 3)

    Args, Returns, Raises: as in `grad_cam`; the attributions differ between channels.
    """
    maps = grad_cam(net, x, target, layer, batch_size)
    return guided_backprop(net, x, target, batch_size) * maps


def integrated_gradients(
    net: Network,
    x: Array,
    target: Target,
    baseline: float | Array = 0.0,
    steps: int = 64,
    batch_size: int | None = None,
    return_delta: bool = False,
) -> Array | tuple[Array, Array]:
    """Mean gradient on the path from a baseline, times image minus baseline (Sundararajan et al. 2017, eq. 1).

    >>> round(float(integrated_gradients(net, x, target).sum()), 4)  # completeness: target(x) - target(baseline)
    16.0

    Args:
      net, x, target, batch_size: as in `backprop`.
      baseline: image at the start of the path; broadcasts to `x`. 0 is mean grey for most networks.
      steps: number of points of the Gauss-Legendre quadrature.
      return_delta: whether to return the error of the completeness axiom, too.

    Returns:
      Attributions (N, H, W, C). With `return_delta` also (N,): the sum of the attributions minus
      `target(x) - target(baseline)`, 0 for an exact integral.

    Raises:
      ValueError: as in `backprop`, or the baseline does not broadcast to `x`, or there are no steps.
    """
    network.check_images(x)
    if not is_integer(steps) or steps < 1:
        raise ValueError(f"Expected at least one step, got {quoted(steps)}.")
    baseline = like_images(baseline, x, "baseline")
    points, weights = np.polynomial.legendre.leggauss(int(steps))
    path = tuple(np.asarray(each, wide_dtype(jnp.result_type(x))) for each in ((points + 1) / 2, weights / 2))
    step = functools.partial(_integrate, path=path)
    attributions, delta = chunked(step, net, x, target, batch_size, baseline)
    return (attributions, delta) if return_delta else attributions


def smoothgrad(
    net: Network,
    x: Array,
    target: Target,
    method: Callable[..., Array] = gradient,
    samples: int = 25,
    noise: float = 0.15,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Array:
    """Mean attribution over noisy copies of the image (Smilkov et al. 2017, section 2).

    >>> smoothgrad(net, x, target, guided_backprop, samples=2, key=jax.random.key(1)).shape
    (1, 4, 4, 3)

    Args:
      net, x, target, batch_size: as in `backprop`.
      method: any attribution method; bind further arguments with `functools.partial`.
      samples: number of noisy copies.
      noise: standard deviation of the Gaussian noise as a fraction of each image's value range. All images get the
        same draws, so that an attribution does not depend on the other images.
      key: a JAX random key; None for `jax.random.key(0)`.

    Returns:
      Attributions (N, H, W, C).

    Raises:
      ValueError: as in `backprop`, or fewer than one sample, or negative noise.
    """
    return _moments(net, x, target, method, samples, noise, key, batch_size)[0]


def vargrad(
    net: Network,
    x: Array,
    target: Target,
    method: Callable[..., Array] = gradient,
    samples: int = 25,
    noise: float = 0.15,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Array:
    """Variance of the attribution over noisy copies of the image (Adebayo et al. 2018, appendix).

    >>> float(vargrad(net, 2 + x, target, samples=2, noise=0.0).max())
    0.0

    Args, Returns, Raises: as in `smoothgrad`.
    """
    return _moments(net, x, target, method, samples, noise, key, batch_size)[1]


@functools.partial(jax.jit, static_argnames="relu")
def _backprop(net, x, target, relu):
    def total(x):
        values, logits = targets.evaluate(net, x, target, relu=relu)
        return values.sum(), logits

    return jax.grad(total, has_aux=True)(x)


def _times_image(net, x, target):
    maps, logits = _backprop(net, x, target, jax.nn.relu)
    return wide(jnp.asarray(x)) * wide(maps), logits


def _integrate(net, x, target, baseline, path):
    mean = jnp.zeros_like(x, wide_dtype(jnp.result_type(x)))
    mean, _ = fold(_add_gradient, mean, path, net, x, target, baseline)
    return _attribute(net, x, target, baseline, mean)


def _add_gradient(total, point, net, x, target, baseline):
    position, weight = point
    image = wide(baseline) + position * (wide(x) - wide(baseline))
    gradients, _ = _backprop(net, image.astype(x.dtype), target, jax.nn.relu)
    return total + weight * wide(gradients), None


@jax.jit
def _attribute(net, x, target, baseline, mean):
    """Attributions, and the difference between their sum and the change of the target."""
    attributions = mean * (wide(x) - wide(baseline))
    images = x, jnp.broadcast_to(baseline, x.shape)
    (after, logits), (before, _) = (targets.evaluate(net, image, target) for image in images)
    return (attributions, attributions.sum(axis=(1, 2, 3)) - (after - before)), logits


def _moments(net, x, target, method, samples, noise, key, batch_size):
    """Mean and variance of the attributions of noisy images, by Welford's recurrence: memory for two maps only.

    One program where loops are fast, for a method that is a function of a module and can be traced.
    """
    check_method(method)
    check_count(samples, "samples")
    check_amount(noise, "noise")
    network.check_images(x)
    key, samples, method = jax.random.key(0) if key is None else key, int(samples), hashable(method)
    if one_program(x) and is_module_level(method):
        step = functools.partial(_sample_all, noise=noise, key=key, method=method, samples=samples)
        with contextlib.suppress(jax.errors.JAXTypeError, jax.errors.JAXIndexError):  # of a method by NumPy
            return chunked(step, net, x, target, batch_size)
    net, x = network.as_network(net), jnp.asarray(x)
    net = devices.copy(net, devices.count((net, x, target), len(x)))
    mean = squares = jnp.zeros(x.shape, wide_dtype(jnp.result_type(x)))
    for number in range(samples):
        sample = method(net, _add_noise(x, noise, key, number), target, batch_size=batch_size)
        mean, squares = _update_moments(mean, squares, wide(sample), number)
    targets.refuse_faults(targets.faults(None, (mean, squares)), 0)
    return mean, squares / samples


@functools.partial(jax.jit, static_argnames=("method", "samples"))
def _sample_all(net, x, target, noise, key, method, samples):
    def add(moments, number):
        sample = method(net, _add_noise(x, noise, key, number), target, batch_size=len(x))
        return _update_moments(*moments, wide(sample), number), None

    zeros = jnp.zeros(x.shape, wide_dtype(x.dtype))
    (mean, squares), _ = jax.lax.scan(add, (zeros, zeros), jnp.arange(samples))
    return (mean, squares / samples), targets.evaluate(net, x, target)[1]


@jax.jit
def _add_noise(x, noise, key, number):
    """One draw for all images, so that the attribution of an image does not depend on its position among others."""
    own = wide(x)
    scale = noise * (own.max(axis=(1, 2, 3), keepdims=True) - own.min(axis=(1, 2, 3), keepdims=True))
    draw = jax.random.normal(jax.random.fold_in(key, number), (1, *x.shape[1:]), own.dtype)
    return (own + scale * draw).astype(x.dtype)


@jax.jit
def _update_moments(mean, squares, sample, number):
    """Mean, and sum of squared differences from it, after `number` samples and one more."""
    step = sample - mean
    mean = mean + step / jnp.asarray(number + 1, mean.dtype)
    return mean, squares + step * (sample - mean)
