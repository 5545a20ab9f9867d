"""Batches in an order that depends on seed and epoch alone, read ahead within bounded memory.

>>> from xai_jax.data.datasets import load
>>> images, labels = next(batches(load("digits", "train"), 32, seed=0, epoch=0))
>>> images.shape, labels.shape
((32, 8, 8, 1), (32,))
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from xai_jax.core.streaming import Batch, at_least, checked_part, in_order, stream
from xai_jax.data.datasets import Dataset

__all__ = ["Batch", "Transform", "batches", "in_order", "order"]

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@functools.lru_cache(8)  # trainings at once
def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of images in an epoch, (count,).

    >>> order(3, seed=0, epoch=1).tolist()
    [2, 0, 1]
    """
    found = np.random.default_rng([seed, epoch]).permutation(count)
    found.setflags(write=False)  # later calls return the same array
    return found


def batches(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    transform: Transform | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Shuffled batches of one epoch; equal arguments give equal batches, whatever the first one.

    A smaller last batch is dropped.

    Args:
      dataset: labelled images.
      batch_size: images per batch.
      seed: of the order and of `transform`.
      epoch: number of the epoch, from 0.
      start: number of the first batch.
      transform: (image, rng) -> an image of one size for all, such as `crops.random_crop`; `rng` depends on seed, epoch
        and image.
      part: (index, count): one of `count` equal shares of each batch.

    Returns:
      An iterator of images (batch_size / count, H, W, C) uint8 and labels int32.

    Raises:
      ValueError: for arguments out of range, and for images of different sizes.
    """
    count = len(dataset) // at_least(1, batch_size, "images in a batch")
    if not count:
        raise ValueError(f"Expected batches of at most {len(dataset)} images, as many as there are, got {batch_size}.")
    if not 0 <= start <= count:
        raise ValueError(f"Expected to start at one of {count} batches, got {start}.")
    at_least(0, seed, "as seed")
    at_least(0, epoch, "as epoch")
    index, shares = checked_part(part)
    if batch_size % shares:
        raise ValueError(f"Expected batches that {shares} processes can share evenly, got {batch_size} images.")
    indices = order(len(dataset), seed, epoch)
    share = batch_size // shares
    begins = (number * batch_size + index * share for number in range(start, count))
    groups = (indices[begin : begin + share] for begin in begins)
    return stream(dataset, groups, transform, (seed, epoch))
