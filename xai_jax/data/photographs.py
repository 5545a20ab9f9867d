"""About 240 photographs of animals, monuments, fish, tools, energy plants and household things.

They come from Debian's package gcompris-qt-data, a collection of children's games, and from scikit-image.
`photographs.tsv` lists path, kind, ImageNet class and box of the object where there are some, and the beginning of the
SHA-256. Boxes were drawn by hand, to measure whether occluding the object matters more than occluding the rest.

>>> [len(of_kind(kind)) for kind in KINDS]
[58, 82, 26, 28, 28, 15, 2, 1]
"""

import functools
import importlib.resources
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xai_jax.core.messages import listed, nearest, quoted
from xai_jax.data import qt_resources
from xai_jax.data.debian import Package, rows
from xai_jax.data.decoding import upright

KINDS = ("animal", "monument", "fish", "tool", "energy", "household", "vehicle", "person")
PACKAGE = Package("gcompris-qt-data", "gcompris-qt/rcc", "PHOTOGRAPHS_DIR", "3.1")
_INSIDE = "gcompris/src/activities"
_SKIMAGE = "skimage/"


class Photograph(NamedTuple):
    """A row of the table: `path` in the package, `kind`, `imagenet` (a class name or ""), `box`, `digest`.

    The box of the object, where there is one, is (top, left, bottom, right) as shares of the centre square.
    """

    path: str
    kind: str
    imagenet: str
    box: tuple[float, float, float, float] | None
    digest: str

    @property
    def name(self) -> str:
        """For titles: the file's name without its suffix."""
        return Path(self.path).stem.removesuffix("_background").removesuffix("_left")


@functools.cache
def table() -> tuple[Photograph, ...]:
    """All photographs, those of one kind together.

    >>> table()[0].name, table()[0].imagenet
    ('alpaca', 'llama')
    """
    return tuple(_row(*cells) for cells in rows("photographs.tsv"))


def _row(path, kind, imagenet, box, digest):
    return Photograph(path, kind, imagenet, tuple(map(float, box.split())) or None, digest)


def of_kind(*kinds: str) -> tuple[Photograph, ...]:
    """The photographs of some kinds, in the order of the table. Raises ValueError for an unknown kind.

    >>> of_kind("animal")[27].name
    'red_panda'
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"Expected kinds out of {listed(KINDS)}, got {quoted(unknown[0])}.")
    return tuple(row for row in table() if row.kind in kinds)


def named(*names: str) -> tuple[Photograph, ...]:
    """Photographs by name, in that order. Raises ValueError for a name that does not exist.

    >>> named("kitten", "coffee")[1].imagenet
    'espresso'
    """
    rows = {row.name: row for row in reversed(table())}
    if unknown := [name for name in names if name not in rows]:
        near = nearest(unknown[0], rows)
        raise ValueError(f"Expected names such as {', '.join(list(rows)[-3:])}, got {quoted(unknown[0])}.{near}")
    return tuple(rows[name] for name in names)


def read(row: Photograph) -> np.ndarray:
    """A photograph, (H, W, 3) uint8, decoded on each call.

    Raises FileNotFoundError where the package is not on this machine, ValueError for another version of the file.

    >>> read(named("chelsea")[0]).shape
    (300, 451, 3)
    """
    if row.path.startswith(_SKIMAGE):
        return np.asarray(of_scikit_image(row.path.removeprefix(_SKIMAGE)))
    activity, inside = row.path.split("/", 1)
    path = PACKAGE.root() / f"{activity}.rcc"
    content = _resources(path, path.stat().st_mtime_ns if path.exists() else 0).get(f"{_INSIDE}/{row.path}.webp", b"")
    PACKAGE.check(content, row.digest, f"{inside} in {path}")
    return np.asarray(upright(Image.open(io.BytesIO(content), formats=("WEBP",))).convert("RGB"))


def of_scikit_image(file: str) -> Image.Image:
    """One of the photographs that scikit-image holds, in RGB; FileNotFoundError where it was installed without them.

    >>> of_scikit_image("coffee.png").size
    (600, 400)
    """
    path = importlib.resources.files("skimage").joinpath("data", file)
    try:
        with path.open("rb") as stream:
            return Image.open(stream).convert("RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected scikit-image's photograph {file} at {path}. Usual cause: a scikit-image without its data; "
            "install it again with pip."
        ) from error


def reduced(rows: Sequence[Photograph], short: int) -> list[np.ndarray]:
    """Photographs whose shorter side is at most `short` pixels, for crops; kept in memory for the next call.

    >>> reduced(named("chelsea"), 100)[0].shape
    (100, 150, 3)
    """
    return [_reduced(row, short) for row in rows]


@functools.lru_cache(maxsize=512)
def _reduced(row, short):
    image = Image.fromarray(read(row))
    scale = short / min(image.size)
    if scale < 1:
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BOX, reducing_gap=None)
    return np.asarray(image)


@functools.lru_cache(maxsize=8)
def _resources(path, changed):
    """Of the photographs alone; `changed` is the file's time of change."""
    if not changed:  # no such file
        return {}
    wanted = {f"{_INSIDE}/{row.path}.webp" for row in table()}
    return {name: content for name, content in qt_resources.read(path).items() if name in wanted}
