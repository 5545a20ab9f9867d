"""Image files -> RGB pixels, and the orientation that cameras write into them."""

import dataclasses
import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular

# Pillow may hand other formats to other programs, such as PostScript to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 50_000_000  # a damaged header may claim any number, and memory is allocated before pixels are read
MAX_SIDE = 65_535  # Pillow needs memory for every row, besides its pixels

GAP = 2  # pixels for each of the resized image, at the scale at which a JPEG is decoded; as Pillow's thumbnails have

ORIENTATION = 0x0112  # tag of EXIF: 1 is upright, and each of the others is undone by
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPING = {TURNS[number] for number in (5, 6, 7, 8)}  # that make the width the height
METADATA = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # where Pillow looks for it


class BitDepthError(ValueError):
    """An image has more than 8 bits for each channel."""


def upright(image: Image.Image) -> Image.Image:
    """The image rotated and mirrored as its EXIF orientation says, without its metadata.

    Where EXIF is damaged, an orientation that cannot be read counts as upright. Raises BitDepthError for more than 8
    bits a channel.

    >>> upright(Image.new("RGB", (4, 7))).size
    (4, 7)
    """
    if image.mode.startswith(("I", "F")):
        raise BitDepthError(f"PIL mode {image.mode!r}")
    if any(map(_has_more_bits, getattr(image, "tile", ()))):  # of files not read yet; the mode does not show it
        raise BitDepthError(f"PIL mode {image.mode!r} of a file with 16 bits")
    image.load()
    turn = TURNS.get(_orientation(image))
    pixels = image.copy() if turn is None else image.transpose(turn)
    for name in METADATA:
        pixels.info.pop(name, None)
    return pixels


def _orientation(image):
    """That tag alone: Pillow's `exif_transpose` also writes all others, and fails where one of them is damaged."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # of many classes, by what is damaged
        return 1


class ImageFile:
    """An open image file: its upright size at once, its pixels where they are needed.

    Of JPEG, which are most photographs, a smaller scale is decoded where that suffices.
    """

    def __init__(self, image: Image.Image, content: Path | bytes):
        is_jpeg = image.format == "JPEG"
        self._image, self._content = image if is_jpeg else upright(image), content
        self._turn = TURNS.get(_orientation(image)) if is_jpeg else None
        sides = self._image.height, self._image.width
        self.sides: tuple[int, int] = sides[::-1] if self._turn in SWAPPING else sides
        self._decoded = None

    def picture(self, short: int | None = None) -> tuple[Image.Image, int]:
        """Upright RGB pixels, and the factor by which they are fewer along each side: 1, 2, 4 or 8.

        With `short`, the shorter side keeps at least `GAP` times so many pixels. Files are decoded once: later calls
        return the same. Raises ValueError for damaged files.
        """
        if self._decoded is None:
            try:
                self._decoded = self._decode(short)
            except Exception as error:
                raise _unreadable(self._content, error) from error
        return self._decoded

    def _decode(self, short):
        scale = self._draft(short) if short else 1
        self._image.load()
        turned = self._image if self._turn is None else self._image.transpose(self._turn)
        return turned if turned.mode == "RGB" else turned.convert("RGB"), scale

    def pixels(self) -> np.ndarray:
        """All pixels, (H, W, 3) uint8; raises ValueError for damaged files."""
        return np.asarray(self.picture()[0])

    def _draft(self, short):
        """Makes libjpeg decode a fraction of the pixels, each the mean of a block, and returns its denominator."""
        width, height = self._image.size
        scale = next((s for s in (8, 4, 2) if min(width, height) >= GAP * short * s), 1)
        exact = width % scale == height % scale == 0  # else blocks at the border are incomplete, and move when turned
        if scale == 1 or not (exact or self._turn is None):
            return 1
        drafted = self._image.format == "JPEG" and self._image.draft(None, (width // scale, height // scale))
        return scale if drafted else 1


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An image file, or its content, to be decoded where its pixels are needed, such as in another process."""

    content: Path | bytes

    def read(self, transform: Callable[..., np.ndarray] | None = None, *arguments: Any) -> np.ndarray:
        """Upright RGB pixels (H, W, 3) uint8, or what `transform(image, *arguments)` makes of them.

        Raises ValueError for a damaged, 16-bit or enormous image, and for other formats.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     Image.new("L", (4, 7)).save(path := Path(directory, "grey.png"))
        ...     Encoded(path).read().shape, Encoded(path.read_bytes()).read(np.transpose).shape
        ((7, 4, 3), (3, 4, 7))
        """
        with _opened(self.content) as file:
            image = _image_file(file, self.content)
            if _reads_files(transform):
                return transform(image, *arguments)
            pixels = image.pixels()
        return pixels if transform is None else transform(pixels, *arguments)


def _opened(content):
    try:
        return open_regular(content) if isinstance(content, Path) else io.BytesIO(content)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise _unreadable(content, error) from error


def _image_file(file, content):
    try:
        image = _open(file)
        if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}, or {MAX_SIDE} a side")
        return ImageFile(image, content)
    except Exception as error:  # Pillow raises many classes for damaged files, by format
        raise _unreadable(content, error) from error


def _unreadable(content, error):
    name = content if isinstance(content, Path) else f"an example of {len(content)} bytes"
    reason = f"more than 8 bits for each channel, {error}" if isinstance(error, BitDepthError) else error
    reason = "cannot identify image file" if isinstance(error, UnidentifiedImageError) else reason
    return ValueError(
        f"Expected a readable image ({', '.join(FORMATS)}) of 8 bits for each channel in {excerpt(name, 220)}, "
        f"got: {excerpt(reason, 220)}"
    )


def reads_files(transform: Callable) -> Callable:
    """Decorator of functions (image, ...) -> array that take an `ImageFile`, too, and decode no more than they need.

    >>> size = reads_files(lambda image: np.array(image.sides))
    """
    transform.reads_files = True
    return transform


def _reads_files(transform):
    while isinstance(transform, functools.partial):
        transform = transform.func
    return getattr(transform, "reads_files", False)


def decode(path: str | os.PathLike) -> np.ndarray:
    """Upright RGB pixels (H, W, 3) uint8 of a file in one of `FORMATS`.

    Raises ValueError for a damaged, 16-bit or enormous image, and for other formats.
    """
    return Encoded(Path(path)).read()


def _open(file):
    """Opens an image; a JPEG for whose EXIF Pillow gives up, which looks for the resolution in there, without EXIF."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        content = file.read(MAX_PIXELS) if file.read(2) == b"\xff\xd8" else b""
        if b"Exif\0\0" not in content:
            raise
        return Image.open(io.BytesIO(b"\xff\xd8" + content.replace(b"Exif\0\0", bytes(6), 1)), formats=FORMATS)


def _has_more_bits(tile):
    """Whether a part of a file that Pillow has yet to read has more than 8 bits, which it would cut off."""
    codec, arguments = tile[0], tile[3]
    raw_mode, *rest = arguments if isinstance(arguments, tuple) else (arguments,)
    return ";16" in str(raw_mode) or (codec == "ppm" and bool(rest) and rest[0] > 255)
