"""Pictures as data URIs, kept light enough to mail the page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

LIMIT = 400_000
WIDTHS = (2000, 1400, 1000)
BROWSER_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


class Picture(NamedTuple):
    """A picture as the page shows it; `reduced` if the file on disk (`size` bytes) holds more than that."""

    uri: str
    width: int
    height: int
    size: int
    reduced: bool


def load_picture(file: Path) -> Picture:
    """Reads a picture; over 400 kB it is scaled and re-encoded as WebP.

    Raises `ValueError` if the file is missing or Pillow cannot decode all of it.
    """
    try:
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if len(content) <= LIMIT and image.format in BROWSER_FORMATS:
                return Picture(data_uri(BROWSER_FORMATS[image.format], content), *image.size, len(content), False)
            return reduce_picture(image, len(content))
    except FileNotFoundError:
        raise ValueError(f"expected a picture at {file}, but there is no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a readable picture at {file}, got {error}; is it truncated?") from error


def reduce_picture(image: Image.Image, size: int) -> Picture:
    """The largest of a few widths that stays under the limit as WebP; the smallest width if none does."""
    colour = image.convert("RGBA" if image.has_transparency_data else "RGB")
    for width in WIDTHS:
        smaller = colour.copy()
        # The height has its own bound: WebP ends at 16383 pixels.
        smaller.thumbnail((width, 8 * width), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.save(buffer, "WEBP", quality=85)
        if buffer.tell() <= LIMIT:
            break
    return Picture(data_uri("image/webp", buffer.getvalue()), *smaller.size, size, True)


def data_uri(mime: str, content: bytes) -> str:
    """`content` as a `data:` URI."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
