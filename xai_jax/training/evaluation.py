"""Top-1 and top-5 error of a classifier.

>>> from xai_jax.data.datasets import InMemory
>>> images, labels = np.uint8([[[[0], [9]]], [[[9], [0]]]]), np.int32([1, 1])
>>> errors(lambda x, relu=None, tap=None: x[:, 0, :, 0], InMemory(images, labels, ("a", "b")))
Errors(top1=50.0, top5=0.0)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import per_image
from xai_jax.core.batching import pixels, row_error
from xai_jax.core.network import Network, as_network
from xai_jax.core.pytrees import as_partial
from xai_jax.core.streaming import share
from xai_jax.data.batches import in_order
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import first_line
from xai_jax.training import parallel

BATCH_SIZE = 256


class Errors(NamedTuple):
    """Percentages of images whose class is not the most probable, and not among the five most probable."""

    top1: float
    top5: float


def errors(
    net: Network,
    data: Dataset,
    prepare: Callable[[Array], Array] = pixels,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    batch_size: int = BATCH_SIZE,
) -> Errors:
    """Errors over all images of a data set, on all devices of all processes.

    Among classes with equal logits the first counts as the more probable.

    Args:
      net: the classifier.
      data: labelled images; labels count the network's classes (see `datasets.numbered`).
      prepare: uint8 images (N, H, W, C) -> the network's input.
      transform: image -> an image (H, W, C), or several crops (crops, H, W, C) whose probabilities are averaged.
      batch_size: images per forward pass.

    Returns:
      The errors in %.

    Raises:
      ValueError: for labels that the network does not have, and for images that it does not take.
    """
    per_image.check_rows(net := as_network(net), len(data))
    net, prepare = parallel.everywhere_here((net, as_partial(prepare)))
    devices = len(parallel.local_devices())
    batch_size = math.ceil(batch_size / devices) * devices
    wrong = np.zeros(2, np.float32)  # counts, exact up to 16 million
    indices = share(len(data), parallel.part())
    for number, (images, labels) in enumerate(in_order(data, batch_size, transform, parallel.part())):
        if not number:
            rows = check_fit(net, prepare, images, labels, len(data.classes)).shape[0]
            if rows != 1 and len(data) != batch_size:  # rows of the images, which serve where no image is moved
                raise row_error(1, rows)
        check_labels(labels, len(data.classes))
        index = _padded(indices[number * batch_size :][: len(labels)], batch_size)
        own = per_image.rows(net, np.repeat(index, images.shape[1] if images.ndim == 5 else 1))
        counts = (np.arange(batch_size) < len(labels)).astype(np.float32)
        arrays = parallel.split_here((_padded(images, batch_size), _padded(labels, batch_size), counts))
        new, finite = _wrong(own, prepare, *arrays)
        _refuse_not_finite(np.asarray(finite)[: len(labels)], number * batch_size + indices[0])
        wrong += np.asarray(new)
    return Errors(*(100 * float(count) / len(data) for count in parallel.sum_over_processes(wrong)))


@jax.jit
def _wrong(net, prepare, images, labels, counts):
    crops = images.shape[1] if images.ndim == 5 else 1
    logits = net(prepare(images.reshape(-1, *images.shape[-3:])))
    scores = jax.nn.softmax(logits.astype(jnp.float32)).reshape(len(labels), crops, -1).mean(1)
    own = jnp.take_along_axis(scores, labels[:, None], 1)
    before = jnp.arange(scores.shape[1]) < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(1)
    wrong = jnp.stack([jnp.where(rank >= least, counts, 0).sum() for least in (1, 5)])
    return wrong, jnp.isfinite(scores).all(1)


def _refuse_not_finite(finite, start):
    if not finite.all():
        raise ValueError(
            f"Expected logits whose softmax is finite, got NaN or infinity for image {start + finite.argmin()}. Usual "
            "causes: wrong weights, or images in another range than in training."
        )


def _padded(array, size):
    """The rows, the last one repeated, so that every batch has one size."""
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), 0)]) if len(array) < size else array


def check_fit(
    net: Network, prepare: Callable, images: np.ndarray, labels: np.ndarray, classes: int
) -> jax.ShapeDtypeStruct:
    """Checks that a network fits a data set.

    Args:
      net: the classifier.
      prepare: uint8 images (N, H, W, C) -> the network's input.
      images: some images (N, H, W, C) or their crops (N, crops, H, W, C).
      labels: their labels (N,).
      classes: number of classes of the data.

    Returns:
      Shape and dtype of the logits of one image.

    Raises:
      ValueError: for images of another shape, too few classes of the network, or labels out of range.
    """
    x = jax.ShapeDtypeStruct((1, *images.shape[-3:]), images.dtype)
    try:
        logits = jax.eval_shape(lambda net, prepare, x: net(prepare(x)), per_image.like(net, 1), prepare, x)
    except Exception as error:  # flax, lax and prepare each have their own
        raise ValueError(
            f"Expected images that this network takes, got {x.shape[1:]} (height, width, channels). Usual cause: "
            f"one-channel images into a network for colour, or another size than in training. It said: "
            f"{first_line(error)}"
        ) from error
    if logits.shape[-1] < classes:
        raise ValueError(
            f"Expected a network with at least the data's {classes} classes, got one with {logits.shape[-1]}."
        )
    check_labels(labels, classes)
    return logits


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raises ValueError for labels (N,) out of range; JAX would silently take the nearest class."""
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}. Usual causes: labels that "
            "count from 1, or missing class names."
        )
