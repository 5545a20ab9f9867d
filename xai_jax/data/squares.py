"""The centre squares of all images of a data set, resized once and kept in the cache as one memory-mapped file.

Further epochs then read pixels where they had decoded files. `crops.one_of_ten` and `crops.ten_crop` of the squares are
bit for bit those of the images (Zeiler & Fergus 2014, section 3: shorter side 256, centre 256 x 256, ten crops).
"""

import contextlib
import dataclasses
import errno
import functools
import io
import json
import os
import shutil
from collections.abc import Iterator

import numpy as np
from absl import logging
from tqdm import tqdm

from xai_jax.core.streaming import stream
from xai_jax.data.crops import centre_crop
from xai_jax.data.dataset_types import MEMORY, Dataset, check_dataset
from xai_jax.io import locks
from xai_jax.io.errors import excerpt
from xai_jax.io.files import cache_dir, write_atomically
from xai_jax.io.fingerprints import fingerprint

BATCH = 128
SAVED = 1 << 30  # bytes after which progress is recorded


@dataclasses.dataclass(frozen=True)
class Squares:
    """A `Dataset` of `images` (N, side, side, C) uint8, a read-only memory map, and `labels` (N,) int32."""

    images: np.ndarray = dataclasses.field(repr=False, compare=False)
    labels: np.ndarray = dataclasses.field(repr=False, compare=False)
    classes: tuple[str, ...]
    digest: str

    def __fingerprint__(self) -> str:
        return self.digest

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        if self.images.nbytes > MEMORY:
            raise ValueError(
                f"Expected at most {MEMORY >> 30} GiB of images, got {len(self)} like {self.images.shape[1:]}. Read "
                "them with xai_jax.data.batches."
            )
        return np.array(self.images), self.labels


def centre_squares(data: Dataset, side: int = 256) -> Squares:
    """The squares of all images, resized by the first call and read from the cache by all others.

    A call that is killed is resumed by the next one; processes that need the same squares wait for the first of them.
    The directory is named by a digest of the data, in which files count by name, size and time of change.

    >>> from xai_jax.data.datasets import load
    >>> squares = centre_squares(load("digits", "test"), side=4)  # doctest: +SKIP
    >>> squares.images.shape  # doctest: +SKIP
    (360, 4, 4, 1)

    Args:
      data: labelled images of any size.
      side: of the squares in pixels.

    Returns:
      The squares with the labels and classes of the data.

    Raises:
      ValueError: for a damaged image, or images of different numbers of channels.
      OSError: where the disk of the cache has no room for all of them, or cannot be written.
    """
    check_dataset(data, "data")
    digest = fingerprint({"data": data, "side": side})
    directory = cache_dir(f"squares-{digest[:16]}")
    with _locked(directory):
        first = centre_crop(data[0][0], side, side)
        shape = len(data), *first.shape
        if not (directory / "labels.npy").exists():
            _write(data, shape, directory)
    images = np.memmap(directory / "images.u8", np.uint8, "r", shape=shape)
    return Squares(images, np.load(directory / "labels.npy"), tuple(data.classes), digest)


@contextlib.contextmanager
def _locked(directory) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        if not locks.acquire(file):
            logging.warning("Another process writes %s; waiting until it is done.", directory)
            locks.acquire(file, wait=True)
        yield


def _write(data, shape, directory):
    """Writes batch by batch, and notes how many images are safely on the disk; labels.npy completes the copy."""
    (count, *square), progress = shape, directory / "progress.json"
    _reserve(directory / "images.u8", int(np.prod(shape)))
    _reserve(directory / "labels.i4", 4 * count)
    images = np.memmap(directory / "images.u8", np.uint8, "r+", shape=shape)
    labels = np.memmap(directory / "labels.i4", np.int32, "r+", shape=(count,))
    done = saved = json.loads(progress.read_text())["images"] if progress.exists() else 0
    groups = (np.arange(start, min(start + BATCH, count)) for start in range(done, count, BATCH))
    transform = functools.partial(centre_crop, side=square[0], short=square[0])
    with tqdm(total=count, initial=done, desc="resizing", unit="image", delay=1, leave=False) as bar:
        for found, numbers in stream(data, groups, transform):
            rows = slice(done, done + len(found))
            images[rows], labels[rows] = found, numbers
            done = rows.stop
            bar.update(len(found))
            if (done - saved) * images[0].nbytes >= SAVED or done == count:
                images.flush()
                labels.flush()
                write_atomically(progress, json.dumps({"images": done}).encode())
                saved = done
    safe = io.BytesIO()
    np.save(safe, labels)
    write_atomically(directory / "labels.npy", safe.getvalue())


def _reserve(path, size):
    """Makes a file as large as it becomes, so that a full disk shows at once and not after hours."""
    path.touch()
    with open(path, "r+b") as file:
        free, present = shutil.disk_usage(path.parent).free, os.fstat(file.fileno()).st_size
        if size - present > free:
            raise _no_room(size, free, path.parent)
        try:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_room(size, free, path.parent) from error
            file.truncate(max(size, present))  # the file system reserves no room


def _no_room(size, free, directory):
    return OSError(
        f"Expected {size / 1e9:.1f} GB for resized images in {excerpt(directory, 150)}, got {free / 1e9:.1f} GB that "
        "are free. Let XDG_CACHE_HOME name a folder on a larger disk, or train without the copy."
    )
