"""A folder of images by class: one subfolder for each class, as ImageNet is laid out."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
MOST = 50_000_000  # pixels: a damaged header may claim any number, and memory is taken before pixels are read

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


def scan(root: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Files, labels (N,) int32 and classes, all sorted by name; hidden and other files are passed over.

    Raises FileNotFoundError where `root` is no folder, ValueError where it has no class folders or one has no images.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"Expected a folder of images by class, got {root}, which is not a folder.")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise ValueError(f"Expected one subfolder of images for each class in {root}, got no subfolder.")
    by_class = [_images(path) for path in folders]
    files = [path for paths in by_class for path in paths]
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), [len(paths) for paths in by_class])
    return files, labels, tuple(path.name for path in folders)


def _images(folder):
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    paths = sorted(path for path in visible if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(
            f"Expected images ({', '.join(SUFFIXES)}) in {folder}, got none. Class folders hold their images directly; "
            f"for {folder.parent.name}/{folder.name}/CLASS/ name {folder.name!r} as the split."
        )
    return paths


def decode(path: Path) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8, turned as the camera says. ValueError for a damaged, 16-bit or enormous image."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST}")
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"more than 8 bits for each channel, PIL mode {image.mode!r}")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"Expected a readable image of 8 bits for each channel in {path}, got: {error}") from error
