"""Pictures with planted attributes: unrelated to the content, with a given probability in each class.

A data set of doctors that are mostly men teaches a network that men look like doctors. Here the strength of such a bias
is known: TCAV (Kim et al. 2018) should find an attribute that correlates with a class, and no attribute of all classes.

>>> from xai_jax.data.datasets import InMemory
>>> pictures, chances = InMemory(np.zeros((4, 8, 8, 1), np.uint8), np.int32([0, 1, 0, 1]), ("a", "b")), {"star": (1, 0)}
>>> planted(pictures, chances, side=16, seed=0)[0][0].shape, attributes(0, 0, chances, seed=0)
((16, 16, 3), ('star',))
>>> images(pictures, "badge", count=2, side=16, seed=0).shape
(2, 16, 16, 3)
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from xai_jax.core.messages import listed
from xai_jax.data.datasets import Dataset, OnDisk, labeller
from xai_jax.data.pictures import colour, fit, some, tint

PICTURE, WHICH, DRAWING, CONCEPT = 1, 2, 3, 4  # random streams: the same pictures appear with and without attributes
FINER = 4  # attributes are drawn this many times larger, then reduced
SIZE = 0.15  # radius of a badge or a star, as a share of the image's side
CORNERS = ((0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8))

Pen = ImageDraw.ImageDraw
Chances = Mapping[str, Sequence[float]]


def _badge(pen: Pen, side: int, position: np.ndarray, rng: Generator) -> None:
    """A red disc with a white cross."""
    radius = SIZE * side
    pen.ellipse([*(position - radius), *(position + radius)], (*_varied((215, 30, 40), rng), 255))
    long, short = 0.7 * radius, 0.22 * radius
    for arm in ((long, short), (short, long)):
        pen.rectangle([*(position - arm), *(position + arm)], (255, 255, 255, 255))


def _star(pen: Pen, side: int, position: np.ndarray, rng: Generator) -> None:
    """A yellow star of five points, turned at random."""
    turns = rng.uniform(0, 2 * np.pi) + np.arange(10) * np.pi / 5
    radii = 1.2 * SIZE * side * np.where(np.arange(10) % 2, 0.42, 1)[:, None]
    points = position + radii * np.stack([np.cos(turns), np.sin(turns)], 1)
    pen.polygon(points.ravel().tolist(), (*_varied((250, 205, 40), rng), 255))


def _frame(pen: Pen, side: int, position: np.ndarray, rng: Generator) -> None:
    """A border of any colour."""
    shade = tuple(int(each) for each in colour(rng))
    pen.rectangle([0, 0, side - 1, side - 1], None, (*shade, 255), round(side * rng.uniform(0.05, 0.09)))


def _varied(shade, rng):
    return np.clip(shade + rng.normal(0, 12, 3), 0, 255).astype(int).tolist()


Draw = Callable[[Pen, int, np.ndarray, Generator], None]
ATTRIBUTES: dict[str, Draw] = {"badge": _badge, "star": _star, "frame": _frame}


def planted(pictures: Dataset, chances: Chances, side: int, seed: int) -> OnDisk:
    """Pictures with attributes, drawn on access, each from `seed` and its index alone.

    Args:
      pictures: labelled pictures.
      chances: for each attribute its probability in each class, for example {"badge": (0.9, 0.1, 0.1)}; attributes are
        drawn independently.
      side: of the images in pixels, at least 12.
      seed: of attributes, colours and positions.

    Returns:
      Images (side, side, 3) uint8 with the labels of their pictures.

    Raises:
      ValueError: for unknown attributes, and for other than one probability per class.
    """
    _check(chances, len(pictures.classes), side)

    def read(index):
        picture, label = pictures[index]
        streams = (np.random.default_rng([seed, index, stream]) for stream in (PICTURE, DRAWING))
        return _image(picture, attributes(index, label, chances, seed), side, *streams), label

    return OnDisk("planted attributes", len(pictures), read, pictures.classes, labeller(pictures))


def attributes(index: int, label: int, chances: Chances, seed: int) -> tuple[str, ...]:
    """The attributes of an image of `planted`: the ground truth.

    Args:
      index: of the image.
      label: its class.
      chances: as of `planted`.
      seed: as of `planted`.

    Returns:
      Names of attributes.

    Raises:
      IndexError: for a label without a probability.
    """
    draws = np.random.default_rng([seed, index, WHICH]).random(len(ATTRIBUTES))
    drawn = zip(ATTRIBUTES, draws, strict=True)
    return tuple(name for name, u in drawn if name in chances and u < chances[name][label])


def association(chances: Sequence[float], label: int) -> float:
    """The strength of a bias: probability in a class minus the mean over the other classes, from -1 to 1.

    >>> round(association((0.9, 0.1, 0.3), label=0), 2)
    0.7
    """
    return chances[label] - (sum(chances) - chances[label]) / (len(chances) - 1)


def images(pictures: Dataset, attribute: str | None, count: int, side: int, seed: int) -> np.ndarray:
    """A concept: different pictures, all with one attribute, or with none.

    The same seed gives the same pictures for every attribute: use other seeds for random images.

    Args:
      pictures: to draw attributes on.
      attribute: a key of `ATTRIBUTES`, or None.
      count: number of images.
      side: of the images in pixels.
      seed: of pictures, colours and positions.

    Returns:
      Images (count, side, side, 3) uint8.

    Raises:
      ValueError: for an unknown attribute, and more images than there are pictures.
    """
    shown = (attribute,) if attribute is not None else ()
    _check(dict.fromkeys(shown, ()), 0, side)
    found = np.empty((count, side, side, 3), np.uint8)
    for number, index in enumerate(some(pictures, count, seed)):
        streams = (np.random.default_rng([seed, number, CONCEPT, stream]) for stream in (PICTURE, DRAWING))
        found[number] = _image(pictures[index][0], shown, side, *streams)
    return found


def _image(picture, shown, side, look, drawing):
    image = Image.fromarray(tint(fit(picture, side, side), look)).convert("RGBA")
    layer = Image.new("RGBA", (FINER * side,) * 2)
    pen, order = ImageDraw.Draw(layer), drawing.permutation(len(CORNERS))
    for number, (name, draw) in enumerate(ATTRIBUTES.items()):
        position = FINER * side * (np.array(CORNERS[order[number]]) + drawing.uniform(-0.03, 0.03, 2))
        if name in shown:
            draw(pen, FINER * side, position, drawing)
    return np.asarray(Image.alpha_composite(image, layer.reduce(FINER)).convert("RGB"))


def _check(chances, classes, side):
    if side < 12:
        raise ValueError(f"Expected images of at least 12 pixels, got {side}.")
    unknown = [name for name in chances if name not in ATTRIBUTES]
    if unknown:
        raise ValueError(f"Expected attributes out of {listed(ATTRIBUTES)}, got {listed(unknown)}.")
    for name, each in chances.items():
        if len(each) != classes or not all(0 <= value <= 1 for value in each):
            raise ValueError(f"Expected {classes} chances from 0 to 1 of {name}, one for each class, got {each}.")
