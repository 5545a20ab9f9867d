"""Validation of image files, and thumbnails as data URIs."""

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular

BROWSER_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


class Picture(NamedTuple):
    """A completely decodable image file, and its size in pixels."""

    file: Path
    width: int
    height: int


def load_picture(file: Path) -> Picture:
    """Validates an image file. Example: `load_picture(Path("maps.png"))`.

    Raises `ValueError` if the file is missing, of a format that browsers do not show, or damaged.
    """
    try:
        with open_regular(file) as opened, Image.open(opened, formats=BROWSER_FORMATS) as image:
            image.load()
            return Picture(file, *image.size)
    except FileNotFoundError:
        raise ValueError(f"expected a picture at {file}, but there is no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a readable picture at {file}, got {excerpt(error)}; is it truncated?") from error


def preview(picture: Picture, side: int) -> tuple[str, int, int]:
    """(data URI, width, height) of an image resized to fit `side` pixels, WebP. Example: `preview(picture, 1000)`."""
    image = _colours(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_uri("image/webp", webp(image, quality=80)), *image.size


def thumbnail(picture: Picture, width: int, height: int) -> str:
    """Data URI of the upper part of an image at exactly this size, WebP. Example: `thumbnail(picture, 320, 200)`."""
    image = ImageOps.fit(_colours(picture), (width, height), Image.Resampling.LANCZOS, centering=(0.5, 0))
    return data_uri("image/webp", webp(image, quality=80))


def _colours(picture):
    with Image.open(picture.file) as image:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")


def webp(image: Image.Image, **options: Any) -> bytes:
    """The content of a WebP file; options as in Pillow. Example: `webp(image, lossless=True)`."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def data_uri(mime: str, content: bytes) -> str:
    """`content` as a `data:` URI.

    >>> data_uri("text/plain", b"text")
    'data:text/plain;base64,dGV4dA=='
    """
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
