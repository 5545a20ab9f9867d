"""The twelve networks for CIFAR-10 of Springenberg et al. 2015, Table 3, and their whitened input.

The paper's networks read images that are contrast normalised and whitened by ZCA fitted to the training images. A file
of weights carries its own whitening in the entries "preprocess/zca_mean" (3072,) and "preprocess/zca_matrix"
(3072, 3072); a file without them belongs to a network that reads pixel / 255.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.architectures.allcnn import BASES, AllCNN
from xai_jax.data import preprocessing
from xai_jax.data.preprocessing import ZCA
from xai_jax.models.input_scaling import Input, resized

INPUT = Input(32, 1.0, (0.0,) * 3, (255.0,) * 3)

_PREFIXES = {"model": "base", "strided_cnn": "strided", "convpool_cnn": "convpool", "all_cnn": "allcnn"}

# Names after those in Table 3 -> constructors.
NETWORKS = {
    f"{prefix}_{base.lower()}": functools.partial(AllCNN, base, variant)
    for base in BASES
    for prefix, variant in _PREFIXES.items()
}

_SIZE = 32 * 32 * 3
_MIN_RANGE = 1e-3  # smaller ranges are rounding: contrast-normalised images have a standard deviation of 1

# The whitening's entries among the variables, as `weights.fit` expects them.
WHITENING = {
    "zca_mean": jax.ShapeDtypeStruct((_SIZE,), jnp.float32),
    "zca_matrix": jax.ShapeDtypeStruct((_SIZE, _SIZE), jnp.float32),
}


class WhitenedInput(NamedTuple):
    """Images of 32x32 pixels, contrast normalised and whitened, with the methods of `Input`; a pytree."""

    zca: ZCA

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return INPUT.shape

    @property
    def limits(self) -> tuple[Array, Array]:
        """Minus and plus infinity, (C,): whitening mixes all pixels, so that none is bounded by itself."""
        return jnp.full(3, -jnp.inf), jnp.full(3, jnp.inf)

    @property
    def square(self) -> Callable[..., np.ndarray]:
        """As of `Input`."""
        return INPUT.square

    def to_network(self, pixels: Array) -> Array:
        """Pixels (N, 32, 32, 3), 0 to 255 -> the network's input of the same shape; traceable."""
        return preprocessing.whiten(self.zca, preprocessing.contrast_normalise(pixels))

    def from_network(self, x: Any) -> np.ndarray:
        """Whitened inputs (..., 32, 32, 3) -> float pixels, each image spread over 0 to 255; on the host.

        An approximation: the whitening is undone, but contrast normalisation has lost each image's mean and contrast.
        """
        x = np.asarray(x, np.float32)
        if x.shape[-3:] != INPUT.shape:
            raise ValueError(f"Expected images (..., 32, 32, 3), got shape {x.shape}.")
        rows = np.linalg.solve(np.asarray(self.zca.matrix).T, x.reshape(-1, _SIZE).T).T + np.asarray(self.zca.mean)
        low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
        spread = (rows - (low + high) / 2) / np.maximum(high - low, _MIN_RANGE)
        return (255 * (spread + 0.5)).reshape(x.shape)

    def from_centred(self, mean: Sequence[float]) -> Partial:
        """The function from float pixels minus a mean colour (3,) to the network's input."""
        return Partial(_whiten_shifted, self, jnp.asarray(mean, jnp.float32))

    def preprocess(self, images: Iterable[Any]) -> Array:
        """Whitened inputs (N, 32, 32, 3) of images as `Input.preprocess` takes them; raises the same errors."""
        return self.to_network(resized(images, INPUT))

    def to_pixels(self, x: Any) -> np.ndarray:
        """Whitened inputs (..., 32, 32, 3) -> RGB pixels uint8, see `from_network`."""
        return np.rint(self.from_network(x)).astype(np.uint8)


def _whiten_shifted(spec, mean, x):
    return spec.to_network(x + mean)
