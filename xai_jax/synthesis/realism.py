"""Realism of synthesised images, measured with features of an independent evaluation network.

Heusel et al. 2017, GANs trained by a two time-scale update rule converge to a local Nash equilibrium, equation 6
(`frechet`).

>>> features = np.array([[0.0, 0.0], [3.0, 4.0]])
>>> nearest(features, natural=np.array([[0.0, 0.0], [0.0, 1.0]]))  # distances, indices
(array([0.        , 4.24264069]), array([0, 1]))
>>> round(frechet(features, features + 1.0), 6)  # the squared distance of the means
2.0
>>> agreement(lambda x, **_: x, np.array([[0.1, 0.9], [0.8, 0.2]]), classes=[1, 1]).tolist()
[True, False]
"""

from typing import Any

import numpy as np

from xai_jax.core import finite
from xai_jax.core.arguments import as_floats, check_array
from xai_jax.core.batching import call_in_chunks
from xai_jax.core.network import Network


def agreement(net: Network, x: Any, classes: Any) -> np.ndarray:
    """Whether each image (N, H, W, C) is classified as its target class, (N,), by a network of two or more."""
    x = as_floats(x, "images (N, H, W, C)") if isinstance(x, list | tuple) else x
    check_array(x, "images (N, H, W, C)")
    logits = call_in_chunks(net, x)
    if logits.shape[1] < 2:
        raise ValueError("Expected a network with two logits or more, got one, which is the largest for every image.")
    if (bad := finite.first_bad(logits)) is not None:
        raise ValueError(f"Expected finite logits, got NaN or infinity for image {bad}.")
    found = logits.argmax(1)
    if found.shape != np.shape(classes):
        raise ValueError(f"Expected {len(found)} classes, one for each image, got {np.shape(classes)}.")
    return found == np.asarray(classes)


def nearest(features: Any, natural: Any) -> tuple[np.ndarray, np.ndarray]:
    """Distance of features (N, D) to their nearest neighbour among natural ones (M, D), and its index, (N,) each.

    Distances are normalised by the mean nearest-neighbour distance among the natural images: about 1 for natural
    images, more for others. Raises ValueError for fewer than two natural images.
    """
    a, b = _flat(features, natural)
    if len(b) < 2:
        raise ValueError(f"Expected two natural images or more, got {len(b)}.")
    between, within = _squared_distances(a, b), _squared_distances(b, b)
    np.fill_diagonal(within, np.inf)
    scale = np.sqrt(within.min(1)).mean()
    return np.sqrt(between.min(1)) / scale, between.argmin(1)


def frechet(features: Any, natural: Any) -> float:
    """Frechet distance between Gaussians fitted to two sets of features, (N, D) and (M, D).

    It is biased upwards where images are fewer than features: compare sets of equal size only. Raises ValueError for
    fewer than two images.
    """
    a, b = _flat(features, natural)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"Expected two images or more on both sides, got {len(a)} and {len(b)}.")
    means, (first, second) = a.mean(0) - b.mean(0), map(_factor, (a, b))
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()  # trace of the root of the covariances' product
    return float(means @ means + (first**2).sum() + (second**2).sum() - 2 * shared)


def _factor(x):
    """A matrix F of at most D rows whose F^T F is the covariance of features (N, D), which may be fewer than D."""
    centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    return np.linalg.qr(centred, mode="r") if len(x) > x.shape[1] else centred


def _flat(features, natural):
    a, b = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (features, natural))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"Expected features of the same layer, got {a.shape[1]} and {b.shape[1]} for each image.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Expected finite features. Usual cause: images out of the network's range.")
    return a, b


def _squared_distances(a, b):
    """Squared distances between all pairs, (N, M)."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
