"""Attribution methods: which pixels a target depends on.

All share one signature, `method(net, x, target, ..., batch_size=None) -> attributions` shaped like `x`: images
(N, H, W, C) in the network's own input range, any target from `xai_jax.core.targets`. Images are worked on in chunks of
`batch_size` (None: at most 32), so memory does not grow with N, and each shape compiles once. All raise ValueError for
images, networks and targets that do not fit together, and for a network that ends in a softmax.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import network, rules, targets
from xai_jax.core.batching import chunk_size, chunked
from xai_jax.core.network import Network
from xai_jax.core.rules import Relu
from xai_jax.core.targets import Target


def backprop(net: Network, x: Array, target: Target, relu: Relu, batch_size: int | None = None) -> Array:
    """Gradient of the target with the backward rule `relu` at every rectification."""
    step = functools.partial(_backprop, relu=relu)
    return chunked(step, net, x, target, batch_size)


def gradient(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Gradient of the target with respect to the image (Simonyan et al. 2014, section 3)."""
    return backprop(net, x, target, jax.nn.relu, batch_size)


def deconvnet(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Signal that is rectified on its way down, at no matter which input (Zeiler & Fergus 2014, section 2.1)."""
    return backprop(net, x, target, rules.deconv_relu, batch_size)


def guided_backprop(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Gradient that passes only where input and signal are positive (Springenberg et al. 2015, section 3.4)."""
    return backprop(net, x, target, rules.guided_relu, batch_size)


def input_x_gradient(net: Network, x: Array, target: Target, batch_size: int | None = None) -> Array:
    """Image times gradient: the first-order share of each pixel in the target (Shrikumar et al. 2017, section 2)."""
    return jnp.asarray(x) * gradient(net, x, target, batch_size)


def grad_cam(net: Network, x: Array, target: Target, layer: str, batch_size: int | None = None) -> Array:
    """Where a layer's maps, weighted by their mean gradient, support the target (Selvaraju et al. 2017, eq. 1 and 2).

    `layer` names a map (N, h, w, C); the result, not negative, is enlarged bilinearly and the same in all channels.
    """
    targets.check(net, x, target)
    network.require(layer, shapes := network.abstract(net, x)[1])
    if shapes[layer].ndim != 4:
        raise ValueError(f"Expected a layer with maps (N, h, w, C), {layer!r} is {shapes[layer].shape}.")
    return chunked(functools.partial(_grad_cam, layer=layer), net, x, target, batch_size)


def guided_grad_cam(net: Network, x: Array, target: Target, layer: str, batch_size: int | None = None) -> Array:
    """Guided backprop times Grad-CAM (Selvaraju et al. 2017, section 3.2)."""
    return guided_backprop(net, x, target, batch_size) * grad_cam(net, x, target, layer, batch_size)


def integrated_gradients(
    net: Network,
    x: Array,
    target: Target,
    baseline: float | Array = 0.0,
    steps: int = 64,
    batch_size: int | None = None,
    return_delta: bool = False,
) -> Array | tuple[Array, Array]:
    """Mean gradient between a baseline and the image, times their difference (Sundararajan et al. 2017, eq. 1).

    `baseline` broadcasts to `x`: 0 is mean grey for most networks. `steps` points of Gauss-Legendre quadrature. With
    `return_delta` also (N,): the sum of the attributions minus `target(x) - target(baseline)`, 0 for an exact integral.
    """
    if steps < 1:
        raise ValueError(f"Expected at least one step, got {steps}.")
    try:
        baseline = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    except ValueError:
        raise ValueError(f"Expected a baseline that broadcasts to {x.shape}, got {np.shape(baseline)}.") from None
    points, weights = np.polynomial.legendre.leggauss(steps)
    path = jnp.asarray((points + 1) / 2, x.dtype), jnp.asarray(weights / 2, x.dtype)
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
    seed: int = 0,
    batch_size: int | None = None,
) -> Array:
    """Mean attribution of noisy copies of the image (Smilkov et al. 2017, section 2).

    `method` is any attribution method; give it further arguments with `functools.partial`. `noise`: standard deviation
    of the Gaussian noise as a share of each image's range.
    """
    return _moments(net, x, target, method, samples, noise, seed, batch_size)[0]


