"""A few images with their true classes: photographs, composites, digits, or ImageNet's validation set.

>>> load("photographs", 2).names
('chelsea', 'coffee')
"""

from typing import NamedTuple

import numpy as np

from xai_jax.core.messages import listed, quoted
from xai_jax.data import class_names, composites, cutouts, datasets, digits, photographs

COMPOSITES_SEED = 98  # not one of those that networks are trained on
Box = tuple[float, float, float, float]


class Examples(NamedTuple):
    """`images`: uint8 (H, W, 3), or (H, W) in grey; `labels` (N,) int32 true classes; `names` for titles.

    `boxes`: (top, left, bottom, right) of each object as shares of the centre square, or None where not known.
    """

    images: list[np.ndarray]
    labels: np.ndarray
    names: tuple[str, ...]
    boxes: tuple[Box | None, ...]


def load(source: str, count: int, first: int = 0) -> Examples:
    """Images of "photographs", "composites_64", "digits" (held-out ones), "imagenet" or "folder:PATH", from `first` on.

    Digits are one of each class in turn, composites one of each object that small networks are trained on, shuffled.
    The five photographs of scikit-image come first, then those with a box around the object, then the others. Of
    ImageNet, prepared by TFDS or in a folder, they are those of the validation set. Raises ValueError for an unknown
    source or more images than there are, FileNotFoundError where ImageNet is missing, or for more than five photographs
    where Debian's package is.
    """
    sources = {"photographs": _photographs, "composites_64": _composites, "digits": _digits, "imagenet": _imagenet}
    is_folder = source.startswith("folder:")
    if source not in sources and not is_folder:
        raise ValueError(f"Expected a source out of {listed(sources)} or folder:PATH, got {quoted(source)}.")
    if count < 1 or first < 0:
        raise ValueError(f"Expected at least one image, and the first from 0 on, got {count} from {first}.")
    part = slice(first, first + count)
    found = list(_held_out(source, part) if is_folder else sources[source](part))
    if len(found) < count:
        raise ValueError(f"Expected at most {len(found)} images from {first} on, as {source} has, got {count}.")
    images, labels, names, boxes = zip(*found, strict=True)
    return Examples(list(images), np.array(labels, np.int32), names, boxes)


def _photographs(part):
    rows = [row for row in photographs.table() if row.imagenet]
    rows.sort(key=lambda row: (not row.path.startswith("skimage/"), row.box is None))
    for row in rows[part]:
        yield photographs.read(row), class_names.imagenet().index(row.imagenet), row.name, row.box


def _composites(part):
    rows = cutouts.of_class(split="train")
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    data = composites.composites(rows, len(rows), 64, COMPOSITES_SEED)
    for i in range(len(rows))[part]:
        yield *data[i], rows[i].name, None


def _digits(part):
    _, images, _, labels = digits.arrays()
    turn = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    for i in np.lexsort((labels, turn))[part]:
        yield (images[i, :, :, 0] * 255).astype(np.uint8), labels[i], f"digit {labels[i]}", None


def _imagenet(part):
    return _held_out("imagenet2012", part)


def _held_out(source, part):
    split = datasets.splits(source)[1]
    data = datasets.numbered(datasets.load(source, split), class_names.imagenet())
    for i in range(len(data))[part]:
        yield *data[i], f"{split} {i}", None
