"""Random transforms of images that optimisation sees instead of the images, and crops. Images are (N, H, W, C).

>>> padded = pad_for_jitter(jnp.ones((2, 8, 8, 3)), extent=5)
>>> padded.shape, jitter(jax.random.key(0), padded, extent=5).shape, undo_padding(padded, extent=5).shape
((2, 12, 12, 3), (2, 8, 8, 3), (2, 8, 8, 3))
>>> random_central_crop(jax.random.key(0), padded, (8, 8), std=0.3).shape
(2, 8, 8, 3)
>>> random_crop(jax.random.key(0), padded, (8, 8)).shape, centre_crop(padded, (6, 6)).shape
((2, 8, 8, 3), (2, 6, 6, 3))
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core.arguments import check_count


def random_crop(key: Array, x: Array, size: tuple[int, int]) -> Array:
    """A crop (N, *size, C) at a uniformly random position, another one for each image.

    Raises ValueError for crops larger than the images.
    """
    return _crops(x, jax.random.randint(key, (len(x), 2), 0, _room(x, size) + 1), size)


def random_central_crop(key: Array, x: Array, size: tuple[int, int], std: float) -> Array:
    """A crop at a normally distributed position around the centre (Nguyen, Yosinski & Clune 2016, Multifaceted).

    Args:
      key: random key.
      x: images (N, H, W, C).
      size: height and width of the crops.
      std: standard deviation of the position, as a fraction of H - height and W - width.

    Returns:
      Crops (N, height, width, C), one for each image.

    Raises:
      ValueError: for crops larger than the images.
    """
    room = _room(x, size).astype(np.float32)
    positions = room / 2 + std * room * jax.random.normal(key, (len(x), 2))
    return _crops(x, jnp.clip(positions, 0, room).astype(jnp.int32), size)


def padding(extent: int) -> int:
    """Pixels by which a jitter of `extent` enlarges images in height and width: `extent` - 1, and 0 for none.

    Raises ValueError unless `extent` is an integer, 0 or more.

    >>> [padding(extent) for extent in (0, 1, 9)]
    [0, 0, 8]
    """
    check_count(extent, "pixels of jitter", least=0)
    return max(extent - 1, 0)


def jitter(key: Array, x: Array, extent: int) -> Array:
    """Translation by up to `extent` - 1 pixels of images that `pad_for_jitter` has enlarged (IJCV)."""
    return random_crop(key, x, tuple(side - padding(extent) for side in x.shape[1:3]))


def pad_for_jitter(x: Array, extent: int) -> Array:
    """Images enlarged by `padding(extent)` pixels in height and width, by replicating their borders."""
    before, after = padding(extent) // 2, (padding(extent) + 1) // 2
    return jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)), mode="edge")


def centre_crop(x: Array, size: tuple[int, int]) -> Array:
    """The central (N, *size, C) of images; where the margin is odd, the extra row or column is cut off at the end.

    Raises ValueError for crops larger than the images.
    """
    top, left = _room(x, size) // 2
    return x[:, top : top + size[0], left : left + size[1]]


def undo_padding(x: Array, extent: int) -> Array:
    """Images without the padding of `pad_for_jitter`."""
    return centre_crop(x, tuple(side - padding(extent) for side in x.shape[1:3]))


def _room(x, size):
    room = np.subtract(x.shape[1:3], size)
    if min(room) < 0:
        raise ValueError(f"Expected crops of at most {x.shape[1:3]}, the size of the images, got {tuple(size)}.")
    return room.astype(np.int32)


def _crops(x, positions, size):
    return jax.vmap(lambda image, at: lax.dynamic_slice(image, (at[0], at[1], 0), (*size, x.shape[3])))(x, positions)
