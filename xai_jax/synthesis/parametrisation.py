"""Images as Fourier coefficients of decorrelated colours (Olah, Mordvintsev & Schubert 2017, Feature visualization).

>>> coefficients = fourier_noise(jax.random.key(0), (1, 8, 8, 3))
>>> images = jax.nn.sigmoid(from_fourier(coefficients, width=8))
>>> coefficients.shape, images.shape
((1, 8, 5, 3, 2), (1, 8, 8, 3))
>>> bool(jnp.allclose(from_fourier(to_fourier(images), width=8), images, atol=1e-5)), to_rgb(jnp.ones(3)).shape
(True, (3,))
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core.precision import HIGHEST

# Square root of the covariance of ImageNet's colours, from the code of Olah et al. 2017: three columns, in RGB.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)


def fourier_noise(key: Array, shape: tuple[int, int, int, int], std: float = 0.01) -> Array:
    """Normally distributed initial coefficients (N, H, W // 2 + 1, C, 2) of images of shape (N, H, W, C)."""
    n, height, width, channels = shape
    return std * jax.random.normal(key, (n, height, width // 2 + 1, channels, 2))


def from_fourier(coefficients: Array, width: int) -> Array:
    """Images (N, H, W, C) of coefficients (N, H, W // 2 + 1, C, 2), scaled by the spectrum of natural images.

    Coefficients are divided by their frequency, at least one period an image, so that equal changes of coefficients are
    equally likely. Three channels are decorrelated colours, see `COLOURS`. The range of the images is not limited: a
    squashing function or a penalty follows. Raises ValueError for a width that does not fit the coefficients.
    """
    height, half = coefficients.shape[1:3]
    if width // 2 + 1 != half:
        raise ValueError(f"Expected a width of {2 * half - 2} or {2 * half - 1} for {half} columns, got {width}.")
    spectrum = lax.complex(coefficients[..., 0], coefficients[..., 1]) * _amplitude(height, width)
    images = jnp.fft.irfft2(spectrum, (height, width), axes=(1, 2))
    return to_rgb(images) if images.shape[-1] == 3 else images


def to_fourier(x: Array) -> Array:
    """Coefficients (N, H, W // 2 + 1, C, 2) of images (N, H, W, C): the inverse of `from_fourier`."""
    inverse = np.linalg.inv(_mixing()).astype(np.float32)
    x = jnp.matmul(x, inverse, precision=HIGHEST) if x.shape[-1] == 3 else x
    spectrum = jnp.fft.rfft2(x, axes=(1, 2)) / _amplitude(*x.shape[1:3])
    return jnp.stack([spectrum.real, spectrum.imag], axis=-1)


def to_rgb(x: Array) -> Array:
    """RGB of decorrelated colours (..., 3)."""
    return jnp.matmul(x, _mixing(), precision=HIGHEST)


def _amplitude(height, width):
    """Amplitude of each frequency in natural images up to a factor, (H, W // 2 + 1, 1)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    scale = np.sqrt(height * width) / np.maximum(frequency, 1 / max(height, width))
    return scale[..., None].astype(np.complex64)


def _mixing():
    return (COLOURS / np.linalg.norm(COLOURS, axis=0).max()).T
