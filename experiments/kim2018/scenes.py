"""Natural images: of ImageNet classes, by their cut-out objects and photographs, and of anything."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from xai_jax import network
from xai_jax.data import composites, crops, cutouts, photographs
from xai_jax.data.cutouts import Cutout
from xai_jax.data.photographs import Photograph
from xai_jax.io.errors import UserError
from xai_jax.models import LoadedModel

BATCH = 32
TRIES = 10  # times as many images are drawn as are wanted, at most


def table() -> tuple[Cutout | Photograph, ...]:
    """All cut-outs and photographs."""
    return (*cutouts.table(), *photographs.table())


def of_class(label: str) -> list[Cutout | Photograph]:
    """The cut-outs and photographs of an ImageNet class."""
    return [row for row in table() if row.imagenet == label]


def named_rightly(model: LoadedModel, label: str, count: int, seed: int) -> np.ndarray:
    """Images (count, S, S, 3) uint8 of an ImageNet class that the network predicts to be of it; from `seed` alone.

    Objects and photographs of the class take turns. Raises UserError where there are none, or too few are predicted.
    """
    sources, k, found = of_class(label), model.classes.index(label), []
    if not sources:
        raise UserError(f"Expected cut-outs or photographs of the class {label}, got none.")
    for start in range(0, TRIES * count, BATCH):
        images = [drawn(sources[i % len(sources)], model.input.shape[0], seed, i) for i in range(start, start + BATCH)]
        right = np.asarray(network.call(model.net, model.preprocess(images))).argmax(1) == k
        found += [image for image, own in zip(images, right, strict=True) if own]
        if len(found) >= count:
            return np.stack(found[:count])
    raise UserError(f"Expected {count} images of the class {label} that are predicted to be, got {len(found)}.")


def anything(count: int, size: int, seed: int, without: Sequence[str] = (), half: slice = slice(None)) -> np.ndarray:
    """Images (count, size, size, 3) uint8 of photographs and cut-outs in turn.

    Args:
      count: number of images.
      size: height and width in pixels.
      seed: of all random choices.
      without: ImageNet classes that are left out.
      half: part of the table that they are taken from, so that two sets show different things.

    Returns:
      Images, each drawn from `seed` and its number.
    """
    rows, rng = [row for row in table()[half] if row.imagenet not in without], np.random.default_rng(seed)
    kinds = [[row for row in rows if isinstance(row, kind)] for kind in (Photograph, Cutout)]
    chosen = [kinds[i % 2][rng.integers(len(kinds[i % 2]))] for i in range(count)]
    return np.stack([drawn(row, size, seed, number) for number, row in enumerate(chosen)])


def everything(size: int, seed: int, half: slice) -> np.ndarray:
    """Each cut-out on a photograph, then each photograph, of a part of the table: uint8 (N, size, size, 3)."""
    return np.stack([drawn(row, size, seed, number) for number, row in enumerate(table()[half])])


def drawn(row: Cutout | Photograph, size: int, seed: int, number: int) -> np.ndarray:
    """A crop of a photograph, or an object on one: (size, size, 3) uint8, from `seed` and `number` alone."""
    rng = np.random.default_rng([seed, number])
    if isinstance(row, Cutout):
        return composites.composite(composites.item(row), composites.photograph(size, rng), rng)[0]
    return crop(row, size, rng)


def crop(row: Photograph, size: int, rng: Generator) -> np.ndarray:
    """A square of at least two thirds of a photograph's shorter side, at a random position, mirrored or not."""
    (image,) = photographs.reduced([row], round(1.5 * size))
    return crops.random_crop(image, rng, size, round(size * rng.uniform(1, 1.5)))
