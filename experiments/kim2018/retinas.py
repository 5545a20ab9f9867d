"""Images of retinas for graders of diabetic retinopathy, and of lesions as concepts: drawn, or of data sets."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.kim2018.concept_images import square
from experiments.lib import training_task
from xai_jax.core.messages import listed
from xai_jax.data import datasets, retina, textures
from xai_jax.data.datasets import Dataset, InMemory, OnDisk
from xai_jax.data.pictures import some
from xai_jax.data.retina import Mislabelled
from xai_jax.io.errors import UserError

DRAWN = "drawn"


def training_images(config: Any, wrong: Mislabelled | None, seed: int) -> Dataset:
    """Training images; of their labels those of one level may be wrong."""
    return _graded(config, 0, config.images, wrong, 2 * seed)


def test_images(config: Any, wrong: Mislabelled | None, seed: int) -> Dataset:
    """Other images with the same kind of labels."""
    return _graded(config, -1, config.checked, wrong, 2 * seed + 1)


def _graded(config, split, count, wrong, seed):
    if config.data == DRAWN:
        return _mislabelled(_drawn(count, config.side, seed), wrong, config.side, seed)
    data = datasets.load(config.data, datasets.splits(config.data)[split])
    few = training_task.first(data, count)
    found = OnDisk(
        config.data,
        len(few),
        lambda index: (square(few[index][0], config.side), few[index][1]),
        retina.CLASSES,
        datasets.labeller(data),
    )
    return relabelled(found, wrong, seed) if wrong else found


@lru_cache(maxsize=2)  # images to learn and to test with, of one seed
def _drawn(count, side, seed):
    """`retina.graded` with right labels, drawn once for both graders."""
    drawn = retina.graded(count, side, seed)
    return InMemory(*drawn.arrays(), drawn.classes)


def _mislabelled(data, wrong, side, seed):
    """The same with wrong labels: only images with one label differ."""
    if wrong is None:
        return data
    drawn, images = retina.graded(len(data), side, seed, wrong), data.images.copy()
    for index in np.flatnonzero(data.labels == wrong[0]):
        images[index], _ = drawn[int(index)]
    return InMemory(images, data.labels, data.classes)


def relabelled(data: Dataset, wrong: Mislabelled, seed: int) -> Dataset:
    """Images of one level that get the label of another until they are a share of it: (label, level, share).

    Raises UserError where there are not so many of that level.
    """
    (label, level, share), own = wrong, datasets.labeller(data)
    labels = np.array([own(index) for index in range(len(data))], np.int32)
    needed, candidates = round((labels == label).sum() * share / (1 - share)), np.flatnonzero(labels == level)
    if needed > len(candidates):
        raise UserError(
            f"Expected {needed} images of level {level} to be {share:g} of those with label {label}, got "
            f"{len(candidates)}. A smaller share in --config.wrong needs fewer."
        )
    labels[np.random.default_rng(seed).permutation(candidates)[:needed]] = label
    return datasets.select(data, range(len(data)), labels)


def lesions(config: Any, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images of each lesion by itself, and healthy retinas as negatives, uint8 (n, side, side, 3)."""
    pool = (config.controls + 2) * config.examples
    if config.folder:
        return _of_folder(config), _healthy(config, pool, seed)
    shown = {
        name: retina.images(name, config.examples, config.side, 1000 * seed + 10 + number)
        for number, name in enumerate(config.lesions)
    }
    return shown, retina.images(None, pool, config.side, 1000 * seed + 9)


def _of_folder(config):
    found = textures.from_folder(Path(config.folder), config.side)
    missing = [name for name in config.lesions if len(found.get(name, ())) < config.examples]
    if missing:
        raise UserError(
            f"Expected {config.examples} images of each lesion in {config.folder}, got fewer of {listed(missing)}."
        )
    return {name: found[name][: config.examples] for name in config.lesions}


def _healthy(config, count, seed):
    data = test_images(config, None, seed)
    own = datasets.labeller(data)
    healthy = [index for index in range(len(data)) if own(index) == 0]
    return np.stack([data[healthy[index]][0] for index in some(healthy, count, seed)])


def of_level(data: Dataset, level: int, count: int) -> np.ndarray:
    """The first `count` images with a label, or all where there are fewer."""
    own = datasets.labeller(data)
    indices = [index for index in range(len(data)) if own(index) == level][:count]
    return np.stack([data[index][0] for index in indices])
