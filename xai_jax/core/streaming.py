"""Batches of indexed images in a fixed order, decoded ahead by threads within bounded memory.

>>> source = Unlabelled(np.zeros((5, 2, 2, 3), np.uint8))
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

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
    return stream(source, groups, transform and (lambda image, index: transform(image)))


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
    source: Labelled, groups: Iterable[np.ndarray], transform: Callable[[np.ndarray, int], np.ndarray] | None
) -> Iterator[Batch]:
    """One batch for each array of indices in `groups`; threads decode within bounded memory and keep the order.

    `transform(image, index)` is applied by the threads. Sources with arrays `images` and `labels` are indexed directly.

    >>> [len(images) for images, _ in stream(source, [np.array([3, 1])], None)]
    [2]
    """
    if hasattr(source, "images") and hasattr(source, "labels") and transform is None:
        return ((source.images[group], source.labels[group]) for group in groups)
    return _decoded(groups, partial(_read, source, transform))


def _read(source, transform, index):
    image, label = source[index]
    return (image if transform is None else transform(image, index)), label


def _decoded(groups, read):
    pool, waiting = ThreadPoolExecutor(THREADS), deque()
    try:
        for group in groups:
            waiting.append([pool.submit(read, int(index)) for index in group])
            if len(waiting) > AHEAD:
                yield _stack(waiting.popleft())
        while waiting:
            yield _stack(waiting.popleft())
    finally:  # also where the caller stops early or an image is damaged
        pool.shutdown(cancel_futures=True)


def _stack(futures):
    images, labels = zip(*(future.result() for future in futures), strict=True)
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise ValueError(
            f"Expected images of one size in a batch, got {shapes[0]} and {shapes[-1]}. Crop them with `transform`, "
            "for example xai_jax.data.crops.random_crop."
        )
    return np.stack(images), np.array(labels, np.int32)
