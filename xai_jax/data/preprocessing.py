"""Global contrast normalisation and ZCA whitening, as Goodfellow et al. 2013 (Maxout networks) prepared CIFAR-10.

>>> images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
>>> x = contrast_normalise(images)
>>> whiten(fit_zca(x), x).shape, round(float((x[0] ** 2).sum() ** 0.5), 3)
((20, 4, 4, 3), 55.0)
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core.precision import HIGHEST

CHUNK = 4096  # images: bounds the memory that fitting needs beside its (D, D) matrices


class ZCA(NamedTuple):
    """Fitted whitening: `mean` (D,) and symmetric `matrix` (D, D), both float32; D = H * W * C."""

    mean: Array
    matrix: Array


def contrast_normalise(images: Any, scale: float = 55.0) -> Array:
    """Each image less its mean, scaled to Euclidean norm `scale`: (N, H, W, C) uint8 or float -> float32.

    Images without contrast become zeros. Coates et al. 2011; `scale` as in pylearn2's CIFAR-10.
    """
    _check(images)
    images = jnp.asarray(images, jnp.float32)
    largest = jnp.max(jnp.abs(images), axis=(1, 2, 3), keepdims=True)
    images = images - jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    norm = jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3), keepdims=True))
    # The rounding of the mean leaves a little in a constant image, which must not be scaled up.
    flat = norm <= 1e-5 * largest * np.float32(np.sqrt(np.prod(images.shape[1:])))
    return jnp.where(flat, 0, images * (scale / jnp.where(flat, 1, norm)))


def fit_zca(images: Any, filter_bias: float = 0.1) -> ZCA:
    """(covariance + filter_bias * identity) ** -1/2 of training images (N, H, W, C), worked out in float64.

    Needs two passes over the images and a (D, D) eigendecomposition: for CIFAR (D = 3072) about a minute on 2 cores.
    Raises ValueError for fewer than two images, values that are not finite, or a `filter_bias` that is not positive.
    """
    _check(images)
    images = np.asarray(images)
    if len(images) < 2:
        raise ValueError(f"Expected at least two images to fit ZCA to, got {len(images)}.")
    if not filter_bias > 0:
        raise ValueError(f"Expected a positive filter_bias, got {filter_bias}: without it the inverse may not exist.")
    mean, covariance = _moments(images)
    if not np.all(np.isfinite(covariance)):
        raise ValueError("Expected finite images, got NaN or infinity.")
    values, vectors = np.linalg.eigh(covariance + filter_bias * np.eye(len(mean)))
    matrix = (vectors / np.sqrt(values)) @ vectors.T
    return ZCA(jnp.asarray(mean, jnp.float32), jnp.asarray(matrix, jnp.float32))


def whiten(zca: ZCA, images: Any) -> Array:
    """(x - mean) @ matrix for each image x: (N, H, W, C) -> the same, float32. Raises ValueError for another size."""
    _check(images)
    if np.prod(images.shape[1:]) != len(zca.mean):
        raise ValueError(f"Expected images of {len(zca.mean)} values, as ZCA was fitted to, got shape {images.shape}.")
    rows = jnp.asarray(images, jnp.float32).reshape(len(images), -1)
    # Accelerators would round the factors to fewer bits, and whitening subtracts numbers that are nearly the same.
    return jnp.matmul(rows - zca.mean, zca.matrix, precision=HIGHEST).reshape(images.shape)


def _moments(images):
    chunks = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
    size = int(np.prod(images.shape[1:]))
    mean = sum(np.sum(images[chunk], axis=0, dtype=np.float64) for chunk in chunks).reshape(-1) / len(images)
    covariance = np.zeros((size, size))
    for chunk in chunks:
        rows = np.asarray(images[chunk], np.float64).reshape(-1, size) - mean
        covariance += rows.T @ rows
    return mean, covariance / len(images)


def _check(images):
    if np.ndim(images) != 4 or 0 in np.shape(images):
        raise ValueError(f"Expected images (N, H, W, C), got shape {np.shape(images)}.")
