"""Validation images have the training labels; and what is refused before the first checkpoint leaves nothing behind."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.helpers.small_network import Small, small_data
from xai_jax.core.network import keep
from xai_jax.data import datasets
from xai_jax.io.errors import TrainingError
from xai_jax.training import supervised
from xai_jax.training.supervised import Recipe

RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=0.1)
DATA = small_data(128)


def fit(checkpoint_dir, **changes):
    arguments = {"module": Small(), "data": DATA, "recipe": RECIPE, "checkpoint_dir": checkpoint_dir, "seed": 0}
    return supervised.fit(**(arguments | changes))


def top1(checkpoint_dir, **changes):
    fit(checkpoint_dir, **changes)
    return [line["top1"] for line in supervised.metrics(checkpoint_dir) if "top1" in line]


def renamed(data, classes):
    """The same images with the same classes, numbered in another order."""
    numbers = np.array([classes.index(name) if name in classes else -1 for name in data.classes], np.int32)
    kept = np.flatnonzero(numbers[data.labels] >= 0)
    return datasets.InMemory(data.images[kept], numbers[data.labels[kept]], classes)


def on_disk(data):
    return datasets.OnDisk("on disk", len(data), data.__getitem__, data.classes)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2), (2,), (0, 2)])
@pytest.mark.parametrize("kind", [lambda data: data, on_disk], ids=["in memory", "on disk"])
def test_classes_of_validation_images_are_matched_by_name(order, kind, tmp_path):
    held_out = small_data(90)
    classes = tuple(held_out.classes[k] for k in order)
    given = renamed(held_out, classes)
    own = np.flatnonzero(np.isin(held_out.labels, order))
    same = datasets.InMemory(held_out.images[own], held_out.labels[own], held_out.classes)
    found = top1(tmp_path / "given", validation=kind(given))
    assert found == top1(tmp_path / "same", validation=same) and len(found) == 2


@pytest.mark.parametrize("classes, unknown", [("xyz", "x, y, z"), ("abcd", "d"), ("Abc", "A")])
def test_classes_that_training_images_do_not_have_are_refused_at_once(classes, unknown, tmp_path):
    data, other = dataclasses.replace(DATA, classes=tuple("abc")), dataclasses.replace(DATA, classes=tuple(classes))
    with pytest.raises(ValueError, match=f"Expected classes out of a, b, c, got {unknown}, too"):
        fit(tmp_path, data=data, validation=other)
    assert not list(tmp_path.iterdir())


def test_long_lists_of_classes_are_cut():
    data, many = small_data(6), tuple(f"{number} {'long' * 40}" for number in range(1000))
    with pytest.raises(ValueError) as caught:
        datasets.numbered(dataclasses.replace(data, classes=("\x1b[31m" * 40, "b", "c")), many)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


class Colour(nn.Module):
    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        return nn.Dense(3)(relu(nn.Conv(8, (3, 3))(x)).mean((1, 2)))


def test_a_held_out_folder_that_lacks_a_class_stops_nothing_early(tmp_path):
    colours = {"ant": (250, 9, 9), "bee": (9, 250, 9), "cat": (9, 9, 250)}
    for name, colour in colours.items():
        for split in ("train", "test") if name != "ant" else ("train",):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(16):
                Image.new("RGB", (6, 6), colour).save(tmp_path / split / name / f"{number}.png")
    data, test = (datasets.load(f"folder:{tmp_path}", split) for split in ("train", "test"))
    recipe = Recipe(epochs=6, batch_size=16, learning_rate=0.2)
    assert top1(tmp_path / "run", module=Colour(), data=data, recipe=recipe, validation=test)[-1] == 0


WRONG_LABEL = dataclasses.replace(DATA, labels=np.where(np.arange(128) == 99, 7, DATA.labels))
MISTAKES = [
    ({"validation": small_data(90, channels=3)}, "Expected images that this network takes"),
    ({"validation": dataclasses.replace(DATA, images=DATA.images[:0])}, "at least one validation image, got none"),
    ({"validation": DATA, "validation_transform": lambda image: image[:5]}, "Expected images that this network takes"),
    ({"augment": lambda key, x: x @ jnp.ones((9, 9))}, "dot_general"),
    ({"data": WRONG_LABEL}, "Expected labels from 0 to 2, got 0 to 7"),
    ({"recipe": dataclasses.replace(RECIPE, learning_rate=1e30)}, "high learning rate"),
]


@pytest.mark.parametrize("mistake, words", MISTAKES)
def test_a_refused_call_does_not_keep_the_corrected_one_from_running(mistake, words, tmp_path):
    with pytest.raises((ValueError, TypeError, TrainingError), match=words):
        fit(tmp_path, **mistake)
    jax.tree.map(np.testing.assert_array_equal, fit(tmp_path), fit(tmp_path / "new"))
    assert [line["step"] for line in supervised.metrics(tmp_path)] == [1, 2, 4]
