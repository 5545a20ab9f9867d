"""The small networks for Fashion-MNIST: their files, and that their training can be repeated."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from xai_jax import models, network
from xai_jax.data import datasets, fashion_mnist
from xai_jax.models.pretrained import fashion, shipped
from xai_jax.training import supervised

LAYERS = {
    "fashion_maxpool": "conv1_1 relu1_1 pool1 conv2_1 relu2_1 pool2 conv3_1 relu3_1 pool3 fc6 relu6 fc7 relu7 fc8",
    "fashion_evaluation": "conv1_1 relu1_1 pool1 conv2_1 relu2_1 pool2 fc6 relu6 fc7 relu7 fc8",
    "fashion_allcnn": " ".join(f"conv{k} relu{k}" for k in range(1, 10)) + " logits",
}


with_images = pytest.mark.skipif(fashion_mnist.PACKAGE.find() is None, reason="Fashion-MNIST is not on this machine")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, a few images, and the first two steps of the recipe as two epochs."""
    rng = np.random.default_rng(0)
    few = datasets.InMemory(
        rng.integers(0, 256, (128, 28, 28, 1), np.uint8),
        rng.integers(0, 10, 128).astype(np.int32),
        fashion_mnist.CLASSES,
    )
    original = fashion.recipe
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(datasets, "load", lambda name, split: few)
    monkeypatch.setattr(fashion, "recipe", lambda name: dataclasses.replace(original(name), epochs=2))
    return tmp_path


@pytest.mark.parametrize("name", fashion.NAMES)
def test_come_with_the_package(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = models.load(name)
    assert model.classes == fashion_mnist.CLASSES and not list(tmp_path.iterdir())
    x = model.preprocess([np.zeros((40, 30, 3), np.uint8), np.full((28, 28), 255, np.uint8)])
    assert x.shape == (2, 28, 28, 1) and x[0].max() == 0 and x[1].min() == 1
    assert list(network.layer_names(model.net, x)) == LAYERS[name].split()
    about = shipped.read(name)[1]
    recipe = dataclasses.asdict(fashion.recipe(name)) | {"seed": fashion.SEED}
    assert about["recipe"] == json.loads(json.dumps(recipe))
    assert about["data"] == fashion.digest()


@pytest.mark.parametrize(
    "name", ["fashion_maxpool", *(pytest.param(n, marks=pytest.mark.slow) for n in fashion.NAMES[1:])]
)
def test_training_keeps_every_epoch(cache, name):
    variables = fashion.train(name)
    kept = fashion.directory(name) / "weights.safetensors"
    assert kept.is_relative_to(cache)
    written = kept.stat().st_mtime_ns
    epochs = fashion.epochs(name)
    assert list(epochs) == [1, 2] and kept.stat().st_mtime_ns == written
    first, last = (models.load(name, path).variables for path in epochs.values())
    jax.tree.map(np.testing.assert_array_equal, last, variables)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True))


@with_images
@pytest.mark.parametrize("name", fashion.NAMES)
def test_error_is_that_of_the_file(name):
    """Rounded to 16 bits, the weights' error differs by some images at most."""
    variables, about = shipped.read(name)
    assert about["accuracy"]["error"] <= (9 if name == "fashion_maxpool" else 13)
    assert abs(fashion.error(name, variables) - about["accuracy"]["error"]) <= 0.1


@with_images
@pytest.mark.parametrize(
    "name", ["fashion_maxpool", *(pytest.param(n, marks=pytest.mark.slow) for n in fashion.NAMES[1:])]
)
def test_first_steps_of_the_training_are_repeated(name):
    expected = shipped.read(name)[1]["losses"]
    np.testing.assert_allclose(fashion.first_losses(name, len(expected)), expected, rtol=2e-3)


@with_images
@pytest.mark.slow
def test_the_whole_training_gives_the_error(tmp_path, monkeypatch):
    """A minute on two cores."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = "fashion_evaluation"
    assert abs(fashion.error(name, fashion.train(name)) - shipped.read(name)[1]["accuracy"]["error"]) < 0.7
    lines = [line for line in supervised.metrics(fashion.directory(name)) if "top1" in line]
    assert len(lines) == len(fashion.epochs(name)) and lines[-1]["top1"] < lines[0]["top1"]
