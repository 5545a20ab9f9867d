"""Batches in an order that depends on seed and epoch alone, decoded ahead by threads within bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from xai_jax.data.datasets import Dataset, InMemory

AHEAD = 2  # batches decoded or being decoded beside the one handed out
THREADS = min(32, os.cpu_count() or 1)

Batch = tuple[np.ndarray, np.ndarray]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def batches(
    dataset: Dataset,
    size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    transform: Transform | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Shuffled batches number `start` and on of one epoch: images (size, H, W, C) uint8, labels (size,) int32.

    The same arguments give the same batches, whatever number is begun at. A last batch that would be smaller is left
    out. `transform(image, rng)` brings images to one size as they are decoded, for example `crops.random_crop`; its
    generator depends on seed, epoch and image. `part` (index, count) gives one of `count` equal shares of each batch.
    Raises ValueError for sizes, seeds, epochs, starts or parts out of range, and for images of different sizes.
    """
    count = len(dataset) // _at_least(1, size, "images in a batch")
    if not count:
        raise ValueError(f"Expected batches of at most {len(dataset)} images, as many as there are, got {size}.")
    if not 0 <= start <= count:
        raise ValueError(f"Expected to start at one of {count} batches, got {start}.")
    _at_least(0, seed, "as seed")
    _at_least(0, epoch, "as epoch")
    index, shares = _checked_part(part)
    if size % shares:
        raise ValueError(f"Expected batches that {shares} processes can share evenly, got {size} images.")
    order = np.random.default_rng([seed, epoch]).permutation(len(dataset))
    share = size // shares
    begins = (number * size + index * share for number in range(start, count))
    groups = (order[begin : begin + share] for begin in begins)
    if transform is None:
        return _stream(dataset, groups, None)
    return _stream(dataset, groups, lambda image, index: transform(image, np.random.default_rng([seed, epoch, index])))


def in_order(
    dataset: Dataset,
    size: int,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """All images once and in order, for evaluation, as `batches` gives them; the last batch may be smaller.

    `transform(image)` may give any shape, for example (10, 224, 224, 3) by `crops.ten_crop`. `part` (index, count)
    gives one of `count` shares of all images, equal but for one image.
    """
    index, shares = _checked_part(part)
    indices = np.array_split(np.arange(len(dataset)), shares)[index]
    groups = (
        indices[begin : begin + size] for begin in range(0, len(indices), _at_least(1, size, "images in a batch"))
    )
    return _stream(dataset, groups, transform and (lambda image, index: transform(image)))


def _checked_part(part):
    index, count = part
    if not 0 <= index < count:
        raise ValueError(f"Expected a part (index, count) with 0 <= index < count, got {part}.")
    return part


def _at_least(least, value, what):
    if value < least:
        raise ValueError(f"Expected {least} or more {what}, got {value}.")
    return value


def _stream(dataset: Dataset, groups: Iterable[np.ndarray], transform) -> Iterator[Batch]:
    if isinstance(dataset, InMemory) and transform is None:
        return ((dataset.images[group], dataset.labels[group]) for group in groups)
    return _decoded(groups, partial(_read, dataset, transform))


def _read(dataset, transform, index):
    image, label = dataset[index]
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