def vargrad(
    net: Network,
    x: Array,
    target: Target,
    method: Callable[..., Array] = gradient,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int | None = None,
) -> Array:
    """Variance of the attribution of noisy copies of the image (Adebayo et al. 2018, appendix); as `smoothgrad`."""
    return _moments(net, x, target, method, samples, noise, seed, batch_size)[1]


def occlusion(
    net: Network,
    x: Array,
    target: Target,
    patch: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] = 16,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Array:
    """How far the target falls when a patch hides the pixel, mean over patches (Zeiler & Fergus 2014, section 4.2).

    `patch` and `stride` in pixels; `fill` broadcasts to a pixel (C,); `batch_size` counts occluded images.
    """
    targets.check(net, x, target)
    tops, lefts, patch = _grid(x, patch, stride)
    scores = occlude(net, x, target, target.layers, patch, stride, fill, batch_size)
    values, _ = chunked(_values, net, x, target, batch_size)
    cover = [_cover(start, p, n) for start, p, n in zip((tops, lefts), patch, x.shape[1:3], strict=True)]
    drops = jnp.einsum("nij,ih,jw->nhw", values[:, None, None] - scores, *cover)
    count = jnp.einsum("ih,jw->hw", *cover)
    return jnp.broadcast_to((drops / count)[..., None], x.shape)


def occlude(
    net: Network,
    x: Array,
    read: Callable[[Array, network.Activations], Any],
    layers: tuple[str, ...] = (),
    patch: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] = 16,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Any:
    """Reads the network while a patch slides over the image: what `read(logits, activations)` gives, by position.

    `layers` names the activations to read; a target reads one number. Each (N, ...) result becomes
    (N, rows, columns, ...). The last row and column of patches end at the border.
    """
    network.check_images(x)
    tops, lefts, patch = _grid(x, patch, stride)
    fill = jnp.broadcast_to(jnp.asarray(fill, x.dtype), x.shape[3:])
    net, read = network.as_network(net), network.as_network(read)
    image, top, left = (i.reshape(-1) for i in np.meshgrid(np.arange(x.shape[0]), tops, lefts, indexing="ij"))
    size, parts = chunk_size(batch_size, image.size), []
    for start in range(0, image.size, size):
        at = np.minimum(np.arange(start, start + size), image.size - 1)
        reader = read.rows(image[at]) if isinstance(read, Target) else read
        part = _occluded(net, x[image[at]], reader, fill, top[at], left[at], patch, tuple(layers))
        parts.append(jax.tree.map(np.asarray, part))
    shape = (x.shape[0], len(tops), len(lefts))
    return jax.tree.map(
        lambda *p: jnp.asarray(np.concatenate(p)[: image.size].reshape(*shape, *p[0].shape[1:])), *parts
    )


def patch_starts(size: int, patch: int, stride: int) -> np.ndarray:
    """First pixels of the patches along a side of `size` pixels; the last patch ends at the border."""
    return np.array(sorted({*range(0, size - patch + 1, stride), size - patch}), np.int32)


@functools.partial(jax.jit, static_argnames="relu")
def _backprop(net, x, target, relu):
    def total(x):
        values, logits = targets.evaluate(net, x, target, relu=relu)
        return values.sum(), logits

    return jax.grad(total, has_aux=True)(x)


@jax.jit
def _values(net, x, target):
    values, logits = targets.evaluate(net, x, target)
    return (values, logits), logits


@functools.partial(jax.jit, static_argnames="layer")
def _grad_cam(net, x, target, layer):
    maps = network.features(net, layer)(x)

    def total(delta):
        values, logits = targets.evaluate(network.perturb(net, layer, delta), x, target)
        return values.sum(), logits

    slope, logits = jax.grad(total, has_aux=True)(jnp.zeros_like(maps))
    weights = slope.mean(axis=(1, 2), keepdims=True)
    cam = jax.nn.relu((weights * maps).sum(axis=-1, keepdims=True))
    return jnp.broadcast_to(jax.image.resize(cam, (*x.shape[:3], 1), "bilinear"), x.shape), logits


