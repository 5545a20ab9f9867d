"""Arguments of `training.fit` that do not fit, or are of a wrong kind, are refused before anything is trained."""

import dataclasses

import flax.linen as nn
import pytest

from tests.helpers.small_network import Small, small_data
from xai_jax.core.network import keep
from xai_jax.data import datasets
from xai_jax.io.errors import TrainingError
from xai_jax.training import supervised
from xai_jax.training.supervised import Recipe

RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.1)
DATA = small_data(256)


def fit(checkpoint_dir, module=None, data=DATA, recipe=RECIPE, seed=0, **options):
    return supervised.fit(module or Small(), data, recipe, checkpoint_dir, seed=seed, **options)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x).mean((1, 2)))


def test_arguments_that_do_not_fit(tmp_path):
    brief, shifted = Recipe(1, 64), datasets.InMemory(DATA.images, DATA.labels + 1, DATA.classes)
    for change, words in [
        ({"recipe": dataclasses.replace(RECIPE, batch_size=300)}, "batches of 1 to 256 images"),
        ({"recipe": dataclasses.replace(RECIPE, epochs=0)}, "at least one step"),
        ({"recipe": dataclasses.replace(RECIPE, cosine=True, drops=(1,))}, "a cosine or drops but not both"),
        ({"data": small_data(256, classes=tuple("abcd"))}, "the data's 4 classes, got one with 3"),
        ({"module": Normalised()}, "parameters alone, got .*batch_stats"),
        ({"data": shifted}, "Expected labels from 0 to 2, got .*count from 1"),
        ({"data": small_data(128, channels=3), "validation": DATA, "recipe": brief}, "one-channel images"),
    ]:
        with pytest.raises(ValueError, match=words):
            fit(tmp_path / "never" / words[:5], **change)
    assert not list(tmp_path.rglob("*.safetensors"))


class Untrained(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.mean((1, 2)))


@pytest.mark.parametrize(
    "change, kind, words",
    [
        ({"data": "photos/train"}, TypeError, r"data set as data, such as datasets.load.*got 'photos/train'"),
        ({"validation": "photos/validation"}, TypeError, "data set as validation, .* got 'photos/validation'"),
        ({"data": "photos", "validation": DATA}, TypeError, "data set as data"),
        ({"transform": "crop"}, TypeError, "function as transform, got 'crop'"),
        ({"prepare": 255.0}, TypeError, "function as prepare, got 255.0"),
        ({"augment": "flip"}, TypeError, "function as augment"),
        ({"validation_transform": 3}, TypeError, "function as validation_transform"),
        ({"module": Small}, TypeError, "an instance of a Flax Linen module, got <class"),
        ({"module": lambda x: x}, TypeError, "an instance of a Flax Linen module"),
        ({"module": Untrained()}, ValueError, "takes `train`, got Untrained, .*train=False"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused_before_anything_is_written(tmp_path, change, kind, words):
    with pytest.raises(kind, match=words):
        fit(tmp_path / "runs", **change)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name", ["epochs", "learning_rate", "momentum", "decay", "renormalise", "patience", "batch_size"]
)
@pytest.mark.parametrize("value", ["0.1", -1, float("nan"), (1,)])
def test_settings_of_a_recipe_are_numbers(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^Expected .*{name}.*, got "):
        fit(tmp_path / "runs", recipe=dataclasses.replace(RECIPE, **{name: value}))
    assert not (tmp_path / "runs").exists()


def test_drops_are_a_tuple_of_numbers(tmp_path):
    for drops, words in [("10", "a tuple as drops"), (2, "a tuple as drops"), (("2",), "number as drops")]:
        with pytest.raises(ValueError, match=f"Expected .*{words}"):
            fit(tmp_path, recipe=dataclasses.replace(RECIPE, drops=drops))


def test_a_file_where_the_directory_belongs_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    for path in (tmp_path / "runs", tmp_path / "runs" / "first"):
        with pytest.raises(TrainingError, match="Expected a directory at .*runs.*, got a file there, or above it"):
            fit(path)


def test_metrics_of_a_directory_that_does_not_exist_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a checkpoint directory of `fit`, got .*/runs, which is not"):
        supervised.metrics(tmp_path / "runs")
