"""A few images with their true classes: photographs, digits, or ImageNet's validation set through TFDS.

>>> load("photographs", 2).names
('chelsea', 'coffee')
"""

import itertools
from typing import NamedTuple

import numpy as np

from xai_jax.core.messages import listed, quoted
from xai_jax.data import digits
from xai_jax.data.photographs import of_scikit_image
from xai_jax.data.prepared import open_prepared

Box = tuple[float, float, float, float]


class Examples(NamedTuple):
    """`images`: uint8 (H, W, 3), or (H, W) in grey; `labels` (N,) int32 true classes; `names` for titles.

    `boxes`: (top, left, bottom, right) of each object as shares of the centre square, or None where not known.
    """

    images: list[np.ndarray]
    labels: np.ndarray
    names: tuple[str, ...]
    boxes: tuple[Box | None, ...]


# scikit-image's photographs with the ImageNet class of what they show. Boxes were drawn by hand, to measure whether
# occluding the object matters more than occluding the rest.
_PHOTOGRAPHS = {
    "chelsea": ("chelsea.png", 285, (0.2, 0.14, 0.95, 0.95)),
    "coffee": ("coffee.png", 967, (0.03, 0.17, 0.68, 0.83)),
    "rocket": ("rocket.jpg", 657, (0.28, 0.44, 0.98, 0.6)),
    "motorcycle": ("motorcycle_left.png", 665, (0.22, 0.0, 0.86, 1.0)),
    "camera": ("camera.png", 872, (0.25, 0.42, 0.98, 0.78)),
}


def load(source: str, count: int) -> Examples:
    """The first `count` images of "photographs", "digits" (held-out ones, one of each class in turn) or "imagenet".

    Raises ValueError for an unknown source or more images than there are, FileNotFoundError where ImageNet has not been
    prepared with TFDS.
    """
    sources = {"photographs": _photographs, "digits": _digits, "imagenet": _imagenet}
    if source not in sources:
        raise ValueError(f"Expected a source out of {listed(sources)}, got {quoted(source)}.")
    if count < 1:
        raise ValueError(f"Expected at least one image, got {count}.")
    examples = list(itertools.islice(sources[source](count), count))
    if len(examples) < count:
        raise ValueError(f"Expected at most {len(examples)} images, as many as {source} has, got {count}.")
    images, labels, names, boxes = zip(*examples, strict=True)
    return Examples(list(images), np.array(labels, np.int32), names, boxes)


def _photographs(count):
    for name, (file, label, box) in itertools.islice(_PHOTOGRAPHS.items(), count):
        yield np.asarray(of_scikit_image(file)), label, name, box


def _digits(count):
    _, images, _, labels = digits.arrays()
    turn = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    for i in np.lexsort((labels, turn))[:count]:
        yield (images[i, :, :, 0] * 255).astype(np.uint8), labels[i], f"digit {labels[i]}", None


def _imagenet(count):
    data = open_prepared("imagenet2012", "validation")
    for i in range(min(count, len(data))):
        yield data[i]["image"], data[i]["label"], f"validation {i}", None
