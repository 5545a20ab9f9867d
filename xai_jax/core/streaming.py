"""Batches of indexed images in a fixed order, decoded ahead by processes or threads within bounded memory.

>>> source = Unlabelled(np.zeros((5, 2, 2, 3), np.uint8))
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from xai_jax.core import worker_processes
from xai_jax.core.arguments import is_integer
from xai_jax.core.messages import quoted

AHEAD = 2  # batches decoded or being decoded in addition to the one handed out
THREADS = min(32, os.cpu_count() or 1)

Batch = tuple[np.ndarray, np.ndarray]


class Labelled(Protocol):
    """Random access to labelled images: `source[i] -> (image (H, W, C) uint8, label)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


@dataclass(frozen=True)
class Unlabelled:
    """An array of images (N, H, W, C) as a source of images with label 0."""

    images: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return np.zeros(len(self.images), np.int32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], 0


def in_order(
    source: Labelled,
    batch_size: int,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Batches of all images, once and in order; the last batch may be smaller.

    >>> [len(images) for images, _ in in_order(source, 2)]
    [2, 2, 1]

    Args:
      source: labelled images with random access.
      batch_size: number of images in a batch.
      transform: applied to each image (H, W, C); it may return any shape, for example ten crops.
      part: (index, count) selects one of `count` shares of all images, equal up to one image.

    Returns:
      Batches: images (batch_size, H, W, C) and labels (batch_size,) int32.

    Raises:
      ValueError: the batch size or the part is out of range, or images of a batch differ in size.
    """
    at_least(1, batch_size, "images in a batch")
    indices = share(len(source), part)
    groups = (indices[begin : begin + batch_size] for begin in range(0, len(indices), batch_size))
    return stream(source, groups, transform)


def share(n: int, part: tuple[int, int]) -> np.ndarray:
    """Indices of the images of one of several shares of n images; `part` as in `in_order`.

    >>> share(5, (1, 2)).tolist()
    [3, 4]
    """
    index, count = checked_part(part)
    return np.array_split(np.arange(n), count)[index]


def checked_part(part: tuple[int, int]) -> tuple[int, int]:
    """Returns `part`; raises ValueError unless it is (index, count) with 0 <= index < count.

    >>> checked_part((1, 2))
    (1, 2)
    """
    index, count = part
    if not 0 <= index < count:
        raise ValueError(f"Expected a part (index, count) with 0 <= index < count, got {part}.")
    return part


def at_least(least: int, value: int, what: str) -> int:
    """Returns `value`; raises ValueError if it is less than `least` or no integer.

    >>> at_least(1, 4, "images in a batch")
    4
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"Expected {least} or more {what}, got {quoted(value)}.")
    return value


def stream(
    source: Labelled,
    groups: Iterable[np.ndarray],
    transform: Callable[..., np.ndarray] | None,
    seeds: tuple[int, int] | None = None,
) -> Iterator[Batch]:
    """One batch for each array of indices, read ahead within bounded memory and in order.

    Image files, of sources with `files`, are decoded by worker processes where these can have the transform; all else
    is read by threads. The batches are the same. Sources with arrays `images` and `labels` are indexed directly where
    there is no transform.

    >>> [len(images) for images, _ in stream(source, [np.array([3, 1])], None)]
    [2]

    Args:
      source: labelled images with random access.
      groups: arrays of indices.
      transform: image -> array, or with `seeds` (image, rng) -> array, where `rng` depends on the seeds and the index.
      seeds: of `rng`.

    Returns:
      Batches: images (n, ...) and labels (n,) int32.

    Raises:
      ValueError: an image is damaged, or images of a batch differ in size.
      ChildProcessError: a worker process has ended.
    """
    if hasattr(source, "images") and hasattr(source, "labels") and transform is None:
        return ((source.images[group], source.labels[group]) for group in groups)
    encoded = files(source)
    job = worker_processes.pickled((transform, seeds)) if encoded and worker_processes.count() else None
    if job is None:
        return _by_threads(groups, partial(_read, encoded or source.__getitem__, transform, seeds))
    return _by_processes(groups, encoded, job)


def files(source: Labelled) -> Callable[[int], tuple[Any, int]] | None:
    """A function from an index to the file and the label, for sources of files: `OnDisk` with `open`.

    >>> files(source) is None
    True
    """
    encoded = getattr(source, "encoded", None)
    return encoded if encoded and source.open else None


def _ahead(groups, submit):
    """The batches that `submit(group) -> (futures, finish)` begins, `finish` of the futures' results, a few ahead."""
    waiting = deque()
    try:
        for group in groups:
            waiting.append(submit(group))
            if len(waiting) > AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:  # also where the caller stops early or an image is damaged
        for futures, _ in waiting:
            for future in futures:
                future.cancel()


def _finished(futures, finish):
    return finish([future.result() for future in futures])


def _by_threads(groups, read):
    threads = ThreadPoolExecutor(THREADS)
    try:
        yield from _ahead(groups, lambda group: ([threads.submit(read, int(index)) for index in group], _stacked))
    finally:
        threads.shutdown(cancel_futures=True)


def _read(open, transform, seeds, index):
    image, label = open(index)
    return worker_processes.processed(image, transform, seeds, index), label


def _stacked(pairs):
    images, labels = zip(*pairs, strict=True)
    return worker_processes.stack(images), np.array(labels, np.int32)


def _by_processes(groups, open, job):
    workers = worker_processes.pool(worker_processes.count(), os.getpid())

    def submit(group):
        batch = _Batch(group)
        shares = [part for part in np.array_split(np.arange(len(group)), len(workers)) if len(part)]
        pairs = zip(workers, shares, strict=False)
        return [worker.thread.submit(batch.fill, rows, open, worker, job) for worker, rows in pairs], batch.arrays

    return _ahead(groups, submit)


class _Batch:
    """The arrays of a batch, whose rows the threads of several workers fill."""

    def __init__(self, group):
        self.group, self.labels, self.images = group, np.empty(len(group), np.int32), None
        self.sizes, self.others, self.lock = set(), {}, threading.Lock()

    def fill(self, rows, open, worker, job):
        files, self.labels[rows] = zip(*(open(int(index)) for index in self.group[rows]), strict=True)
        images = list(zip(files, self.group[rows].tolist(), strict=True))
        worker.run(job, images, lambda number, *of_image: self._row(rows[number], *of_image))

    def _row(self, row, shape, dtype):
        with self.lock:
            self.sizes.add(shape)
            if self.images is None:
                self.images = np.empty((len(self.group), *shape), dtype)
            if self.images.dtype == dtype and len(self.sizes) == 1:
                return self.images[row]
            return self.others.setdefault(row, np.empty(shape, dtype))

    def arrays(self, _):
        """The batch, whose images are of one type, as those of `np.stack` are."""
        worker_processes.check_sizes(self.sizes)
        if self.others:
            self.images = self.images.astype(np.result_type(self.images, *self.others.values()))
        for row, image in self.others.items():
            self.images[row] = image
        return self.images, self.labels
