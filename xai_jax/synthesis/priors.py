"""Natural-image priors: penalties on images, and operators that regularise them.

Mahendran & Vedaldi 2015 (CVPR) and 2016 (IJCV); Yosinski et al. 2015, Understanding neural networks through deep
visualization (decay, blur, clipping); Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization (denoising).
Penalties map images (N, H, W, C) to (N,), operators to images of the same shape.

>>> edge = jnp.array([[0.0, 0.0, 2.0, 2.0]]).reshape(1, 1, 4, 1)
>>> float(total_variation(edge)[0]), float(alpha_norm(edge, alpha=2.0)[0])
(4.0, 8.0)
>>> float(mean_total_variation(edge)[0]), float(colour_norm(edge, alpha=2.0)[0])
(1.0, 2.0)
>>> decay(edge, 0.5).ravel().tolist(), clip_small_norm(edge - 1, 50.0).shape
([0.0, 0.0, 1.0, 1.0], (1, 1, 4, 1))
>>> clip_small_contribution(edge, gradient=jnp.ones_like(edge), percentile=50.0).ravel().tolist()
[0.0, 0.0, 2.0, 2.0]
>>> bool(total_variation(blur(edge, std=0.5))[0] < 4.0)
True
>>> clip_colour_norm(edge, max_norm=1.0).ravel().tolist()
[0.0, 0.0, 1.0, 1.0]
>>> bool(total_variation(denoise(edge, weight=0.5))[0] < 4.0)
True
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core.precision import wide

FLOOR = 1e-5  # least norm at which derivatives of powers of norms are evaluated


def alpha_norm(x: Array, alpha: float = 6.0) -> Array:
    """R_alpha: the sum of |x|^alpha over all values (CVPR)."""
    return _sum(_power(wide(x) ** 2, alpha))


def colour_norm(x: Array, alpha: float = 6.0) -> Array:
    """The mean over pixels of the colour's norm to the power of alpha (IJCV)."""
    return _power((wide(x) ** 2).sum(-1), alpha).mean((1, 2))


def total_variation(x: Array, beta: float = 2.0) -> Array:
    """R_V^beta: the sum over pixels and channels of the gradient's norm to the power of beta (CVPR).

    Gradients are forward differences with replicated borders. For beta < 2, whose derivative is unbounded where images
    are constant, norms below `FLOOR` have the derivative at `FLOOR`.
    """
    x = wide(x)
    down = jnp.diff(x, axis=1, append=x[:, -1:])
    right = jnp.diff(x, axis=2, append=x[:, :, -1:])
    return _sum(_power(down**2 + right**2, beta))


def mean_total_variation(x: Array, beta: float = 2.0) -> Array:
    """Total variation per pixel (IJCV)."""
    return total_variation(x, beta) / (x.shape[1] * x.shape[2])


def _power(square, exponent):
    """square^(exponent / 2), with the derivative at norms of at least FLOOR."""
    half = exponent / 2
    half = int(half) if half == int(half) else half  # integer powers are products, others exponentials and logarithms
    derivative = lax.stop_gradient(jnp.maximum(square, FLOOR**2) ** (half - 1)) * half
    return lax.stop_gradient(square**half) + derivative * (square - lax.stop_gradient(square))


def _sum(x):
    """The sum over each image; the barrier keeps XLA's CPU backend from a slow fusion of the sum with its operand."""
    return lax.optimization_barrier(x).sum((1, 2, 3))


def decay(x: Array, amount: float) -> Array:
    """L2 decay: (1 - amount) x (Yosinski et al.)."""
    return (1 - amount) * x


def blur(x: Array, std: float) -> Array:
    """Gaussian blur with a standard deviation in pixels, 0 for none, and replicated borders (Yosinski et al.)."""
    if not std:
        return x
    radius = max(1, int(4 * std + 0.5))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    dtype, x = x.dtype, wide(x)
    for axis in (1, 2):
        pads = [(radius, radius) if a == axis else (0, 0) for a in range(4)]
        padded, size = jnp.pad(x, pads, mode="edge"), x.shape[axis]
        x = sum(w * lax.slice_in_dim(padded, i, i + size, axis=axis) for i, w in enumerate(weights))
    return x.astype(dtype)


def clip_small_norm(x: Array, percentile: float) -> Array:
    """Sets to zero the pixels whose colour norm is below a percentile of their image (Yosinski et al.)."""
    return _clip_below(x, jnp.sqrt((x**2).sum(-1)), percentile)


def clip_small_contribution(x: Array, gradient: Array, percentile: float) -> Array:
    """Sets to zero the pixels whose |x . gradient| is below a percentile of their image (Yosinski et al.)."""
    return _clip_below(x, jnp.abs((x * gradient).sum(-1)), percentile)


def _clip_below(x, amount, percentile):
    least = jnp.percentile(amount, percentile, axis=(1, 2), keepdims=True)
    return jnp.where((amount >= least)[..., None], x, 0)


def clip_colour_norm(x: Array, max_norm: float) -> Array:
    """Colours with a norm above `max_norm`, which may be infinite, are scaled to it (IJCV)."""
    square = (x**2).sum(-1, keepdims=True)
    return x * jnp.minimum(1.0, max_norm / jnp.sqrt(jnp.maximum(square, FLOOR**2)))


def denoise(x: Array, weight: float | Array, iterations: int = 100) -> Array:
    """Denoising of each channel by total variation: approximates argmin_u TV(u) + weight / 2 ||u - x||^2.

    Split Bregman (Goldstein & Osher 2009) as in scikit-image's `denoise_tv_bregman`, which Nguyen et al. use: smaller
    weights smooth more, and gradients much smaller than 1 / weight are shrunk less than by the exact minimiser. Unlike
    scikit-image's, the Gauss-Seidel sweep updates pixels in checkerboard order.
    """
    coupling, dtype, x = 2 * weight, x.dtype, wide(x)
    black = (np.add.outer(np.arange(x.shape[1]), np.arange(x.shape[2])) % 2 == 0)[..., None]
    neighbours = _neighbour_sum(jnp.ones_like(x))

    def sweep(_, state):
        u, dual, target = state
        for half in (black, ~black):
            update = weight * x + coupling * (_neighbour_sum(u) + _divergence(target))
            u = jnp.where(half, update / (weight + coupling * neighbours), u)
        total = _gradients(u) + dual
        strength = coupling * jnp.sqrt((total**2).sum(0))
        kept = total * strength / (strength + 1)
        return u, total - kept, 2 * kept - total

    zeros = jnp.zeros((2, *x.shape), x.dtype)
    return lax.fori_loop(0, iterations, sweep, (x, zeros, zeros))[0].astype(dtype)


def _gradients(u):
    """Forward differences along rows and columns, (2, N, H, W, C); zero at the border."""
    return jnp.stack([jnp.diff(u, axis=axis, append=lax.slice_in_dim(u, -1, None, axis=axis)) for axis in (1, 2)])


def _divergence(gradients):
    """The transpose of `_gradients`."""
    return sum(-jnp.diff(each, axis=axis, prepend=0.0) for axis, each in zip((1, 2), gradients, strict=True))


def _neighbour_sum(u):
    """The sum of the pixels above, below, left and right that exist."""
    p = jnp.pad(u, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]
