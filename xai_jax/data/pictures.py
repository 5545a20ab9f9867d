"""Pictures of any data set, fitted to an area and tinted where they are grey, for synthetic images.

>>> fit(np.zeros((30, 40, 1), np.uint8), 10, 12).shape
(10, 12, 1)
>>> tint(np.full((2, 2, 1), 255, np.uint8), np.random.default_rng(0)).shape
(2, 2, 3)
"""

import colorsys

import numpy as np

from xai_jax.data import crops
from xai_jax.data.datasets import Dataset

Pair = tuple[float, float]


def fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest centred crop of that aspect ratio, resized: (h, w, C) uint8 -> (height, width, C); C is 1 or 3."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3) or 0 in picture.shape:
        raise ValueError(f"Expected a picture (H, W, 1 or 3) uint8, got {picture.shape} {picture.dtype}.")
    tall, wide = picture.shape[:2]
    if (tall, wide) == (height, width):
        return picture
    scale = min(tall / height, wide / width)
    resized = crops.resize_centre(crops.to_pil(picture), (width, height), (width * scale, height * scale))
    return resized.reshape(height, width, picture.shape[2])


def colour(rng: np.random.Generator, saturation: Pair = (0.4, 0.9), value: Pair = (0.7, 1.0)) -> np.ndarray:
    """A colour of any hue, with saturation and value uniform within bounds: (3,) RGB from 0 to 255.

    >>> colour(np.random.default_rng(0)).shape
    (3,)
    """
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)))


def tint(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey picture from black to a random colour: (H, W, 1) -> (H, W, 3) uint8; pictures in colour stay as they are.

    The colour is drawn for those as well, so that the state of `rng` does not depend on the picture.
    """
    drawn = colour(rng)
    return picture if picture.shape[2] == 3 else np.rint(picture / 255 * drawn).astype(np.uint8)


def some(pictures: Dataset, count: int, seed: int) -> np.ndarray:
    """Indices of `count` different pictures, (count,), at random. Raises ValueError for more than there are.

    >>> sorted(some("abcd", 4, seed=0).tolist())  # of anything that has a length
    [0, 1, 2, 3]
    """
    if not 1 <= count <= len(pictures):
        raise ValueError(f"Expected 1 to {len(pictures)} pictures, as many as there are, got {count}.")
    return np.random.default_rng(seed).choice(len(pictures), count, replace=False)
