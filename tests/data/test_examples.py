"""Images to explain: photographs, digits, and ImageNet through TFDS with mock data."""

import numpy as np
import pytest

from xai_jax.data import class_names, cutouts, examples, photographs


def test_photographs_are_colour_with_classes_and_boxes():
    data = examples.load("photographs", 5)
    assert [image.dtype for image in data.images] == [np.uint8] * 5
    assert all(image.ndim == 3 and image.shape[2] == 3 for image in data.images)
    assert list(data.labels) == [285, 967, 657, 665, 872] and data.names[0] == "chelsea"
    for top, left, bottom, right in data.boxes:
        assert 0 <= top < bottom <= 1 and 0 <= left < right <= 1


def test_digits_come_one_of_each_class_in_turn():
    data = examples.load("digits", 12)
    assert list(data.labels) == [*range(10), 0, 1]
    assert data.images[0].shape == (8, 8) and max(image.max() for image in data.images) == 255


def test_imagenet_through_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=4):
        data = examples.load("imagenet", 3)
    assert len(data.images) == 3 and data.images[0].dtype == np.uint8 and data.images[0].shape[2] == 3
    assert data.names == ("validation 0", "validation 1", "validation 2")


@pytest.mark.parametrize(
    "source, count, words",
    [
        ("pictures", 1, "Expected a source"),
        ("digits", 10_000, "at most 360 images"),
        ("digits", 0, "at least one"),
    ],
)
def test_mistakes(source, count, words):
    with pytest.raises(ValueError, match=words):
        examples.load(source, count)


def test_the_first_images_may_be_left_out():
    whole, rest = examples.load("digits", 5), examples.load("digits", 3, first=2)
    assert rest.names == whole.names[2:] and list(rest.labels) == list(whole.labels[2:])
    for image, same in zip(rest.images, whole.images[2:], strict=True):
        np.testing.assert_array_equal(image, same)


@pytest.mark.skipif(
    None in (photographs.PACKAGE.find(), cutouts.PACKAGE.find()), reason="Debian's packages of images are not installed"
)
def test_composites_show_one_object_each_of_many_classes():
    found, later = examples.load("composites_64", 40), examples.load("composites_64", 3, first=37)
    assert {image.shape for image in found.images} == {(64, 64, 3)} and len(set(found.labels.tolist())) > 8
    objects = {row.name: row.label for row in cutouts.of_class(split="train")}
    assert [cutouts.CLASSES[label] for label in found.labels] == [objects[name] for name in found.names]
    assert later.names == found.names[37:]
    np.testing.assert_array_equal(later.images, found.images[37:])


@pytest.mark.skipif(photographs.PACKAGE.find() is None, reason="Debian's packages of images are not installed")
def test_photographs_with_boxes_come_before_the_others():
    count = sum(row.imagenet != "" for row in photographs.table())
    found = examples.load("photographs", count)
    boxed = [box is not None for box in found.boxes]
    assert boxed == sorted(boxed, reverse=True) and sum(boxed) == 32 and len(set(found.names)) > 80
    for top, left, bottom, right in filter(None, found.boxes):
        assert 0 <= top < bottom <= 1 and 0 <= left < right <= 1
    panda = found.names.index("red_panda")
    assert class_names.imagenet()[found.labels[panda]] == "lesser panda"
