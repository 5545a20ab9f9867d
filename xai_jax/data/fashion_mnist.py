"""Fashion-MNIST's gzipped idx files, as Debian's package dataset-fashion-mnist and its authors give them out.

Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747. The idx format: two zero bytes, 8 for unsigned bytes, the number of
axes, each axis's length as a big-endian int32, and the values.
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from xai_jax.data.debian import Package

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PACKAGE = Package("dataset-fashion-mnist", "datasets/fashion-mnist", "FASHION_MNIST_DIR")
PREFIXES = {"train": "train", "test": "t10k"}
SIZES = {"train": 60_000, "test": 10_000}
SIDE = 28

# Of the unpacked bytes: Debian's gzip headers differ from the authors', by the file's name.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
REMEDY = "The file is damaged or another one: get it again (`apt-get install --reinstall dataset-fashion-mnist`)."


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28, 1) uint8 and labels (N,) int32 of "train" or "test".

    Raises FileNotFoundError for a missing file, ValueError for one that is truncated, damaged or not the published one.

    >>> images, labels = read(PACKAGE.find(), "test")  # doctest: +SKIP
    """
    prefix, size = PREFIXES[split], SIZES[split]
    images = _idx(folder / f"{prefix}-images-idx3-ubyte.gz", (size, SIDE, SIDE))
    labels = _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", (size,))
    return images[..., None], labels.astype(np.int32)


def _idx(path, shape):
    header = struct.pack(f">4B{len(shape)}i", 0, 0, 8, len(shape), *shape)
    size = len(header) + math.prod(shape)
    content = _unpack(path, size)
    if content[:4] != header[:4]:
        raise ValueError(f"Expected {path} to begin with {header[:4].hex()}, got {content[:4].hex()!r}. {REMEDY}")
    if content[: len(header)] != header:
        got = struct.unpack(f">{len(shape)}i", content[4 : len(header)].ljust(4 * len(shape), b"\0"))
        raise ValueError(f"Expected {path} to hold an array of shape {shape}, got {got}. {REMEDY}")
    if len(content) != size:
        more = "more" if len(content) > size else f"{len(content)}"
        raise ValueError(f"Expected {size} unpacked bytes in {path}, got {more}. {REMEDY}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[path.stem]:
        raise ValueError(f"Expected SHA-256 {SHA256[path.stem]} of {path} unpacked, got {digest}. {REMEDY}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _unpack(path, size):
    try:
        with gzip.open(path) as file:
            return file.read(size + 1)
    except FileNotFoundError as error:
        names = ", ".join(f"{name}.gz" for name in SHA256)
        raise FileNotFoundError(f"Expected {names} in {path.parent}, {path.name} is missing.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"Expected a whole gzip file in {path} ({path.stat().st_size} bytes): {error}. {REMEDY}"
        ) from error
