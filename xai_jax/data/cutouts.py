"""Objects cut out of photographs.

About 250 stamps of Debian's package tuxpaint-stamps-default are photographs with a transparent background; the others
are drawings. `cutouts.tsv` lists path, class, split, ImageNet class where there is one, and the beginning of the
SHA-256. The split holds out whole families: no animal of one kind and no two views of one thing are on both sides.

>>> {name: len(of_class(name)) for name in ("bird", "fruit", "mushroom")}
{'bird': 35, 'fruit': 27, 'mushroom': 4}
"""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xai_jax.core.arguments import check_count
from xai_jax.core.messages import listed, nearest, quoted
from xai_jax.data.debian import Package, rows

CLASSES = (
    *("bird", "mammal", "insect", "fish", "fruit", "vegetable", "mushroom", "flower"),
    *("instrument", "tool", "vehicle", "ball", "household"),
)
SPLITS = ("train", "test")
PACKAGE = Package("tuxpaint-stamps-default", "tuxpaint/stamps", "CUTOUTS_DIR", "2022.06.04")


class Cutout(NamedTuple):
    """A row of the table: `path` in the package, `label` (a class), `split`, `imagenet` (a name or ""), `digest`."""

    path: str
    label: str
    split: str
    imagenet: str
    digest: str

    @property
    def name(self) -> str:
        """For titles: the file's name without its suffix."""
        return Path(self.path).stem

    @property
    def number(self) -> int:
        """Of its class, an index of `CLASSES`."""
        return CLASSES.index(self.label)


@functools.cache
def table() -> tuple[Cutout, ...]:
    """All objects, those of one class together.

    >>> table()[1].name, table()[1].label
    ('basketball', 'ball')
    """
    return tuple(Cutout(*cells) for cells in rows("cutouts.tsv"))


def of_class(*labels: str, split: str = "all") -> tuple[Cutout, ...]:
    """The objects of some classes (all for none), of both splits or of one. Raises ValueError for unknown names.

    >>> [cutout.name for cutout in of_class("mushroom", split="test")]
    ['mushroom']
    """
    for given, known in ((labels, CLASSES), ((split,), (*SPLITS, "all"))):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(
                f"Expected names out of {listed(known)}, got {quoted(unknown[0])}.{nearest(unknown[0], known)}"
            )
    return tuple(row for row in table() if (not labels or row.label in labels) and split in (row.split, "all"))


def read(cutout: Cutout) -> Image.Image:
    """An object in RGBA, cropped to what is not transparent.

    Example: `cutouts.read(cutouts.of_class("bird")[0]).show()`.

    Raises FileNotFoundError where the package is not on this machine, ValueError for another version of the file.
    """
    path = PACKAGE.root() / cutout.path
    content = path.read_bytes() if path.is_file() else b""
    PACKAGE.check(content, cutout.digest, path)
    image = Image.open(io.BytesIO(content), formats=("PNG",)).convert("RGBA")
    return image.crop(image.getchannel("A").getbbox())


def on_grey(cutout: Cutout, side: int, share: float = 0.9, level: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """An object in the middle of an even background.

    Example: `image, opacity = cutouts.on_grey(cutouts.of_class("bird")[0], side=224)`.

    Args:
      cutout: the object.
      side: of the image in pixels.
      share: longer side of the object as a share of the image's.
      level: of the background, of 255.

    Returns:
      The image (side, side, 3) uint8, and the object's opacity (side, side), 0 to 1.

    Raises:
      FileNotFoundError, ValueError: as in `read`.
      ValueError: no pixel, or no integer, as side.
    """
    check_count(side, "pixels as side")
    background = Image.new("RGB", (side, side), (level,) * 3)
    item = placed(scaled(read(cutout), share * side), side, (0.5, 0.5))
    background.paste(item, mask=item)
    return np.asarray(background), np.asarray(item.getchannel("A"), np.float32) / 255


def scaled(item: Image.Image, longer: float) -> Image.Image:
    """An image whose longer side has that many pixels.

    >>> scaled(Image.new("RGBA", (30, 60)), 20).size
    (10, 20)
    """
    scale = longer / max(item.size)
    return item.resize([max(1, round(scale * length)) for length in item.size], Image.Resampling.BICUBIC)


def placed(item: Image.Image, side: int, position: Sequence[float]) -> Image.Image:
    """An image on a transparent square; `position` is the share of the free space to the left and above.

    >>> placed(Image.new("RGBA", (4, 4), "white"), 8, (1, 0)).getchannel("A").getbbox()
    (4, 0, 8, 4)
    """
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(item, tuple(int(p * (side - length)) for p, length in zip(position, item.size, strict=True)))
    return canvas
