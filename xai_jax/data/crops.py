"""Crops and resizing of photographs of any size, one image at a time, on the host.

Images are arrays (H, W, C) uint8 with 1 or 3 channels, or open files (see `decoding.Encoded`), of which no more is
decoded and resized than the crop needs. Pixels are those of Pillow's `resize(box=)`: it rounds the corners of a box to
float32, so that some pixels differ by one level from those of the image resized as a whole.

>>> image = np.zeros((30, 40, 3), np.uint8)
>>> ten_crop(image, side=8, short=10).shape, random_crop(image, np.random.default_rng(0), side=8, short=10).shape
((10, 8, 8, 3), (8, 8, 3))
>>> resize_short(image, 15).shape, centre_crop(image, 20).shape
((15, 20, 3), (20, 20, 3))
"""

import numpy as np
from PIL import Image

from xai_jax.data.decoding import ImageFile, reads_files

AnImage = np.ndarray | ImageFile


@reads_files
def ten_crop(image: AnImage, side: int = 224, short: int = 256) -> np.ndarray:
    """Corners and centre of the centre square, then their mirror images: (H, W, C) uint8 -> (10, side, side, C).

    Order: top left, top right, bottom left, bottom right, centre. `short` is the side that the centre square is resized
    to. Zeiler & Fergus 2014, section 3. Raises ValueError where the crops are larger than the square.
    """
    square = _square(image, side, short)
    return np.stack([_one_of_ten(square, number, side) for number in range(10)])


@reads_files
def one_of_ten(image: AnImage, rng: np.random.Generator, side: int = 224, short: int = 256) -> np.ndarray:
    """One of the ten crops at random, for training as in Zeiler & Fergus 2014, section 3.

    Args:
      image: (H, W, C) uint8, or an open file.
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
    return _one_of_ten(_square(image, side, short), rng.integers(10), side)


def _square(image, side, short):
    _checked(side, short)
    return centre_crop(image, short, short)


def _one_of_ten(square, number, side):
    edge = len(square) - side
    corners = (0, 0), (0, edge), (edge, 0), (edge, edge), (edge // 2, edge // 2)
    crop = _part(square, *corners[number % 5], side)
    return crop if number < 5 else _mirrored(crop)


@reads_files
def random_crop(image: AnImage, rng: np.random.Generator, side: int = 224, short: int = 256) -> np.ndarray:
    """A square at a random position, mirrored with probability 1/2.

    Args:
      image: (H, W, C) uint8, or an open file.
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
    return _mirrored(crop) if rng.integers(2) else crop


@reads_files
def centre_crop(image: AnImage, side: int, short: int | None = None) -> np.ndarray:
    """The centre of an image, of which `resize_short` makes the shorter side `short` first, where that is given.

    (H, W, C) -> (side, side, C). Raises ValueError where the (resized) image is smaller.
    """
    short = min(_sides(image)) if short is None else short
    sides = _resized_sides(image, short)
    _checked(side, min(sides))
    top, left = ((length - side) // 2 for length in sides)
    return _resized_part(image, short, top, left, side)


@reads_files
def resize_short(image: AnImage, short: int) -> np.ndarray:
    """Bilinear, antialiased resize that makes the shorter side `short` pixels: (H, W, C) uint8, C 1 or 3."""
    height, width = _resized_sides(image, short)
    rows, columns = _sides(image)
    return _resize(image, (width, height), (0, 0, columns, rows), short)


@reads_files
def centre_square(image: AnImage, side: int, share: float = 1.0, channels: int = 3) -> np.ndarray:
    """The centre square, resized; of JPEG, all pixels are decoded.

    >>> centre_square(image, 16, share=224 / 256, channels=1).shape
    (16, 16, 1)

    Args:
      image: (H, W, C) uint8, or an open file.
      side: of the result in pixels.
      share: side of the square as a fraction of the shorter side.
      channels: 1 for grey values, 3 for colour or repeated grey values.

    Returns:
      (side, side, channels) uint8.

    Raises:
      ValueError: for a damaged file.
    """
    rows, columns = _sides(image)
    left, top = (max(0, (whole - min(rows, columns) * share) / 2) for whole in (columns, rows))  # rounding may lead out
    return _resize(image, (side, side), (left, top, columns - left, rows - top), None, "RGB" if channels == 3 else "L")


def _sides(image):
    """Height and width."""
    if isinstance(image, ImageFile):
        return image.sides
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"Expected one image (H, W, 1 or 3) uint8, got {image.shape} {image.dtype}.")
    return image.shape[:2]


def _resized_sides(image, short):
    """Height and width of what `resize_short` makes."""
    sides = _sides(image)
    if short < 1:
        raise ValueError(f"Expected a shorter side of 1 or more pixels, got {short}.")
    scale = short / min(sides)
    return tuple(round(length * scale) for length in sides)


def _resized_part(image, short, top, left, side):
    """A square of what `resize_short` makes; of long, thin images, the rest may be a thousand times larger."""
    (rows, columns), (height, width) = _sides(image), _resized_sides(image, short)
    if (rows, columns) == (height, width) and not isinstance(image, ImageFile):
        return _part(image, top, left, side)
    x, y = columns / width, rows / height
    box = left * x, top * y, min((left + side) * x, columns), min((top + side) * y, rows)  # rounding may lead out
    return _resize(image, (side, side), box, short)


def _resize(image, size, box, short, mode=None):
    """A box of an image at `size` (width, height); with `short`, files may be decoded at a smaller scale."""
    picture, scale = image.picture(short) if isinstance(image, ImageFile) else (to_pil(image), 1)
    if mode not in (None, picture.mode):
        picture = picture.convert(mode)
    resized = picture.resize(size, Image.Resampling.BILINEAR, tuple(edge / scale for edge in box))
    return np.frombuffer(resized.tobytes(), np.uint8).reshape(*size[::-1], -1)  # faster than np.asarray


def _part(image, top, left, side):
    return image[top : top + side, left : left + side]


def _mirrored(image):
    """A copy of `image[:, ::-1]`, channel by channel, which is three times as fast as one of all."""
    found = np.empty_like(image)
    for channel in range(image.shape[2]):
        found[..., channel] = image[:, ::-1, channel]
    return found


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
