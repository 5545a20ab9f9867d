"""The small networks for Fashion-MNIST: trained on first use, kept with every epoch, and good enough."""

import dataclasses

import jax
import numpy as np
import pytest

from xai_jax import models, network
from xai_jax.data import datasets, fashion_mnist
from xai_jax.models import registry
from xai_jax.models.pretrained import fashion
from xai_jax.training import evaluation, supervised

LAYERS = {
    "fashion_maxpool": "conv1_1 relu1_1 pool1 conv2_1 relu2_1 pool2 conv3_1 relu3_1 pool3 fc6 relu6 fc7 relu7 fc8",
    "fashion_evaluation": "conv1_1 relu1_1 pool1 conv2_1 relu2_1 pool2 fc6 relu6 fc7 relu7 fc8",
    "fashion_allcnn": " ".join(f"conv{k} relu{k}" for k in range(1, 10)) + " logits",
}


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
    registry._made.cache_clear()
    yield tmp_path
    registry._made.cache_clear()


@pytest.mark.parametrize(
    "name", ["fashion_maxpool", *(pytest.param(n, marks=pytest.mark.slow) for n in fashion.NAMES[1:])]
)
def test_trained_on_first_use_and_kept_with_every_epoch(cache, name):
    model = models.load(name)
    assert model.classes == fashion_mnist.CLASSES
    x = model.preprocess([np.zeros((40, 30, 3), np.uint8), np.full((28, 28), 255, np.uint8)])
    assert x.shape == (2, 28, 28, 1) and x[0].max() == 0 and x[1].min() == 1
    assert list(network.layer_names(model.net, x)) == LAYERS[name].split()
    kept = fashion.directory(name) / "weights.safetensors"
    assert kept.is_relative_to(cache)
    written = kept.stat().st_mtime_ns
    registry._made.cache_clear()
    again = models.load(name)
    assert kept.stat().st_mtime_ns == written
    jax.tree.map(np.testing.assert_array_equal, model.variables, again.variables)
    epochs = fashion.epochs(name)
    assert list(epochs) == [1, 2]
    first, last = (models.load(name, path).variables for path in epochs.values())
    jax.tree.map(np.testing.assert_array_equal, last, model.variables)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name, most", [("fashion_maxpool", 9), ("fashion_allcnn", 13), ("fashion_evaluation", 13)])
def test_is_right_often_enough_on_the_test_set(name, most):
    model = models.load(name)
    assert evaluation.errors(model.net, datasets.load("fashion_mnist", "test")).top1 <= most
    lines = [line for line in supervised.metrics(fashion.directory(name)) if "top1" in line]
    assert len(lines) == len(fashion.epochs(name)) and lines[-1]["top1"] < lines[0]["top1"]
