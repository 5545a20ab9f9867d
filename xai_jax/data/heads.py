"""Heads of mammals whose eye, nose and ear were marked by hand, on photographs and cut-outs.

`heads.tsv` lists the path and the centres of the three parts, row and column as shares of the image: the eye that is
seen best, the nose, and one ear.

>>> len(table()), table()[0].name, table()[0].parts["nose"]
(45, 'alpaca', (0.497, 0.098))
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from xai_jax.core.arguments import check_count
from xai_jax.data import composites, cutouts, photographs
from xai_jax.data.debian import rows

PARTS = ("eye", "nose", "ear")
SPREAD = (0.4, 0.6)  # longer side of the box around the parts, as a share of the crop's side
MARGIN = 0.1  # between parts and border, as a share of the crop's side


class Head(NamedTuple):
    """A row of the table: `path` of a photograph or a cut-out, and `parts`, {name: (row, column)} as shares of it."""

    path: str
    parts: dict[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """For titles: the file's name without its suffix."""
        return Path(self.path).stem


@functools.cache
def table() -> tuple[Head, ...]:
    """All heads: those of photographs first, then those of cut-outs.

    >>> table()[-1].path
    'animals/marsupials/koala.png'
    """
    return tuple(Head(path, dict(zip(PARTS, map(_position, cells), strict=True))) for path, *cells in rows("heads.tsv"))


def _position(cell):
    row, column = cell.split()
    return float(row), float(column)


def crop(head: Head, side: int, rng: Generator | None = None) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    """A square around a head: in a common pose, or at random size and position, mirrored or not.

    In the common pose the parts fill half of the square, in its middle, and the nose is left of the ear. Cut-outs lie
    on a crop of a photograph of a monument or a power plant.

    Example: `image, centres = heads.crop(heads.table()[0], 224)`.

    Args:
      head: of `table()`.
      side: of the square in pixels.
      rng: of random choices; None for the common pose.

    Returns:
      The image (side, side, 3) uint8, and the centres of the parts in it, {name: (row, column)} in pixels.

    Raises:
      FileNotFoundError: the photographs or cut-outs are not on this machine.
      ValueError: no pixel, or no integer, as side; another version of a file.
    """
    check_count(side, "pixels as side")
    image, corner, size = _image(head, rng or np.random.default_rng(list(head.path.encode())))
    centres = np.array([head.parts[part] for part in PARTS]) * size + corner
    low, high = centres.min(0), centres.max(0)
    length = min((high - low).max() / (rng.uniform(*SPREAD) if rng else np.mean(SPREAD)), *image.size)
    ends = zip(low, high, image.size[::-1], strict=True)
    start = np.array([_start(first, last, length, limit, rng) for first, last, limit in ends])
    box = (start[1], start[0], start[1] + length, start[0] + length)
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box))
    centres = (centres - start) * side / length
    left, right = (centres[PARTS.index(part), 1] for part in ("nose", "ear"))
    if rng.random() < 0.5 if rng else left > right:
        pixels, centres = pixels[:, ::-1], centres * [1, -1] + [0, side]
    return pixels, dict(zip(PARTS, map(tuple, centres.tolist()), strict=True))


def _image(head, rng):
    """Image, the corner of what is marked in it, and its size, each as row and column."""
    if head.path in _photographs():
        image = Image.fromarray(photographs.read(_photographs()[head.path]))
        return image, np.zeros(2), np.array(image.size[::-1])
    item = cutouts.read(_cutouts()[head.path])
    around = 2 * max(item.size)
    image = Image.fromarray(np.rint(composites.photograph(around, rng)).astype(np.uint8))
    left, top = ((around - length) // 2 for length in item.size)
    image.paste(item, (left, top), item)
    return image, np.array([top, left]), np.array(item.size[::-1])


def _start(low, high, length, limit, rng):
    """The beginning of a stretch of that `length` inside (0, limit) around low to high, if it can with a margin."""
    middle = (low + high - length) / 2
    first, last = max(0.0, high + MARGIN * length - length), min(limit - length, low - MARGIN * length)
    return rng.uniform(first, last) if rng and first < last else np.clip(middle, 0, limit - length)


@functools.cache
def _photographs():
    return {row.path: row for row in photographs.table()}


@functools.cache
def _cutouts():
    return {row.path: row for row in cutouts.table()}
