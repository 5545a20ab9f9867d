"""Image files -> RGB pixels, and the orientation that cameras write into them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular

# Pillow may hand other formats to other programs, such as PostScript to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 50_000_000  # a damaged header may claim any number, and memory is allocated before pixels are read
MAX_SIDE = 65_535  # Pillow needs memory for every row, besides its pixels

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


def decode(path: Path) -> np.ndarray:
    """Upright RGB pixels (H, W, 3) uint8 of a file in one of `FORMATS`.

    Raises ValueError for a damaged, 16-bit or enormous image, and for other formats.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     Image.new("L", (4, 7)).save(path := Path(directory, "grey.png"))
    ...     decode(path).shape
    (7, 4, 3)
    """
    try:
        with open_regular(path) as file, _open(file) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}, or {MAX_SIDE} a side")
            return np.asarray(upright(image).convert("RGB"))
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises many classes for damaged files, by format
        reason = f"more than 8 bits for each channel, {error}" if isinstance(error, BitDepthError) else error
        raise ValueError(
            f"Expected a readable image ({', '.join(FORMATS)}) of 8 bits for each channel in {excerpt(path, 220)}, "
            f"got: {excerpt(reason, 220)}"
        ) from error


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
