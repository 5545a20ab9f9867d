"""Errors against NumPy and scikit-learn: every image counts once, crops are averaged, ties go to the first class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.metrics import top_k_accuracy_score

from xai_jax import models
from xai_jax.data.datasets import InMemory, load
from xai_jax.training import evaluation

RNG = np.random.default_rng(0)
CLASSES = tuple("abcdefg")


def as_logits(x, relu=jax.nn.relu, tap=lambda name, value: value):
    """Images (N, 1, 7, 1) whose pixels are the logits."""
    return x[:, 0, :, 0]


def dataset(count, values=256):
    images = RNG.integers(0, values, (count, 1, 7, 1), np.uint8)
    return InMemory(images, RNG.integers(0, 7, count).astype(np.int32), CLASSES)


@pytest.mark.parametrize("count", [1, 50, 256, 300])
def test_equals_scikit_learn_also_where_the_last_batch_is_not_full(count):
    data = dataset(count)
    scores = data.images[:, 0, :, 0] + np.linspace(0.5, 0, 7)  # ties go to the first class
    for batch_size in (256, 16):
        found = evaluation.errors(as_logits, data, batch_size=batch_size)
        for k, error in zip((1, 5), found, strict=True):
            right = top_k_accuracy_score(data.labels, scores, k=k, labels=range(7))
            np.testing.assert_allclose(error, 100 * (1 - right), atol=1e-4)


def test_equal_logits_count_for_the_first_class():
    data = InMemory(np.zeros((7, 1, 7, 1), np.uint8), np.arange(7, dtype=np.int32), CLASSES)
    assert evaluation.errors(as_logits, data) == pytest.approx((100 * 6 / 7, 100 * 2 / 7))


def test_crops_average_probabilities():
    data = dataset(40, values=5)

    def crops(image):
        return np.stack([image, image[:, ::-1], np.roll(image, 1, axis=1)])

    wrong = 0
    for image, label in data:
        logits = crops(image)[:, 0, :, 0].astype(np.float64) / 255
        mean = special.softmax(logits, 1).mean(0)
        wrong += (mean > mean[label] + 1e-9).any() or (np.abs(mean[:label] - mean[label]) < 1e-9).any()
    found = evaluation.errors(as_logits, data, transform=crops)
    assert abs(found.top1 - 100 * wrong / 40) <= 5  # ties in float32 may fall either way


def test_the_digits_network_has_the_error_that_its_logits_say():
    model, data = models.load("digits"), load("digits", "test")
    logits = jax.jit(lambda net, x: net(x))(model.net, jnp.asarray(data.images / np.float32(255)))
    expected = 100 * np.mean(np.asarray(logits).argmax(1) != data.labels)
    assert evaluation.errors(model.net, data).top1 == pytest.approx(expected) and expected < 10


@pytest.mark.parametrize("labels", [[0, 7], [-1, 2]])
def test_labels_out_of_range(labels):
    data = InMemory(np.zeros((2, 1, 7, 1), np.uint8), np.array(labels, np.int32), CLASSES)
    with pytest.raises(ValueError, match="Expected labels from 0 to 6, got .*count from 1"):
        evaluation.errors(as_logits, data)
    valid = np.zeros(4, np.int32)
    later = InMemory(np.zeros((6, 1, 7, 1), np.uint8), np.int32([*valid, *labels]), CLASSES)
    with pytest.raises(ValueError, match="Expected labels from 0 to 6, got"):
        evaluation.errors(as_logits, later, batch_size=4)


def test_images_and_classes_that_do_not_fit_the_network():
    net = models.load("digits").net
    colour = InMemory(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.int32), CLASSES)
    with pytest.raises(ValueError, match=r"got \(8, 8, 3\).*one-channel images into a network for colour"):
        evaluation.errors(net, colour)
    many = InMemory(np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int32), tuple(map(str, range(11))))
    with pytest.raises(ValueError, match="at least the data's 11 classes, got one with 10"):
        evaluation.errors(net, many)
