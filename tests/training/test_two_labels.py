"""Training on classes and objects: standardised kernels, losses as in the formula, shares, and resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax.architectures.allcnn import Layer
from xai_jax.architectures.photo_networks import PhotoNet
from xai_jax.data.datasets import InMemory
from xai_jax.training import loop, steps, two_labels
from xai_jax.training.two_labels import Recipe

RNG = np.random.default_rng(0)
OBJECTS, CLASSES = 6, np.int32([0, 0, 1, 1, 2, 2])
COLOURS = RNG.integers(0, 256, (OBJECTS, 1, 1, 3))
LABELS = (np.arange(96) % OBJECTS).astype(np.int32)
IMAGES = np.clip(COLOURS[LABELS] + RNG.integers(-40, 41, (96, 18, 18, 3)), 0, 255).astype(np.uint8)
DATA = InMemory(IMAGES, LABELS, tuple("abcdef"))
MODULE = PhotoNet((Layer(4, 3, 2), 2), (8,), OBJECTS + 3)
RECIPE = Recipe(steps=12, batch_size=64, learning_rate=0.01, warmup=2, margin=2)


def centred(pixels):
    return (pixels - 125) / 60


PREPARE = Partial(centred)


def fit(directory, recipe=RECIPE):
    return two_labels.fit(MODULE, DATA, CLASSES, recipe, directory, seed=3, prepare=PREPARE)


def first_losses(steps):
    lines = two_labels.first_lines(steps, MODULE, DATA, CLASSES, RECIPE, seed=3, prepare=PREPARE)
    return [line["loss"] for line in lines]


def test_kernels_have_the_mean_and_the_variance_of_the_formula():
    kernel = RNG.normal(1, 5, (3, 3, 2, 4)).astype(np.float32)
    gain, bias = RNG.uniform(0.5, 2, 4).astype(np.float32), np.zeros(4, np.float32)
    layers = {name: {"kernel": kernel, "bias": bias, "gain": gain} for name in ("conv1", "fc8")}
    found = two_labels.standardised(layers)
    for output in range(4):
        column = kernel[..., output].ravel()
        expected = (column - column.mean()) / column.std() * np.sqrt(2 / column.size) * gain[output]
        np.testing.assert_allclose(found["conv1"]["kernel"][..., output].ravel(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["fc8"]["kernel"], kernel * gain, rtol=1e-6)


def test_the_loss_is_that_of_both_labels_on_changed_images():
    task = two_labels._task(MODULE, DATA, CLASSES, RECIPE, "", 3, PREPARE)
    state = task.initial()
    shares = next(steps._batches(task, 0))
    images, objects = map(np.concatenate, zip(*shares, strict=True))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(3), 0), 64)
    x = np.stack([two_labels.changed(RECIPE, image, key) for image, key in zip(images, keys, strict=True)])
    logits = np.asarray(MODULE.apply(task.variables(state), jnp.asarray((x - 125) / 60)), np.float64)
    expected = 0.0
    for row, number in zip(logits, objects, strict=True):
        for part, label in ((row[:3], CLASSES[number]), (row[3:], number)):
            expected -= (part[label] - np.log(np.exp(part).sum())) / 64
    found = first_losses(1)
    np.testing.assert_allclose(found, [expected], rtol=1e-4)


def test_the_number_of_shares_does_not_matter(monkeypatch, tmp_path):
    found = [first_losses(4)]
    monkeypatch.setattr(two_labels, "share_size", lambda batch_size: 16)
    found.append(first_losses(4))
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_a_run_that_was_killed_ends_with_the_same_weights(monkeypatch, tmp_path):
    whole = fit(tmp_path / "whole")
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)

    def killed(self, step, measured):
        if step == 5:
            raise KeyboardInterrupt
        return line(self, step, measured)

    with monkeypatch.context() as patched:
        line = two_labels._Task.line
        patched.setattr(two_labels._Task, "line", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "killed")
    assert (tmp_path / "killed/checkpoints/000000004.safetensors").exists()
    jax.tree.map(np.testing.assert_array_equal, fit(tmp_path / "killed"), whole)


def test_colours_are_learned(tmp_path):
    variables = fit(tmp_path, Recipe(steps=60, batch_size=32, learning_rate=0.02, warmup=5, margin=2, light=0.02))
    logits = np.asarray(MODULE.apply(variables, jnp.asarray((IMAGES[:, 1:-1, 1:-1] - 125.0) / 60, jnp.float32)))
    assert (logits[:, 3:].argmax(1) == LABELS).mean() > 0.9
    assert (logits[:, :3].argmax(1) == CLASSES[LABELS]).mean() > 0.9


def test_crops_are_mirrored_and_lit_at_random():
    image = jnp.asarray(RNG.integers(0, 256, (10, 10, 3)), jnp.uint8)
    plain = Recipe(margin=2, light=0.0)
    crops = [np.asarray(two_labels.changed(plain, image, key)) for key in jax.random.split(jax.random.key(0), 60)]
    allowed = {np.float32(image[top : top + 8, left : left + 8]).tobytes() for top in range(3) for left in range(3)}
    mirrored = {np.frombuffer(part, np.float32).reshape(8, 8, 3)[:, ::-1].tobytes() for part in allowed}
    seen = {np.rint(crop).astype(np.float32).tobytes() for crop in crops}
    assert seen <= allowed | mirrored and seen & allowed and seen & mirrored and len(seen) > 9