def _integrate(net, x, target, baseline, path):
    """One program for the whole path; on CPUs, where XLA's convolutions are slow in loops, one for each point."""
    mean = jnp.zeros_like(x)
    if jax.default_backend() == "cpu" and not isinstance(x, jax.core.Tracer):
        for point in zip(*path, strict=True):
            mean, _ = _add_slope(net, x, target, baseline, mean, point)
    else:
        mean, _ = _along(net, x, target, baseline, mean, path)
    return _shared_out(net, x, target, baseline, mean)


@jax.jit
def _add_slope(net, x, target, baseline, total, point):
    where, weight = point
    slope, _ = _backprop(net, baseline + where * (x - baseline), target, jax.nn.relu)
    return total + weight * slope, None


@jax.jit
def _along(net, x, target, baseline, mean, path):
    return jax.lax.scan(functools.partial(_add_slope, net, x, target, baseline), mean, path)


@jax.jit
def _shared_out(net, x, target, baseline, mean):
    """The attributions, and by how much their sum misses what the target gains."""
    attributions = mean * (x - baseline)
    (after, logits), (before, _) = (targets.evaluate(net, image, target) for image in (x, baseline))
    return (attributions, attributions.sum(axis=(1, 2, 3)) - (after - before)), logits


def _moments(net, x, target, method, samples, noise, seed, batch_size):
    """Mean and variance of the attributions of noisy images, by Welford's recurrence: memory for two maps only."""
    if samples < 1 or noise < 0:
        raise ValueError(f"Expected samples >= 1 and noise >= 0, got {samples} and {noise}.")
    network.check_images(x)
    x, key = jnp.asarray(x), jax.random.key(seed)
    mean = squares = jnp.zeros_like(x)
    for i in range(samples):
        sample = method(net, _noisy(x, noise, key, i), target, batch_size=batch_size)
        mean, squares = _with_one_more(mean, squares, sample, i)
    return mean, squares / samples


@jax.jit
def _noisy(x, noise, key, number):
    """Images with the noise of one sample."""
    scale = noise * (x.max(axis=(1, 2, 3), keepdims=True) - x.min(axis=(1, 2, 3), keepdims=True))
    return x + scale * jax.random.normal(jax.random.fold_in(key, number), x.shape, x.dtype)


@jax.jit
def _with_one_more(mean, squares, sample, number):
    """The mean, and the sum of squared deviations from it, of `number` samples and one more."""
    step = sample - mean
    mean = mean + step / (number + 1)
    return mean, squares + step * (sample - mean)


@functools.partial(jax.jit, static_argnames=("patch", "layers"))
def _occluded(net, x, read, fill, top, left, patch, layers):
    row, column = jnp.arange(x.shape[1]), jnp.arange(x.shape[2])
    rows = (row >= top[:, None]) & (row < top[:, None] + patch[0])
    columns = (column >= left[:, None]) & (column < left[:, None] + patch[1])
    hidden = rows[:, :, None, None] & columns[:, None, :, None]
    return read(*network.capture(net, jnp.where(hidden, fill, x), layers))


def _grid(x, patch, stride):
    patch, stride = (tuple(np.broadcast_to(p, 2).tolist()) for p in (patch, stride))
    if min(*patch, *stride) < 1 or any(p > n for p, n in zip(patch, x.shape[1:3], strict=True)):
        raise ValueError(f"Expected patch and stride >= 1 and a patch within {x.shape[1:3]}, got {patch} and {stride}.")
    tops, lefts = (patch_starts(*sizes) for sizes in zip(x.shape[1:3], patch, stride, strict=True))
    return tops, lefts, patch


def _cover(starts, length, n):
    """(patches, n) float32: which patch covers which row or column."""
    pixels = np.arange(n)
    return jnp.asarray((pixels >= starts[:, None]) & (pixels < starts[:, None] + length), jnp.float32)
