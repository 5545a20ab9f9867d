"""Images to transfer to: random folds of classes, and scenes of several objects (Zeiler & Fergus 2014, section 5.2)."""

from typing import Any, NamedTuple

import numpy as np

from experiments.lib.runner import UserError
from xai_jax.core.messages import quoted
from xai_jax.data import datasets
from xai_jax.data.batches import in_order
from xai_jax.data.datasets import Dataset
from xai_jax.data.prepared import open_prepared

MOST = 3  # objects in a scene of tiles
PREPARED = ("caltech101",)  # read through TFDS, beside the names of xai_jax.data.datasets


def load(name: str, split: str) -> Dataset:
    """Images of `name`: one of `PREPARED`, with a split of TFDS such as "train+test", or as `datasets.load` has it."""
    if name not in PREPARED:
        return datasets.load(name, split)
    source = open_prepared(name, split)

    def read(index):
        example = source[index]
        return example["image"], example["label"]

    return datasets.OnDisk(name, len(source), read, tuple(source.features["label"].names))


def labels(data: Dataset) -> np.ndarray:
    """Labels (N,) of all images, which are read once for them."""
    return np.concatenate([found for _, found in in_order(data, 256, lambda image: np.zeros(0, np.uint8))])


class Fold(NamedTuple):
    """Numbers of images: `known` (classes, images) to learn, any first of them, and `new` (M,) to test."""

    known: np.ndarray
    new: np.ndarray

    def first(self, count: int) -> np.ndarray:
        """Numbers of the first `count` images of each class to learn."""
        return self.known[:, :count].ravel()


def folds(labels: np.ndarray, classes: tuple[str, ...], known: int, new: int, count: int, seed: int) -> list[Fold]:
    """Folds drawn at random: of each class `known` images to learn and, of the others, up to `new` to test.

    Raises UserError where a class has no image left to test.
    """
    numbers = [np.flatnonzero(labels == label) for label in range(len(classes))]
    for name, found in zip(classes, numbers, strict=True):
        if len(found) <= known:
            raise UserError(
                f"Expected at least {known + 1} images of each class, {known} to learn and one to test, got "
                f"{len(found)} of {quoted(name)}. Read more images (--config.images) or learn fewer (--config.counts)."
            )
    return [_fold(numbers, known, new, np.random.default_rng([seed, number])) for number in range(count)]


def _fold(numbers, known, new, rng):
    orders = [rng.permutation(found) for found in numbers]
    test = [order[known : known + new] for order in orders]
    return Fold(np.stack([order[:known] for order in orders]), np.concatenate(test))


class Scenes(NamedTuple):
    """Images of several objects: `truth` (N, classes) says which classes are there.

    `drawn` (N,), also the labels of `data`: one object of each scene, drawn at random as the label to learn.
    """

    data: Dataset
    truth: np.ndarray
    drawn: np.ndarray


def tiles(data: Dataset, count: int, seed: int) -> Scenes:
    """Scenes of 2x2 tiles: one to three images of different classes on an empty ground, all zeros.

    No image is in two scenes. Raises UserError where there are too few images for that, ValueError where they differ in
    size.
    """
    (images, labels), rng = data.arrays(), np.random.default_rng(seed)
    left = [list(rng.permutation(np.flatnonzero(labels == label))) for label in range(len(data.classes))]
    truth, drawn = np.zeros((count, len(left)), bool), np.zeros(count, np.int32)
    height, width, channels = images.shape[1:]
    scenes = np.zeros((count, 2, height, 2, width, channels), np.uint8)
    for number in range(count):
        objects = rng.choice(len(left), rng.integers(1, MOST + 1), replace=False)
        for label, cell in zip(objects, rng.permutation(4), strict=False):
            if not left[label]:
                raise UserError(
                    f"Expected images of {quoted(data.classes[label])} for {count} scenes, got too few of them."
                )
            scenes[number, cell // 2, :, cell % 2] = images[left[label].pop()]
        truth[number, objects] = True
        drawn[number] = rng.choice(objects)
    scenes = scenes.reshape(count, 2 * height, 2 * width, channels)
    return Scenes(datasets.InMemory(scenes, drawn, data.classes), truth, drawn)


def annotated(name: str, split: str, count: int, seed: int) -> Scenes:
    """The first scenes of a data set of TFDS whose examples have an image and several labels, such as "voc/2012"."""
    source, rng = open_prepared(name, split), np.random.default_rng(seed)
    classes = tuple(source.features["labels"].feature.names)
    objects = [np.unique(source[index]["labels"]) for index in range(min(count, len(source)))]
    truth = np.array([np.isin(np.arange(len(classes)), found) for found in objects])
    drawn = np.array([rng.choice(found) for found in objects], np.int32)
    data = datasets.OnDisk(name, len(truth), lambda index: (source[index]["image"], drawn[index]), classes)
    return Scenes(data, truth, drawn)


def halves(scenes: Scenes, seed: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of scenes to learn and to test, half each, at random.

    Raises UserError where a class is drawn for fewer than two scenes to learn, or is in no scene to test.
    """
    known, new = np.array_split(np.random.default_rng(seed).permutation(len(scenes.drawn)), 2)
    classes = scenes.data.classes
    training = np.bincount(scenes.drawn[known], minlength=len(classes))
    for name, drawn, tested in zip(classes, training, scenes.truth[new].sum(0), strict=True):
        if drawn < 2 or tested < 1:
            raise UserError(
                f"Expected two scenes or more to learn {quoted(name)} from and one to test it, got {drawn} and "
                f"{tested}. Take more scenes (--config.scene_count)."
            )
    return known, new
