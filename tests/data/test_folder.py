"""Folders of images by class: files, orientation, damage."""

import os

import numpy as np
import pytest
from PIL import Image

from xai_jax.data import datasets


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, shape in {"dog/2.PNG": (6, 5, 3), "dog/1.png": (6, 5, 3), "cat/0.png": (6, 5)}.items():
            path = tmp_path / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    (tmp_path / "val/dog/notes.txt").write_text("no image")
    (tmp_path / "val/.cache").mkdir()
    return tmp_path


def test_folder_of_images_by_class(pictures):
    data = datasets.load(f"folder:{pictures}", "val")
    images, labels = data.arrays()
    assert data.classes == ("cat", "dog") and list(labels) == [0, 1, 1] and images.shape == (3, 6, 5, 3)
    for image, file in zip(images, ("cat/0.png", "dog/1.png", "dog/2.PNG"), strict=True):
        with Image.open(pictures / "val" / file) as expected:
            np.testing.assert_array_equal(image, np.asarray(expected.convert("RGB")))
    assert len(datasets.load(f"folder:{pictures}/train", "all")) == 3
    dogs = datasets.only(data, ["dog"])
    assert len(dogs) == 2 and dogs[1][1] == dogs.label(1) == 0
    np.testing.assert_array_equal(dogs[0][0], images[1])


def test_folder_images_are_turned_as_the_camera_says(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (4, 7)).save(pictures / "val/cat/1.jpg", exif=exif)
    data = datasets.load(f"folder:{pictures}", "val")
    assert data[1][0].shape == (4, 7, 3)
    with pytest.raises(ValueError, match="Expected images of one size"):
        data.arrays()


def test_folder_images_that_are_cut_off(pictures):
    path = pictures / "val/cat/0.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="Expected a readable image"):
        datasets.load(f"folder:{pictures}", "val")[0]


def test_folders_without_images(pictures):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        datasets.load(f"folder:{pictures}", "test")
    with pytest.raises(ValueError, match="name 'train' as the split"):
        datasets.load(f"folder:{pictures}", "all")
    with pytest.raises(ValueError, match="one subfolder of images for each class"):
        datasets.load(f"folder:{pictures}/val", "dog")


def test_names_of_classes_that_are_not_utf8_are_refused_before_any_work(pictures):
    os.rename(pictures / "val/dog", os.fsencode(pictures / "val") + b"/caf\xe9")
    with pytest.raises(ValueError, match=r"UTF-8, got the folder .*caf\\udce9\. .*rename it") as caught:
        datasets.load(f"folder:{pictures}", "val")
    assert str(caught.value).encode().count(b"\n") == 0
