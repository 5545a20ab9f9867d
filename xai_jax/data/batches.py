"""Batches in an order that depends on seed and epoch alone, decoded ahead by threads within bounded memory."""

from collections.abc import Callable, Iterator

import numpy as np

from xai_jax.core.streaming import Batch, at_least, checked_part, in_order, stream
from xai_jax.data.datasets import Dataset

__all__ = ["Batch", "Transform", "batches", "in_order"]

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
    count = len(dataset) // at_least(1, size, "images in a batch")
    if not count:
        raise ValueError(f"Expected batches of at most {len(dataset)} images, as many as there are, got {size}.")
    if not 0 <= start <= count:
        raise ValueError(f"Expected to start at one of {count} batches, got {start}.")
    at_least(0, seed, "as seed")
    at_least(0, epoch, "as epoch")
    index, shares = checked_part(part)
    if size % shares:
        raise ValueError(f"Expected batches that {shares} processes can share evenly, got {size} images.")
    order = np.random.default_rng([seed, epoch]).permutation(len(dataset))
    share = size // shares
    begins = (number * size + index * share for number in range(start, count))
    groups = (order[begin : begin + share] for begin in begins)
    if transform is None:
        return stream(dataset, groups, None)
    return stream(dataset, groups, lambda image, index: transform(image, np.random.default_rng([seed, epoch, index])))
