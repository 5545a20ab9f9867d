"""The shipped networks for photographs: what they name, and that their training can be repeated."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import models, network
from xai_jax.data import cutouts, datasets, drawn
from xai_jax.models.pretrained import photographs, shipped

LAYERS = {
    "photo_maxpool": "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
    "fc6 relu6 fc7 relu7 fc8",
    "photo_allcnn": " ".join(f"conv{k} relu{k}" for k in range(1, 9)) + " mean fc8",
    "photo_evaluation": "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 pool4 conv5 relu5 pool5 "
    "fc6 relu6 fc8",
}
with_images = pytest.mark.skipif(cutouts.PACKAGE.find() is None, reason="the cut-outs are not on this machine")


@pytest.fixture(scope="module")
def unseen_composites():
    """Each training object once, on a background that no network was trained with."""
    data = drawn.Composites("train", 1, 64, seed=4321).on_access()
    return np.stack([image for image, _ in data])


@pytest.mark.parametrize("name", LAYERS)
def test_two_networks_share_all_but_the_last_layer(name):
    classes, objects = (models.load(name + ending) for ending in ("", "_objects"))
    assert classes.classes == cutouts.CLASSES and len(objects.classes) == 195
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)
    assert list(network.layer_names(classes.net, x)) == LAYERS[name].split()
    both, _ = shipped.read(name)
    logits = photographs.both(name).apply(both, x)
    parts = jnp.concatenate([network.call(model.net, x) for model in (classes, objects)], 1)
    np.testing.assert_allclose(parts, logits, rtol=1e-4, atol=1e-4)


@with_images
@pytest.mark.parametrize("name", LAYERS)
def test_objects_and_their_classes_are_named(name, unseen_composites):
    expected = shipped.read(name)[1]["accuracy"]["objects"]
    assert expected >= 0.9
    objects, classes = models.load(f"{name}_objects"), models.load(name)
    x = objects.preprocess(unseen_composites)
    right = np.asarray(network.call(objects.net, x).argmax(1)) == np.arange(len(x))
    assert right.mean() > expected - 3 * (expected * (1 - expected) / len(x)) ** 0.5
    truth = [cutouts.CLASSES.index(row.label) for row in cutouts.of_class(split="train")]
    assert (np.asarray(network.call(classes.net, x).argmax(1)) == truth).mean() > 0.9


@pytest.mark.parametrize("name", LAYERS)
def test_files_say_how_they_were_made(name):
    about = shipped.read(name)[1]
    kind = photographs.KINDS[name]
    assert about["recipe"].items() >= dataclasses.asdict(kind.recipe).items()
    assert (about["recipe"]["seed"], about["recipe"]["composites_seed"]) == (kind.seed, kind.composites)
    assert about["data"] == photographs.digest(name)
    low, high = about["accuracy"]["low"], about["accuracy"]["high"]
    assert 0.4 < low < about["accuracy"]["unseen_classes"] < high < 0.8 and about["accuracy"]["unseen_classes"] >= 0.5


def test_all_files_together_are_small():
    assert sum(path.stat().st_size for path in shipped.FOLDER.glob("*.safetensors")) <= 12e6


@with_images
@pytest.mark.parametrize(
    "name", ["photo_maxpool", *(pytest.param(name, marks=pytest.mark.slow) for name in list(LAYERS)[1:])]
)
def test_first_steps_of_the_training_are_repeated(name):
    expected = shipped.read(name)[1]["losses"]
    np.testing.assert_allclose(photographs.first_losses(name, len(expected)), expected, rtol=2e-3)


@with_images
@pytest.mark.slow
def test_the_whole_training_gives_the_accuracy(tmp_path):
    """More than an hour on two cores."""
    name = "photo_evaluation"
    found = photographs.accuracy(name, photographs.train(name, tmp_path))
    expected = shipped.read(name)[1]["accuracy"]
    assert abs(found["objects"] - expected["objects"]) < 0.02
    assert abs(found["unseen_classes"] - expected["unseen_classes"]) < 0.06


@with_images
def test_drawn_composites_are_those_drawn_on_access(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(drawn, "CHUNK", 40)
    wanted = drawn.Composites("test", 2, 16, 5)
    lazy, kept = wanted.on_access(), wanted.in_memory()
    assert len(kept) == 2 * len(cutouts.of_class(split="test")) and kept.classes == lazy.classes
    for index in (0, 39, 40, 99):
        np.testing.assert_array_equal(kept[index][0], lazy[index][0])
        assert kept[index][1] == lazy[index][1]
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == 3
    files[1].unlink()
    np.testing.assert_array_equal(wanted.in_memory().images, kept.images)


@with_images
def test_small_composites_have_classes():
    data = datasets.load("composites_64", "test")
    assert data.classes == cutouts.CLASSES and data[0][0].shape == (64, 64, 3)
    assert data.classes[data[3][1]] == cutouts.of_class(split="test")[3].label
