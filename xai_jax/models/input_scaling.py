"""The input of a network: from images to arrays and back."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from PIL import Image

from xai_jax.data import crops, decoding

ACCEPTED = "a list of PIL images or of uint8 arrays (H, W, 3), or one uint8 array (N, H, W, 3)"


@functools.partial(jax.tree_util.register_dataclass, data_fields=("mean", "std"), meta_fields=("size", "crop"))
@dataclasses.dataclass(frozen=True)
class Input:
    """A square input whose channels are standardised: (pixel - mean) / std, with pixels from 0 to 255.

    A pytree, with `mean` and `std` (one value for each channel) as leaves. `crop` is the side of the centre square that
    is kept, as a fraction of the shorter side: 1 keeps all of it, 224 / 256 does what resizing the shorter side to 256
    and cropping 224 does.

    >>> Input(8, 1.0, (0.0,), (255.0,)).shape
    (8, 8, 1)
    """

    size: int
    crop: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.size, self.size, len(self.mean)

    @property
    def limits(self) -> tuple[Array, Array]:
        """The network's input for black and for white pixels, (C,) each."""
        return self.to_network(jnp.zeros(len(self.mean))), self.to_network(jnp.full(len(self.mean), 255.0))

    @property
    def square(self) -> Callable[..., np.ndarray]:
        """Image (H, W, C) uint8 -> its centre square as `preprocess` resizes it, uint8, for `to_network`."""
        return functools.partial(crops.centre_square, side=self.size, share=self.crop, channels=len(self.mean))

    def to_network(self, pixels: Array) -> Array:
        """Pixels (..., C), 0 to 255 -> the network's input of the same shape; traceable."""
        return (pixels - jnp.asarray(self.mean, jnp.float32)) / jnp.asarray(self.std, jnp.float32)

    def from_network(self, x: Array) -> Array:
        """The inverse of `to_network`: float pixels, which may lie outside 0 to 255."""
        return x * jnp.asarray(self.std, jnp.float32) + jnp.asarray(self.mean, jnp.float32)

    def from_centred(self, mean: Sequence[float]) -> Partial:
        """The function from float pixels minus a mean colour (C,) to the network's input."""
        shift = np.asarray(mean, np.float32) - np.float32(self.mean)
        return Partial(_standardise, jnp.asarray(shift), jnp.asarray(self.std, jnp.float32))

    def preprocess(self, images: Iterable[Any]) -> Array:
        """Images -> (N, size, size, C) float32: centre square, bilinear resize, standardisation.

        `images`: a list of PIL images or of uint8 arrays (H, W, 3), (H, W, 1) or (H, W), sizes may differ; or one uint8
        array (N, H, W, 1 or 3). Colour modes are converted, transparency is dropped, the camera's orientation is
        applied. Raises TypeError for anything else, ValueError for empty, unreadable or 16-bit images.
        """
        x = (resized(images, self) - np.float32(self.mean)) / np.float32(self.std)
        return jnp.asarray(x, jnp.float32)

    def to_pixels(self, x: Any) -> np.ndarray:
        """A network's input (..., H, W, C) -> RGB pixels (..., H, W, 3) uint8; values outside are clipped."""
        x = np.asarray(x, np.float32)
        if x.shape[-1:] != (len(self.mean),):
            raise ValueError(f"Expected {len(self.mean)} channels on the last axis, got shape {x.shape}.")
        pixels = x * np.float32(self.std) + np.float32(self.mean)
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        return np.broadcast_to(pixels, (*pixels.shape[:-1], 3)).copy()


def _standardise(shift, std, x):
    return (x + shift) / std


def resized(images: Iterable[Any], spec: Input) -> np.ndarray:
    """Images as `Input.preprocess` takes them -> centre squares (N, size, size, C) float32 in pixels."""
    return np.stack([_resize(_picture(image, number), spec) for number, image in enumerate(_each(images))])


def _each(images):
    if isinstance(images, Image.Image):
        raise TypeError(f"Expected {ACCEPTED}, got a single image. Put it in a list: [image].")
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError("Expected at least one image, got an empty list.")
        return images
    if not hasattr(images, "__array__"):
        raise TypeError(f"Expected {ACCEPTED}, got {type(images).__name__}.")
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(f"Expected {ACCEPTED}, got an array of shape {images.shape}. One image goes into a list.")
    return images


def _picture(image, number):
    if isinstance(image, Image.Image):
        return _oriented(image, number)
    if not hasattr(image, "__array__"):
        hint = " Open files with PIL.Image.open." if isinstance(image, str) or hasattr(image, "__fspath__") else ""
        raise TypeError(f"Expected {ACCEPTED}, got {type(image).__name__} as image {number}.{hint}")
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(
            f"Expected uint8 pixels 0 to 255, got {image.dtype} as image {number}. Usual cause: an image that is "
            "already scaled, as `preprocess` does."
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or 0 in image.shape:
        cause = " Usual cause: channels first, as in PyTorch." if image.ndim == 3 and image.shape[0] in (1, 3) else ""
        raise ValueError(f"Expected pixels (H, W, 3) or (H, W), got shape {image.shape} as image {number}.{cause}")
    return crops.to_pil(image)


def _oriented(image, number):
    if 0 in image.size:
        raise ValueError(f"Expected at least one pixel, got size {image.size} as image {number}.")
    try:
        image = decoding.upright(image)
    except decoding.BitDepthError as error:
        raise ValueError(f"Expected 8 bits for each channel, got {error} as image {number}.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"Expected a readable image, got a damaged one as image {number}: {error}") from error
    return image.convert("RGBA") if image.has_transparency_data else image


def _resize(image, spec):
    image = image.convert("RGB" if len(spec.mean) == 3 else "L")
    side = min(image.size) * spec.crop
    return np.asarray(crops.resize_centre(image, (spec.size,) * 2, (side,) * 2), np.float32).reshape(spec.shape)
