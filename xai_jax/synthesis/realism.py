"""How like natural images synthesised ones are, by measures that the network under explanation has no part in.

Features should be of a network that was trained by itself. Heusel et al. 2017, GANs trained by a two time-scale update
rule converge to a local Nash equilibrium, equation 6 (Frechet distance).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from xai_jax.core import network
from xai_jax.core.network import Network


def agreement(net: Network, x: Any, classes: Any) -> np.ndarray:
    """Whether the likeliest class of each image (N, H, W, C) is the one meant, (N,)."""
    found = np.asarray(network.call(net, jnp.asarray(x))).argmax(1)
    if found.shape != np.shape(classes):
        raise ValueError(f"Expected {len(found)} classes, one for each image, got {np.shape(classes)}.")
    return found == np.asarray(classes)


def nearest(features: Any, natural: Any) -> tuple[np.ndarray, np.ndarray]:
    """Distance of images' features (N, D) to the nearest of natural ones (M, D), and the number of that, (N,) each.

    Distances are shares of the mean one between a natural image and its nearest neighbour among the others: near 1 for
    natural images, more for images unlike any. Raises ValueError for fewer than two natural images.
    """
    a, b = _flat(features, natural)
    if len(b) < 2:
        raise ValueError(f"Expected two natural images or more, got {len(b)}.")
    apart, among = _squares(a, b), _squares(b, b)
    np.fill_diagonal(among, np.inf)
    usual = np.sqrt(among.min(1)).mean()
    return np.sqrt(apart.min(1)) / usual, apart.argmin(1)


def frechet(features: Any, natural: Any) -> float:
    """Frechet distance of two sets of features, (N, D) and (M, D): of the Gaussians of the same means and covariances.

    With fewer images than features it is biased upwards: compare sets of equal sizes only. Raises ValueError for fewer
    than two images.
    """
    a, b = _flat(features, natural)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"Expected two images or more on both sides, got {len(a)} and {len(b)}.")
    means, (first, second) = a.mean(0) - b.mean(0), (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * shared)


def _flat(features, natural):
    a, b = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (features, natural))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"Expected features of the same layer, got {a.shape[1]} and {b.shape[1]} for each image.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Expected finite features. Usual cause: images out of the network's range.")
    return a, b


def _squares(a, b):
    """Squared distances of all pairs, (N, M)."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
