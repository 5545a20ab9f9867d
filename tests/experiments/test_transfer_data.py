"""Data of the transfer experiment (Zeiler & Fergus 2014): folds, scenes, and data sets of TFDS."""

import itertools

import numpy as np
import pytest

from experiments.lib.runner import UserError
from experiments.zeiler2014 import transfer_data, transfer_tables
from xai_jax.data import datasets

RNG = np.random.default_rng(0)


def test_folds_have_the_right_counts_and_never_test_what_they_learn():
    labels = RNG.permutation(np.repeat([0, 1, 2], [9, 30, 14]))
    found = transfer_data.folds(labels, ("a", "b", "c"), known=8, new=5, count=3, seed=1)
    for fold in found:
        assert fold.known.shape == (3, 8) and not set(fold.known.ravel()) & set(fold.new)
        assert np.bincount(labels[fold.new]).tolist() == [1, 5, 5] and len(set(fold.new)) == 11
        for label, numbers in enumerate(fold.known):
            assert (labels[numbers] == label).all() and len(set(numbers)) == 8
        assert set(fold.first(3)) < set(fold.first(8)) and np.bincount(labels[fold.first(3)]).tolist() == [3] * 3
    again, other = (transfer_data.folds(labels, ("a", "b", "c"), 8, 5, 3, seed) for seed in (1, 2))
    for fold, same in zip(found, again, strict=True):
        np.testing.assert_array_equal(fold.known, same.known)
        np.testing.assert_array_equal(fold.new, same.new)
    for first, second in itertools.combinations([*found, *other], 2):
        assert (first.known != second.known).any()


def test_classes_with_too_few_images_are_named():
    labels = np.repeat([0, 1], [9, 8])
    with pytest.raises(UserError, match="at least 9 images of each class, 8 to learn and one to test, got 8 of 'shoe'"):
        transfer_data.folds(labels, ("bag", "shoe"), known=8, new=5, count=1, seed=0)


def numbered(count=60, classes=5):
    """Images 3x2 whose pixels are all their number, from 1."""
    images = np.broadcast_to(np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None], (count, 3, 2, 1))
    labels = (np.arange(count) % classes).astype(np.int32)
    return datasets.InMemory(images, labels, tuple("abcdefgh"[:classes]))


def test_scenes_of_tiles_hold_what_their_labels_say():
    data, used = numbered(), []
    found = transfer_data.tiles(data, 20, seed=0)
    assert found.data.images.shape == (20, 6, 4, 1) and found.truth.shape == (20, 5)
    for number, truth in enumerate(found.truth):
        image, drawn = found.data[number]
        cells = [image[3 * i : 3 * i + 3, 2 * j : 2 * j + 2] for i, j in np.ndindex(2, 2)]
        assert all(len(np.unique(cell)) == 1 for cell in cells)
        objects = [int(cell[0, 0, 0]) - 1 for cell in cells if cell.any()]
        assert sorted(data.labels[objects]) == np.flatnonzero(truth).tolist() and truth[drawn]
        used += objects
    assert len(set(used)) == len(used) and set(found.truth.sum(1)) == {1, 2, 3}
    np.testing.assert_array_equal(transfer_data.tiles(data, 20, seed=0).data.images, found.data.images)
    with pytest.raises(UserError, match="for 100 scenes, got too few"):
        transfer_data.tiles(data, 100, seed=0)


def test_half_of_the_scenes_is_for_training_and_the_other_for_testing():
    found = transfer_data.tiles(numbered(250), 80, seed=0)
    np.testing.assert_array_equal(transfer_data.labels(found.data), found.drawn)
    known, new = transfer_data.halves(found, [0, 1])
    assert len(known) == len(new) == 40 and sorted([*known, *new]) == list(range(80))
    other, _ = transfer_data.halves(found, [0, 2])
    assert set(other) != set(known)
    drawn = np.where(found.drawn == 3, 4, found.drawn)
    with pytest.raises(UserError, match=r"Expected two scenes or more to learn 'd' from .* got 0 and"):
        transfer_data.halves(found._replace(drawn=drawn), [0, 1])


def test_annotated_scenes_of_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=6):
        source = tfds.data_source("voc/2012", split="train+validation", download=False)
        found = transfer_data.annotated("voc/2012", "train+validation", 5, seed=0)
        for number, truth in enumerate(found.truth):
            image, drawn = found.data[number]
            assert set(np.flatnonzero(truth)) == set(source[number]["labels"]) and truth[drawn]
            np.testing.assert_array_equal(image, source[number]["image"])
    assert found.truth.shape == (5, 20) and found.data.classes[14] == "person"
    assert len(transfer_tables.PASCAL) == 20


def test_caltech_101_by_tfds_and_others_by_their_names():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=4):
        data = transfer_data.load("caltech101", "train+test")
        image, label = data[3]
    assert len(data.classes) == 102 and image.dtype == np.uint8 and image.shape[2] == 3 and 0 <= label < 102
    assert len(transfer_data.load("digits", "test")) == 360
