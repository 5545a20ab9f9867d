"""Squares in the cache: those of Pillow, resumed after kills, made once, refused where the disk is too small."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import photo_files
from xai_jax.data import batches, crops, datasets, squares
from xai_jax.io.fingerprints import fingerprint

ROOT = Path(__file__).resolve().parents[2]
SIDE = 16


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(squares, "BATCH", 4)
    photo_files.write(tmp_path / "photos", 11)
    return datasets.load(f"folder:{tmp_path / 'photos'}", "all")


def _expected(photos):
    return np.stack([crops.centre_crop(image, SIDE, SIDE) for image, _ in photos])


def test_squares_are_those_of_the_images_and_made_once(photos, monkeypatch):
    found = squares.centre_squares(photos, SIDE)
    np.testing.assert_array_equal(found.images, _expected(photos))
    np.testing.assert_array_equal(found.labels, [label for _, label in photos])
    assert found.classes == photos.classes and found.labels.dtype == np.int32 and len(found) == len(photos)
    assert isinstance(found.images, np.memmap) and not found.images.flags.writeable
    monkeypatch.setattr(squares, "stream", None)
    again = squares.centre_squares(photos, SIDE)
    np.testing.assert_array_equal(again.images, found.images)
    images, labels = next(batches.batches(again, 4, 0, 0))
    order = np.random.default_rng([0, 0]).permutation(len(photos))[:4]
    np.testing.assert_array_equal(images, found.images[order])
    np.testing.assert_array_equal(labels, found.labels[order])


@pytest.mark.parametrize("crop", [crops.one_of_ten, lambda image, rng, side, short: crops.ten_crop(image, side, short)])
def test_crops_of_squares_are_bit_for_bit_those_of_files(photos, crop):
    transform = partial(crop, side=13, short=SIDE)
    pairs = zip(*(batches.batches(data, 5, 1, 0, transform=transform)
                  for data in (photos, squares.centre_squares(photos, SIDE))), strict=True)  # fmt: skip
    for (images, labels), (others, other_labels) in pairs:
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


def test_squares_are_identified_without_their_pixels(photos, tmp_path):
    found = squares.centre_squares(photos, SIDE)
    assert fingerprint(found) == fingerprint(squares.centre_squares(photos, SIDE))
    assert fingerprint(found) != fingerprint(squares.centre_squares(photos, 8)) and found.digest != fingerprint(photos)
    Image.new("RGB", (30, 30)).save(tmp_path / "photos" / "a" / "00.jpg")
    changed = squares.centre_squares(datasets.load(f"folder:{tmp_path / 'photos'}", "all"), SIDE)
    assert changed.digest != found.digest and not changed.images[0].any()


def test_a_failed_copy_is_resumed(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(squares, "SAVED", 1)
    file = photos.encoded(9)[0].content
    content, times = file.read_bytes(), os.stat(file)
    file.write_bytes(bytes(len(content)))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match=f"Expected a readable image .*{file.name}"):
        squares.centre_squares(photos, SIDE)
    (directory,) = (tmp_path / "cache" / "xai_jax").iterdir()
    assert json.loads((directory / "progress.json").read_text()) == {"images": 8}
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    read, stream = [], squares.stream
    watched = lambda data, groups, transform: stream(data, (read.append(g) or g for g in groups), transform)  # noqa: E731
    monkeypatch.setattr(squares, "stream", watched)
    np.testing.assert_array_equal(squares.centre_squares(photos, SIDE).images, _expected(photos))
    assert np.concatenate(read).tolist() == [8, 9, 10]


KILLED = """
import os, signal, sys
from xai_jax.data import datasets, squares
squares.BATCH, squares.SAVED, write = 4, 1, squares.write_atomically
def killing(path, content):
    write(path, content)
    os.kill(os.getpid(), signal.SIGKILL)
squares.write_atomically = killing
squares.centre_squares(datasets.load(f"folder:{sys.argv[1]}", "all"), 16)
"""


def test_a_copy_that_is_killed_again_and_again_ends_with_the_same_squares(photos, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "photos"], env=environment)
        assert done.returncode == -signal.SIGKILL
    (directory,) = (tmp_path / "cache" / "xai_jax").iterdir()
    assert json.loads((directory / "progress.json").read_text()) == {"images": 8}
    np.testing.assert_array_equal(squares.centre_squares(photos, SIDE).images, _expected(photos))


def test_a_disk_without_room_is_refused_before_anything_is_read(photos, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 5000))
    with pytest.raises(OSError, match=r"Expected 0.0 GB for resized images in .*XDG_CACHE_HOME"):
        squares.centre_squares(photos, SIDE)
    monkeypatch.undo()


def test_a_quota_is_refused_likewise(photos, monkeypatch):
    def refuse(*_):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="Expected 0.0 GB for resized images"):
        squares.centre_squares(photos, SIDE)


def test_a_file_system_that_reserves_no_room_serves(photos, monkeypatch):
    def unsupported(*_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    np.testing.assert_array_equal(squares.centre_squares(photos, SIDE).images, _expected(photos))


def test_two_at_once_make_one_copy(photos):
    found = []
    threads = [threading.Thread(target=lambda: found.append(squares.centre_squares(photos, SIDE))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        np.testing.assert_array_equal(each.images, _expected(photos))


def test_more_squares_than_memory_are_no_array(photos, monkeypatch):
    found = squares.centre_squares(photos, SIDE)
    np.testing.assert_array_equal(found.arrays()[0], found.images)
    monkeypatch.setattr(squares, "MEMORY", 100)
    with pytest.raises(ValueError, match=r"got 11 like \(16, 16, 3\)"):
        found.arrays()
