"""What natural images look like: penalties on images, steps that change them, and another way to write them.

Mahendran & Vedaldi 2015 (CVPR) and 2016 (IJCV); Yosinski et al. 2015, Understanding neural networks through deep
visualization (decay, blur, clipping); Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization (windows near
the middle, denoising); Olah, Mordvintsev & Schubert 2017, Feature visualization (Fourier, colours). Penalties take
images (N, H, W, C) to (N,); steps keep the shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

FLOOR = 1e-5  # of the length whose power the variation is; its gradient is taken there where it is shorter

# Root of the covariance of ImageNet's colours, as the software of Olah et al. 2017 has it: three columns, in RGB.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)


def alpha_norm(x: Array, alpha: float = 6.0) -> Array:
    """R_alpha: the sum of all values' powers of alpha (CVPR)."""
    return _sum(_power(x**2, alpha))


def colour_norm(x: Array, alpha: float = 6.0) -> Array:
    """The mean over pixels of their colours' lengths to the power of alpha (IJCV)."""
    return _power((x**2).sum(-1), alpha).mean((1, 2))


def variation(x: Array, beta: float = 2.0) -> Array:
    """R_V^beta: the sum of the powers of beta of gradients' lengths, each channel by itself (CVPR).

    Gradients are differences to the next row and column; beyond the border the last ones are repeated. For beta below 2
    the derivative would be infinite where an image is flat: there it is taken at a length of `FLOOR`.
    """
    down = jnp.diff(x, axis=1, append=x[:, -1:])
    right = jnp.diff(x, axis=2, append=x[:, :, -1:])
    return _sum(_power(down**2 + right**2, beta))


def mean_variation(x: Array, beta: float = 2.0) -> Array:
    """The same divided by the number of pixels (IJCV)."""
    return variation(x, beta) / (x.shape[1] * x.shape[2])


def _power(square, exponent):
    """square^(exponent/2), with the derivative of lengths of at least FLOOR."""
    half = exponent / 2
    half = int(half) if half == int(half) else half  # whole powers are products, others exponentials and logarithms
    slope = lax.stop_gradient(jnp.maximum(square, FLOOR**2) ** (half - 1)) * half
    value = lax.stop_gradient(square**half)
    return value + slope * (square - lax.stop_gradient(square))


def _sum(x):
    """The sum over each image. XLA's CPU backend adds slowly what it computes on the way: it is to be there before."""
    return lax.optimization_barrier(x).sum((1, 2, 3))


def decay(x: Array, rate: float) -> Array:
    """A step towards zero: (1 - rate) x (Yosinski et al.)."""
    return (1 - rate) * x


def blur(x: Array, deviation: float) -> Array:
    """A Gaussian blur with a deviation in pixels; the border is repeated (Yosinski et al.)."""
    radius = max(1, int(4 * deviation + 0.5))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        pads = [(radius, radius) if a == axis else (0, 0) for a in range(4)]
        padded, size = jnp.pad(x, pads, mode="edge"), x.shape[axis]
        x = sum(w * lax.slice_in_dim(padded, i, i + size, axis=axis) for i, w in enumerate(weights))
    return x


def clip_small_norm(x: Array, percent: float) -> Array:
    """Pixels whose colours are short, the lowest `percent` of each image, become zero (Yosinski et al.)."""
    return _clipped(x, jnp.sqrt((x**2).sum(-1)), percent)


def clip_small_contribution(x: Array, gradient: Array, percent: float) -> Array:
    """Pixels that change the activation little when zero, by its gradient, become zero (Yosinski et al.)."""
    return _clipped(x, jnp.abs((x * gradient).sum(-1)), percent)


def _clipped(x, amount, percent):
    least = jnp.percentile(amount, percent, axis=(1, 2), keepdims=True)
    return jnp.where((amount >= least)[..., None], x, 0)


def jitter(key: Array, x: Array, size: tuple[int, int]) -> Array:
    """A window (N, *size, C) of the images, at a random place, another one in each (IJCV).

    Raises ValueError for windows larger than the images.
    """
    return _windows(x, jax.random.randint(key, (len(x), 2), 0, _room(x, size) + 1), size)


def jittered(key: Array, x: Array, most: int) -> Array:
    """The same of images with room to move by up to `most` - 1 pixels, see `widened`."""
    return jitter(key, x, (x.shape[1] - most + 1, x.shape[2] - most + 1))


def widened(x: Array, most: int) -> Array:
    """Images with that room around them: their border repeated."""
    before, after = (most - 1) // 2, most // 2
    return jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)), mode="edge")


def narrowed(x: Array, most: int) -> Array:
    """Images without that room."""
    before, after = (most - 1) // 2, most // 2
    return x[:, before : x.shape[1] - after, before : x.shape[2] - after]


def near_middle(key: Array, x: Array, size: tuple[int, int], deviation: float) -> Array:
    """A window, at a place normal around the middle; `deviation` is a share of the room there is (Nguyen et al.)."""
    room = _room(x, size).astype(np.float32)
    places = room / 2 + deviation * room * jax.random.normal(key, (len(x), 2))
    return _windows(x, jnp.clip(places, 0, room).astype(jnp.int32), size)


