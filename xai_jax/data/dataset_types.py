"""What a data set is: in memory, or decoded on access.

>>> InMemory(np.zeros((2, 8, 8, 1), np.uint8), np.int32([0, 1]), ("cat", "dog"))[1][1]
1
>>> labeller(InMemory(np.zeros((2, 8, 8, 1), np.uint8), np.int32([0, 1]), ("cat", "dog")))(1)
1
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from xai_jax.core import streaming
from xai_jax.core.messages import quoted
from xai_jax.data.decoding import Encoded

MEMORY = 4 << 30  # bytes of pixels; CIFAR has 0.15 GB, ImageNet's validation set 30 GB


class Dataset(Protocol):
    """Random access to labelled images: `len(dataset)` and `dataset[i] -> (image (H, W, C) uint8, label)`."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, H, W, C) uint8 and labels (N,) int32. Raises ValueError where they do not fit one array."""
        ...


def check_dataset(value: Any, what: str) -> None:
    """Raises TypeError for what is no `Dataset`, such as the path of a folder.

    >>> check_dataset("photos/train", "data")
    Traceback (most recent call last):
    TypeError: Expected a data set as data, such as datasets.load("folder:photos", "train"), got 'photos/train'.
    """
    if not all(hasattr(value, name) for name in ("classes", "__len__", "__getitem__")):
        raise TypeError(
            f'Expected a data set as {what}, such as datasets.load("folder:photos", "train"), got {quoted(value)}.'
        )


@dataclass(frozen=True)
class InMemory:
    """A `Dataset` of arrays: `images` (N, H, W, C) uint8 and `labels` (N,) int32."""

    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self.images, self.labels


@dataclass(frozen=True)
class OnDisk:
    """A `Dataset` that decodes images on access: `read(i) -> (image, label)` for 0 <= i < size.

    `label(i)` reads the label alone, where that is cheaper. `open(i) -> (decoding.Encoded, label)`, where images are
    files, leaves decoding to worker processes.
    """

    name: str
    size: int
    read: Callable[[int], tuple[np.ndarray, Any]] = field(repr=False)
    classes: tuple[str, ...]
    label: Callable[[int], Any] | None = field(default=None, repr=False)
    open: Callable[[int], tuple[Encoded, Any]] | None = field(default=None, repr=False, compare=False)  # as `read`

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._checked(index, self.read)

    def encoded(self, index: int) -> tuple[Encoded, int]:
        """The file of an image, not decoded yet, and its label; for data sets with `open`."""
        return self._checked(index, self.open)

    def _checked(self, index, read):
        index = range(self.size)[operator.index(index)]
        image, label = read(index)
        if not 0 <= label < len(self.classes):
            raise ValueError(f"Expected labels 0 to {len(self.classes) - 1} in {self.name}, got {label} at {index}.")
        return image, int(label)

    @property
    def labels(self) -> np.ndarray:
        """All labels (N,) int32; images are decoded only where there is no `label`."""
        return np.array([labeller(self)(index) for index in range(self.size)], np.int32)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        first, _ = self[0]
        if first.nbytes * self.size > MEMORY:
            raise ValueError(
                f"Expected at most {MEMORY >> 30} GiB of images, got {self.size} like {first.shape} in {self.name}. "
                "Read it with xai_jax.data.batches."
            )
        images, labels = np.empty((self.size, *first.shape), np.uint8), np.empty(self.size, np.int32)
        for index, (image, label) in enumerate(self):
            if image.shape != first.shape:
                raise ValueError(
                    f"Expected images of one size in {self.name}, got {first.shape} at 0 and {image.shape} at {index}. "
                    "Crop them to one size with xai_jax.data.batches."
                )
            images[index], labels[index] = image, label
        return images, labels


def of_files(
    name: str,
    size: int,
    open: Callable[[int], tuple[Encoded, Any]],
    classes: tuple[str, ...],
    label: Callable[[int], Any] | None = None,
) -> OnDisk:
    """A data set of image files.

    Args:
      name: of the data set, for messages.
      size: number of images.
      open: i -> (file, label).
      classes: names of the classes.
      label: i -> label, where that is cheaper.

    Returns:
      The data set.

    Raises:
      ValueError: on access, for a damaged file or a label out of range.

    >>> of_files("photos", 2, lambda i: (Encoded(b"a file"), 0), ("cat",)).encoded(1)
    (Encoded(content=b'a file'), 0)
    """

    def read(index):
        file, label = open(index)
        return file.read(), label

    return OnDisk(name, size, read, classes, label, open)


def select(dataset: Dataset, indices: Sequence[int], labels: Sequence[int] | None = None) -> Dataset:
    """The images at `indices`, with `labels` (one for each of them) in place of their own; classes stay.

    >>> select(InMemory(np.zeros((2, 8, 8, 1), np.uint8), np.int32([0, 1]), ("cat", "dog")), [1, 1])[0][1]
    1
    """
    name, own, open = getattr(dataset, "name", "a data set"), labeller(dataset), streaming.files(dataset)

    def relabelled(index, pair):
        return pair if labels is None else (pair[0], labels[index])

    return OnDisk(
        name,
        len(indices),
        lambda i: relabelled(i, dataset[int(indices[i])]),
        tuple(dataset.classes),
        labels.__getitem__ if labels is not None else lambda i: own(int(indices[i])),
        open and (lambda i: relabelled(i, open(int(indices[i])))),
    )


def labeller(dataset: Dataset) -> Callable[[int], Any]:
    """A function from an index to the label, which decodes no image where the data set supports that."""
    return getattr(dataset, "label", None) or (lambda index: dataset[index][1])
