"""Folders of images by class: files, orientation, damage."""

import itertools
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from xai_jax.data import class_names, datasets, examples, folder


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
    with pytest.raises(FileNotFoundError, match=r"test, which is not a folder\. .* has the folders train, val"):
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


def folders(root, *names, content=b"none"):
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "1.png").write_bytes(content)
    return root


def numbers(data):
    return {data.classes[label]: int(label) for label in data.labels}


@pytest.mark.parametrize("training", ["train", "training", "Train"])
@pytest.mark.parametrize("held_out", ["test", "val"])
def test_held_out_folders_are_numbered_as_the_training_folder(training, held_out, tmp_path):
    classes = ("10", "2", "Bee", "ant", "bee", "\u00e9tang")
    folders(tmp_path, *(f"{training}/{name}" for name in classes))
    known = numbers(datasets.load(f"folder:{tmp_path}", training))
    assert known == {name: number for number, name in enumerate(classes)}
    for names in itertools.combinations(classes, 2):
        root = tmp_path / held_out / "-".join(names)
        folders(root, *(f"{held_out}/{name}" for name in names))
        os.symlink(tmp_path / training, root / training)
        for data in (datasets.load(f"folder:{root}", held_out), datasets.load(f"folder:{root}/{held_out}", "all")):
            assert data.classes == classes and numbers(data) == {name: known[name] for name in names}


def test_classes_of_held_out_folders_alone_come_last_and_other_folders_are_no_matter(tmp_path):
    folders(tmp_path, "train/bee", "train/cat", "test/ant", "test/cat", "run/checkpoints", "paintings/x", "paintings/a")
    (tmp_path / "train.csv").touch()
    assert datasets.load(f"folder:{tmp_path}", "train").classes == ("bee", "cat")
    assert numbers(datasets.load(f"folder:{tmp_path}", "test")) == {"ant": 2, "cat": 1}
    assert numbers(datasets.load(f"folder:{tmp_path}", "paintings")) == {"a": 0, "x": 1}


def test_names_of_classes_are_composed(tmp_path):
    composed = "\u00e9tang"
    folders(tmp_path, f"train/{composed}", "train/a", f"test/{unicodedata.normalize('NFD', composed)}")
    assert numbers(datasets.load(f"folder:{tmp_path}", "test")) == {composed: 1}
    folders(tmp_path, f"test/{composed}")
    with pytest.raises(ValueError, match="one folder for each class, got two called"):
        datasets.load(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize("suffix", folder.SUFFIXES)
def test_every_suffix_is_read(suffix, tmp_path):
    kind = {".jfif": "jpeg", ".jpe": "jpeg", ".jpg": "jpeg", ".tif": "tiff"}.get(suffix, suffix[1:])
    kind = "ppm" if kind in ("pbm", "pgm", "pnm") else kind
    (tmp_path / "a").mkdir()
    Image.new("1" if suffix == ".pbm" else "L", (4, 3), 1).save(tmp_path / f"a/1{suffix.upper()}", kind)
    assert datasets.load(f"folder:{tmp_path}", "all")[0][0].shape == (3, 4, 3)


def test_what_is_passed_over_is_counted(tmp_path, caplog):
    folders(tmp_path, "a", "b", "b/more/still")
    datasets.load(f"folder:{folders(tmp_path / 'clean', 'a')}", "all")
    assert not caplog.records
    hidden, readable = ("a/.hidden.png", "labels.csv"), ("b/more/5.png", "6.jpg")
    for name in (*hidden, *readable, "a/2.avif", "a/3.AVIF", "b/4.heic", "b/noname"):
        (tmp_path / name).touch()
    os.symlink("nowhere", tmp_path / "a/7.gif")
    (tmp_path / "clean").rename(tmp_path / ".clean")
    assert len(datasets.load(f"folder:{tmp_path}", "all")) == 2
    (message,) = [record.getMessage() for record in caplog.records]
    for words in ("8 files", "2 .avif", "1 .heic", "2 in folders within class folders", "1 beside the class folders"):
        assert words in message
    assert len(message) < 600
    (tmp_path / "b/1.png").unlink()
    with pytest.raises(ValueError, match=r"Expected images .*, got .*2 in folders within class folders, 1 .heic"):
        datasets.load(f"folder:{tmp_path}", "all")


def test_splits_of_a_folder_have_their_usual_names(tmp_path):
    for name in ("train/n02124075", "val/n02123045", "val/n02124075"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (5, 6)).save(tmp_path / name / "1.png")
    name = f"folder:{tmp_path}"
    assert datasets.splits(name) == ("train", "val")
    held_out = datasets.load(name, "validation")
    assert held_out.classes == ("Egyptian cat", "tabby")  # numbered as in training
    assert [held_out[i][1] for i in range(2)] == [1, 0]
    found = examples.load(name, 1)
    assert class_names.imagenet()[found.labels[0]] == "tabby" and found.names == ("val 0",)
    with pytest.raises(ValueError, match="such as train and val, in .*, got n02124075"):
        datasets.splits(f"folder:{tmp_path / 'train'}")
    with pytest.raises(FileNotFoundError, match="which is not a folder"):
        datasets.splits(f"folder:{tmp_path / 'nowhere'}")
