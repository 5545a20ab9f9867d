"""How often a classifier is wrong."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core.batching import pixels
from xai_jax.core.network import Network, as_network
from xai_jax.core.pytrees import as_partial
from xai_jax.data.batches import in_order
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import first_line
from xai_jax.training import parallel

BATCH = 256


class Errors(NamedTuple):
    """Percentages of images whose class is not the likeliest, and not among the five likeliest."""

    top1: float
    top5: float


def errors(
    net: Network,
    data: Dataset,
    prepare: Callable[[Array], Array] = pixels,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    batch: int = BATCH,
) -> Errors:
    """Percentages of wrong answers over all images of `data`, by all devices of all processes.

    `prepare` takes uint8 images (N, H, W, C) to the network's input. `transform(image)` brings images to one size while
    they are read; it may give several crops, (crops, H, W, C), whose probabilities are then averaged. Of classes with
    the same logit the first counts as the likelier. Raises ValueError for labels that the network does not know and for
    images that it does not take.
    """
    net, prepare = parallel.everywhere_here((as_network(net), as_partial(prepare)))
    batch = math.ceil(batch / jax.local_device_count()) * jax.local_device_count()
    wrong = np.zeros(2, np.float32)  # counts, exact up to 16 million
    for number, (images, labels) in enumerate(in_order(data, batch, transform, parallel.part())):
        if not number:
            check_fit(net, prepare, images, labels, len(data.classes))
        counts = (np.arange(batch) < len(labels)).astype(np.float32)
        arrays = parallel.split_here((_padded(images, batch), _padded(labels, batch), counts))
        wrong += np.asarray(_wrong(net, prepare, *arrays))
    return Errors(*(100 * float(count) / len(data) for count in parallel.sum_over_processes(wrong)))


@jax.jit
def _wrong(net, prepare, images, labels, counts):
    crops = images.shape[1] if images.ndim == 5 else 1
    logits = net(prepare(images.reshape(-1, *images.shape[-3:])))
    scores = jax.nn.softmax(logits.astype(jnp.float32)).reshape(len(labels), crops, -1).mean(1)
    own = jnp.take_along_axis(scores, labels[:, None], 1)
    before = jnp.arange(scores.shape[1]) < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(1)
    return jnp.stack([jnp.where(rank >= least, counts, 0).sum() for least in (1, 5)])


def _padded(array, size):
    """The last row again and again, so that every batch has one size."""
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), 0)]) if len(array) < size else array


def check_fit(net: Network, prepare: Callable, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Raises ValueError where the network takes images of another shape, or gives another number of classes."""
    x = jax.ShapeDtypeStruct((1, *images.shape[-3:]), images.dtype)
    try:
        logits = jax.eval_shape(lambda net, prepare, x: net(prepare(x)), net, prepare, x)
    except Exception as error:  # flax, lax and prepare each have their own
        raise ValueError(
            f"Expected images that this network takes, got {x.shape[1:]} (height, width, channels). Usual cause: "
            f"one-channel images into a network for colour, or another size than it was trained on. It said: "
            f"{first_line(error)}"
        ) from error
    if logits.shape[-1] < classes:
        raise ValueError(
            f"Expected a network with at least the data's {classes} classes, got one with {logits.shape[-1]}."
        )
    check_labels(labels, classes)


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raises ValueError for labels (N,) out of range; JAX would take the nearest class without a word."""
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}. Usual causes: labels that "
            "count from 1, or names of the classes that leave some out."
        )
