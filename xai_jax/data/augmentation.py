"""Random augmentation that preserves the class, as pure functions of a key, compiled with the training step.

>>> images = jnp.arange(8.0).reshape(1, 2, 4, 1)
>>> random_flip(jax.random.key(0), images).shape, random_shift(jax.random.key(0), images, most=1).shape
((1, 2, 4, 1), (1, 2, 4, 1))
"""

import jax
import jax.numpy as jnp
from jax import Array, lax


def random_flip(key: Array, images: Array) -> Array:
    """Mirrors each image (N, H, W, C) left to right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1)), images[:, :, ::-1], images)


def random_shift(key: Array, images: Array, most: int = 5) -> Array:
    """Shifts each image (N, H, W, C) by -most to most pixels along each axis, with zero padding.

    `most` is static. Raises ValueError where it is negative. Springenberg et al. 2015, section 3.2, shift by up to 5.
    """
    if most < 0:
        raise ValueError(f"Expected a shift of 0 or more pixels, got {most}.")
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * most + 1)

    def cut(image, corner):
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(cut)(padded, corners)
