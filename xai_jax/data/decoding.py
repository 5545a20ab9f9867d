"""Image files -> RGB pixels, and the orientation that cameras write into them."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000  # a damaged header may claim any number, and memory is allocated before pixels are read

# What Pillow raises for damaged files, and has raised in some format or other.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
    AttributeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class BitDepthError(ValueError):
    """An image has more than 8 bits for each channel."""


def upright(image: Image.Image) -> Image.Image:
    """The image rotated and mirrored as its EXIF orientation says. Raises BitDepthError for more than 8 bits a channel.

    >>> upright(Image.new("RGB", (4, 7))).size
    (4, 7)
    """
    if image.mode.startswith(("I", "F")):
        raise BitDepthError(f"PIL mode {image.mode!r}")
    return ImageOps.exif_transpose(image)


def decode(path: Path) -> np.ndarray:
    """Upright RGB pixels (H, W, 3) uint8. Raises ValueError for a damaged, 16-bit or enormous image.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     Image.new("L", (4, 7)).save(path := Path(directory, "grey.png"))
    ...     decode(path).shape
    (7, 4, 3)
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            return np.asarray(upright(image).convert("RGB"))
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        reason = f"more than 8 bits for each channel, {error}" if isinstance(error, BitDepthError) else error
        raise ValueError(f"Expected a readable image of 8 bits for each channel in {path}, got: {reason}") from error
