"""Batches: the same by seed and epoch, resumed at any number, and never more images alive than a few batches."""

import threading
import time
import weakref

import numpy as np
import pytest

from xai_jax.core.streaming import AHEAD, THREADS
from xai_jax.data import crops
from xai_jax.data.batches import batches, in_order
from xai_jax.data.datasets import InMemory, OnDisk

COUNT = 23
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 5, 3), np.uint8)
LABELS = np.arange(COUNT, dtype=np.int32)
CLASSES = tuple(map(str, range(COUNT)))


def _slow(index):
    time.sleep(0.002 * (index % 3))  # threads finish in another order than they began
    return IMAGES[index], LABELS[index]


DATASETS = {"memory": InMemory(IMAGES, LABELS, CLASSES), "disk": OnDisk("slow", COUNT, _slow, CLASSES)}


@pytest.fixture(params=DATASETS)
def dataset(request):
    return DATASETS[request.param]


def _equal(left, right):
    for (images, labels), (others, other_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own(dataset):
    epoch = list(batches(dataset, 4, seed=1, epoch=0))
    seen = np.concatenate([labels for _, labels in epoch])
    assert len(epoch) == 5 and len(set(seen)) == 20 and list(seen) != sorted(seen)
    for images, labels in epoch:
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        np.testing.assert_array_equal(images, IMAGES[labels])
    _equal(epoch, batches(dataset, 4, seed=1, epoch=0))
    for seed, number in ((1, 1), (0, 0), (0, 1)):
        other = np.concatenate([labels for _, labels in batches(dataset, 4, seed, number)])
        assert list(other) != list(seen)


def test_the_order_is_the_same_on_every_machine(dataset):
    (_, labels), *_ = batches(OnDisk("ten", 10, _slow, CLASSES), 10, seed=3, epoch=1)
    assert list(labels) == [4, 1, 2, 8, 5, 0, 7, 9, 6, 3]


@pytest.mark.parametrize("start", range(6))
def test_batches_resume_at_any_number(dataset, start):
    whole = list(batches(dataset, 4, 7, 2))
    _equal(whole[start:], batches(dataset, 4, 7, 2, start=start))


def test_crops_do_not_depend_on_where_an_epoch_is_resumed(dataset):
    def crop(image, rng):
        return crops.random_crop(image, rng, 4, 5)

    whole = list(batches(dataset, 4, 0, 0, transform=crop))
    assert whole[0][0].shape == (4, 4, 4, 3)
    _equal(whole[3:], batches(dataset, 4, 0, 0, start=3, transform=crop))
    by_label = {int(label): image for images, labels in whole for image, label in zip(images, labels, strict=True)}
    next_epoch = batches(dataset, 4, 0, 1, transform=crop)
    pairs = [(by_label.get(int(k)), x) for images, labels in next_epoch for x, k in zip(images, labels, strict=True)]
    assert any(old is not None and np.any(old != new) for old, new in pairs)


def test_in_order(dataset):
    given = list(in_order(dataset, 5))
    assert [len(images) for images, _ in given] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in given]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in given]), LABELS)
    cropped, _ = next(in_order(dataset, 5, lambda image: crops.ten_crop(image, 4, 5)))
    assert cropped.shape == (5, 10, 4, 4, 3)


class _Counter:
    """Reads images and keeps count of those that nothing has let go of yet."""

    def __init__(self):
        self.lock, self.alive, self.most, self.reads = threading.Lock(), 0, 0, 0

    def read(self, index):
        image = np.zeros((4, 4, 3), np.uint8)
        weakref.finalize(image, self._add, -1)
        with self.lock:
            self.reads += 1
        self._add(1)
        return image, 0

    def _add(self, change):
        with self.lock:
            self.alive += change
            self.most = max(self.most, self.alive)


@pytest.mark.parametrize("pause", [0, 0.005])
def test_few_images_are_alive_at_once(pause):
    counter = _Counter()
    for _ in batches(OnDisk("many", 4000, counter.read, ("a",)), 10, 0, 0):
        time.sleep(pause if counter.reads < 300 else 0)
    assert counter.reads == 4000
    assert 10 <= counter.most <= (AHEAD + 1) * 10 + THREADS


def test_stopping_early_stops_the_reading():
    counter = _Counter()

    def read(index):
        time.sleep(0.001 * THREADS)
        return counter.read(index)

    stream = batches(OnDisk("many", 4000, read, ("a",)), 100, 0, 0)
    next(stream)
    stream.close()
    reads = counter.reads
    time.sleep(0.02)
    assert counter.reads == reads < 200 < (AHEAD + 1) * 100 and counter.alive == 0


def test_a_damaged_image_ends_the_stream_with_its_error():
    def read(index):
        if index == 17:
            raise ValueError("Expected a readable image in 17.png")
        return _slow(index)

    with pytest.raises(ValueError, match="17.png"):
        list(in_order(OnDisk("broken", COUNT, read, CLASSES), 4))


def test_images_of_different_sizes_need_a_crop():
    dataset = OnDisk("sizes", 8, lambda index: (np.zeros((8 + index, 9, 3), np.uint8), 0), ("a",))
    with pytest.raises(ValueError, match="Expected images of one size in a batch, got .* Crop them"):
        next(batches(dataset, 4, 0, 0))
    images, _ = next(batches(dataset, 4, 0, 0, transform=lambda image, rng: crops.random_crop(image, rng, 6, 8)))
    assert images.shape == (4, 6, 6, 3)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((0, 0, 0), "Expected 1 or more images in a batch"),
        ((24, 0, 0), "Expected batches of at most 23"),
        ((4, -1, 0), "Expected 0 or more as seed"),
        ((4, 0, -1), "Expected 0 or more as epoch"),
        ((4, 0, 0, 6), "Expected to start at one of 5 batches"),
        ((4, 0, 0, -1), "Expected to start"),
    ],
)
def test_mistakes_are_refused_before_the_first_batch(dataset, arguments, words):
    with pytest.raises(ValueError, match=words):
        batches(dataset, *arguments)
