"""The twelve networks for CIFAR-10 of Springenberg et al. 2015, Table 3, and what they read.

The paper's networks read images that are contrast normalised and whitened by ZCA fitted to the training images. A file
of weights carries its own whitening in the entries "preprocess/zca_mean" (3072,) and "preprocess/zca_matrix"
(3072, 3072); a file without them belongs to a network that reads pixel / 255.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.architectures.allcnn import BASES, AllCNN
from xai_jax.data import preprocessing
from xai_jax.data.preprocessing import ZCA
from xai_jax.models import input_scaling

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INPUT = input_scaling.Input(32, 1.0, (0.0,) * 3, (255.0,) * 3)

_PREFIXES = {"model": "base", "strided_cnn": "strided", "convpool_cnn": "convpool", "all_cnn": "allcnn"}

# Names after those in Table 3 -> constructors.
NETWORKS = {
    f"{prefix}_{base.lower()}": functools.partial(AllCNN, base, variant)
    for base in BASES
    for prefix, variant in _PREFIXES.items()
}

_PIXELS = INPUT._replace(deviation=(1.0,) * 3)
_SIZE = 32 * 32 * 3
_FLAT = 1e-3  # ranges below this are rounding; contrast-normalised images have a deviation of 1

# The whitening's entries among the variables, as `weights.fit` expects them.
WHITENING = {
    "zca_mean": jax.ShapeDtypeStruct((_SIZE,), jnp.float32),
    "zca_matrix": jax.ShapeDtypeStruct((_SIZE, _SIZE), jnp.float32),
}


def preprocess(zca: ZCA, photographs: Iterable[Any]) -> Array:
    """Whitened inputs (N, 32, 32, 3) of images as `input_scaling.preprocess` takes them, raising the same errors."""
    pixels = input_scaling.preprocess(_PIXELS, photographs)
    return preprocessing.whiten(zca, preprocessing.contrast_normalise(pixels))


def to_pixels(zca: ZCA, x: Any) -> np.ndarray:
    """Whitened inputs (..., 32, 32, 3) -> RGB pixels of the same shape, uint8, each image spread over 0 to 255.

    An approximation: the whitening is undone, but contrast normalisation has lost each image's mean and contrast.
    """
    x = np.asarray(x, np.float32)
    if x.shape[-3:] != INPUT.shape:
        raise ValueError(f"Expected images (..., 32, 32, 3), got shape {x.shape}.")
    rows = np.linalg.solve(np.asarray(zca.matrix).T, x.reshape(-1, _SIZE).T).T + np.asarray(zca.mean)
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    spread = (rows - (low + high) / 2) / np.maximum(high - low, _FLAT)
    return np.rint(255 * (spread + 0.5)).astype(np.uint8).reshape(x.shape)
