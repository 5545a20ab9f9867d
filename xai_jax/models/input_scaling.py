"""From photographs to a network's input and back to pixels."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from PIL import Image, ImageOps

ACCEPTED = "a list of PIL images or of uint8 arrays (H, W, 3), or one uint8 array (N, H, W, 3)"


class Input(NamedTuple):
    """What a network reads: (N, size, size, channels) with values (pixel - mean) / deviation.

    `crop` is the side of the centre square that is kept, as a part of the image's shorter side: 1 keeps all of it,
    224 / 256 does what resizing the shorter side to 256 and cropping 224 does.
    """

    size: int
    crop: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, len(self.mean)


def preprocess(spec: Input, images: Iterable[Any]) -> Array:
    """Pixels -> a network's input (N, S, S, channels) float32: centre square, bilinear resize, normalise.

    `images`: a list of PIL images or of uint8 arrays (H, W, 3) or (H, W), sizes may differ; or one uint8 array
    (N, H, W, 3). Colour modes are converted, transparency is dropped, the camera's orientation is applied.
    Raises TypeError for anything else, ValueError for empty, unreadable or 16-bit images.
    """
    pixels = [_resize(_picture(image, number), spec) for number, image in enumerate(_each(images))]
    x = (np.stack(pixels) - np.float32(spec.mean)) / np.float32(spec.deviation)
    return jnp.asarray(x, jnp.float32)


def to_pixels(spec: Input, x: Any) -> np.ndarray:
    """A network's input (..., S, S, channels) -> RGB pixels (..., S, S, 3) uint8; values outside are clipped."""
    x = np.asarray(x, np.float32)
    if x.shape[-1:] != (len(spec.mean),):
        raise ValueError(f"Expected {len(spec.mean)} channels on the last axis, got shape {x.shape}.")
    pixels = x * np.float32(spec.deviation) + np.float32(spec.mean)
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3)).copy()


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
    if images.ndim != 4 or images.shape[-1] != 3 or not len(images):
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
        raise TypeError(f"Expected uint8 pixels 0 to 255, got {image.dtype} as image {number}.")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise ValueError(f"Expected pixels (H, W, 3) or (H, W), got shape {image.shape} as image {number}.")
    return Image.fromarray(image)


def _oriented(image, number):
    if 0 in image.size:
        raise ValueError(f"Expected at least one pixel, got size {image.size} as image {number}.")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"Expected 8 bits for each channel, got PIL mode {image.mode!r} as image {number}.")
    try:
        image = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"Expected a readable image, got a damaged one as image {number}: {error}") from error
    return image.convert("RGBA") if image.has_transparency_data else image


def _resize(image, spec):
    image = image.convert("RGB" if len(spec.mean) == 3 else "L")
    side = min(image.size) * spec.crop
    left, top = (image.width - side) / 2, (image.height - side) / 2
    size = (spec.size, spec.size)
    resized = image.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(resized, np.float32).reshape(spec.shape)
