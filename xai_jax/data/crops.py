"""Crops and resizing of photographs of any size, one image at a time, on the host.

Memory is that of the image and of the part of it that is kept, also for images a thousand times as long as wide.

>>> image = np.zeros((30, 40, 3), np.uint8)
>>> ten_crop(image, side=8, short=10).shape, random_crop(image, np.random.default_rng(0), side=8, short=10).shape
((10, 8, 8, 3), (8, 8, 3))
>>> resize_short(image, 15).shape, centre_crop(image, 20).shape
((15, 20, 3), (20, 20, 3))
"""

import numpy as np
from PIL import Image

LONG = 16  # shorter sides: longer images are not resized whole


def ten_crop(image: np.ndarray, side: int = 224, short: int = 256) -> np.ndarray:
    """Corners and centre of the centre square, then their mirror images: (H, W, C) uint8 -> (10, side, side, C).

    Order: top left, top right, bottom left, bottom right, centre. `short` is the side that the centre square is resized
    to. Zeiler & Fergus 2014, section 3. Raises ValueError where the crops are larger than the square.
    """
    edge = short - _checked(side, short)
    square = centre_crop(image, short, short)
    corners = ((0, 0), (0, edge), (edge, 0), (edge, edge), (edge // 2, edge // 2))
    crops = np.stack([square[top : top + side, left : left + side] for top, left in corners])
    return np.concatenate([crops, crops[:, :, ::-1]])


def one_of_ten(image: np.ndarray, rng: np.random.Generator, side: int = 224, short: int = 256) -> np.ndarray:
    """One of the ten crops at random, for training as in Zeiler & Fergus 2014, section 3.

    Args:
      image: (H, W, C) uint8.
      rng: source of randomness.
      side: of the crop in pixels.
      short: shorter side of the resized image.

    Returns:
      (side, side, C) uint8.

    Raises:
      ValueError: for a crop larger than the resized image.

    >>> photograph = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    >>> crop = one_of_ten(photograph, np.random.default_rng(0), side=8, short=10)
    >>> bool((crop == ten_crop(photograph, side=8, short=10)).all((1, 2, 3)).any())
    True
    """
    return ten_crop(image, side, short)[rng.integers(10)]


def random_crop(image: np.ndarray, rng: np.random.Generator, side: int = 224, short: int = 256) -> np.ndarray:
    """A square at a random position, mirrored with probability 1/2.

    Args:
      image: (H, W, C) uint8.
      rng: source of randomness.
      side: of the crop in pixels.
      short: shorter side of the resized image.

    Returns:
      (side, side, C) uint8.

    Raises:
      ValueError: for a crop larger than the resized image.
    """
    _checked(side, short)
    top, left = (rng.integers(length - side + 1) for length in _resized_sides(image, short))
    crop = _resized_part(image, short, top, left, side)
    return crop[:, ::-1] if rng.integers(2) else crop


def centre_crop(image: np.ndarray, side: int, short: int | None = None) -> np.ndarray:
    """The centre of an image, of which `resize_short` makes the shorter side `short` first, where that is given.

    (H, W, C) -> (side, side, C). Raises ValueError where the (resized) image is smaller.
    """
    sides = image.shape[:2] if short is None else _resized_sides(image, short)
    _checked(side, min(sides))
    top, left = ((length - side) // 2 for length in sides)
    return _part(image, top, left, side) if short is None else _resized_part(image, short, top, left, side)


def resize_short(image: np.ndarray, short: int) -> np.ndarray:
    """Bilinear, antialiased resize that makes the shorter side `short` pixels: (H, W, C) uint8, C 1 or 3."""
    height, width = _resized_sides(image, short)
    resized = np.asarray(to_pil(image).resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[2])


def _resized_sides(image, short):
    """Height and width of what `resize_short` makes."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"Expected one image (H, W, 1 or 3) uint8, got {image.shape} {image.dtype}.")
    if short < 1:
        raise ValueError(f"Expected a shorter side of 1 or more pixels, got {short}.")
    scale = short / min(image.shape[:2])
    return tuple(round(length * scale) for length in image.shape[:2])


def _resized_part(image, short, top, left, side):
    """A square of what `resize_short` makes; of long, thin images, the rest may be a thousand times larger.

    Pillow rounds the corners of a box to float32, and then some pixels by one level: usual images are resized whole.
    """
    height, width = _resized_sides(image, short)
    if max(height, width) <= LONG * short:
        return _part(resize_short(image, short), top, left, side)
    rows, columns, channels = image.shape
    horizontal = [edge * columns / width for edge in (left, left + side)]
    vertical = [edge * rows / height for edge in (top, top + side)]
    corners = horizontal[0], vertical[0], min(horizontal[1], columns), min(vertical[1], rows)  # rounding may lead out
    resized = to_pil(image).resize((side, side), Image.Resampling.BILINEAR, corners)
    return np.asarray(resized).reshape(side, side, channels)


def _part(image, top, left, side):
    return image[top : top + side, left : left + side]


def to_pil(image: np.ndarray) -> Image.Image:
    """An array (H, W, 3), (H, W, 1) or (H, W) uint8 as an image of mode RGB or L.

    >>> to_pil(np.zeros((30, 40, 1), np.uint8)).mode
    'L'
    """
    return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def resize_centre(image: Image.Image, size: tuple[int, int], box: tuple[float, float]) -> np.ndarray:
    """The centre `box` (width, height) of an image, resized bilinearly to `size`: (height, width, C) or without C.

    >>> resize_centre(to_pil(photograph), size=(5, 4), box=(20, 16)).shape
    (4, 5, 3)
    """
    pairs = zip(image.size, box, strict=True)
    left, top = (max(0, (whole - kept) / 2) for whole, kept in pairs)  # rounding may lead out
    corners = (left, top, image.width - left, image.height - top)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, corners))


def _checked(side, largest):
    if not 0 < side <= largest:
        raise ValueError(f"Expected a crop of 1 to {largest} pixels, got {side}.")
    return side