def _room(x, size):
    room = np.subtract(x.shape[1:3], size)
    if min(room) < 0:
        raise ValueError(f"Expected windows of at most {x.shape[1:3]}, as large as the images, got {tuple(size)}.")
    return room.astype(np.int32)


def _windows(x, places, size):
    return jax.vmap(lambda image, at: lax.dynamic_slice(image, (at[0], at[1], 0), (*size, x.shape[3])))(x, places)


def denoise(x: Array, weight: float | Array, iterations: int = 100) -> Array:
    """Images u of less variation: near the least sum of gradients' lengths + weight / 2 (u - x)^2, channel by channel.

    Split Bregman (Goldstein & Osher 2009) in the form of scikit-image's `denoise_tv_bregman`, which Nguyen et al. use:
    the smaller the weight, the smoother, but gradients that are short beside 1 / weight are shrunk less than by the
    sum above. Pixels are swept in two halves like a chessboard's, where theirs come in turn.
    """
    pull = 2 * weight
    black = (np.add.outer(np.arange(x.shape[1]), np.arange(x.shape[2])) % 2 == 0)[..., None]
    beside = _beside(jnp.ones_like(x))

    def sweep(_, state):
        u, rest, wanted = state
        for half in (black, ~black):
            better = (weight * x + pull * (_beside(u) + _falling(wanted))) / (weight + pull * beside)
            u = jnp.where(half, better, u)
        total = _slopes(u) + rest
        strength = pull * jnp.sqrt((total**2).sum(0))
        kept = total * strength / (strength + 1)
        return u, total - kept, 2 * kept - total

    nothing = jnp.zeros((2, *x.shape), x.dtype)
    return lax.fori_loop(0, iterations, sweep, (x, nothing, nothing))[0]


def _slopes(u):
    """Differences to the next row and column, (2, N, H, W, C); zero at the border."""
    return jnp.stack([jnp.diff(u, axis=axis, append=lax.slice_in_dim(u, -1, None, axis=axis)) for axis in (1, 2)])


def _falling(slopes):
    """The transpose of `_slopes`."""
    return sum(-jnp.diff(each, axis=axis, prepend=0.0) for axis, each in zip((1, 2), slopes, strict=True))


def _beside(u):
    """The sum of the pixels above, below, left and right, as far as there are such."""
    p = jnp.pad(u, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]


def bounded_colour(x: Array, most: float) -> Array:
    """Colours longer than `most`, which may be infinite, are scaled down to it (IJCV)."""
    square = (x**2).sum(-1, keepdims=True)
    return x * jnp.minimum(1.0, most / jnp.sqrt(jnp.maximum(square, FLOOR**2)))


def fourier_noise(key: Array, shape: tuple[int, int, int, int], deviation: float = 0.01) -> Array:
    """Random coefficients (N, H, W // 2 + 1, C, 2) for `from_fourier` to begin with."""
    n, height, width, channels = shape
    return deviation * jax.random.normal(key, (n, height, width // 2 + 1, channels, 2))


def from_fourier(coefficients: Array, width: int) -> Array:
    """Images (N, H, W, C) whose frequencies are all as easy to change as they are strong in natural images.

    Coefficients are divided by their frequency, or by that of one period an image where it is lower. Of three channels
    the colours are decorrelated, see `COLOURS`. The result is meant for a squashing function or a penalty: its range is
    not limited. Raises ValueError for a width that does not fit.
    """
    height, half = coefficients.shape[1:3]
    if width // 2 + 1 != half:
        raise ValueError(f"Expected a width of {2 * half - 2} or {2 * half - 1} for {half} columns, got {width}.")
    spectrum = lax.complex(coefficients[..., 0], coefficients[..., 1]) * _strength(height, width)
    images = jnp.fft.irfft2(spectrum, (height, width), axes=(1, 2))
    return mix_colours(images) if images.shape[-1] == 3 else images


def to_fourier(x: Array) -> Array:
    """Coefficients (N, H, W // 2 + 1, C, 2) from which `from_fourier` makes the images (N, H, W, C)."""
    x = x @ np.linalg.inv(_mixing()).astype(np.float32) if x.shape[-1] == 3 else x
    spectrum = jnp.fft.rfft2(x, axes=(1, 2)) / _strength(*x.shape[1:3])
    return jnp.stack([spectrum.real, spectrum.imag], axis=-1)


def _strength(height, width):
    """How strong each frequency is in natural images, up to a factor, (H, W // 2 + 1, 1)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    scale = np.sqrt(height * width) / np.maximum(frequency, 1 / max(height, width))
    return scale[..., None].astype(np.complex64)


def mix_colours(x: Array) -> Array:
    """Decorrelated channels (..., 3) to RGB."""
    return x @ _mixing()


def _mixing():
    return (COLOURS / np.linalg.norm(COLOURS, axis=0).max()).T
