"""Measures that several papers' experiments share."""

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from xai_jax.core.network import Network


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's correlation of all values of two arrays; NaN where one is constant."""
    first, second = np.ravel(first), np.ravel(second)
    return float(stats.spearmanr(first, second).statistic) if np.ptp(first) and np.ptp(second) else np.nan


def correlations(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Pearson's correlations (N,) of two stacks of arrays (N, ...); NaN where one of a pair is constant."""
    first, second = (np.reshape(a, (len(a), -1)).astype(np.float64) for a in (first, second))
    return cosine(*(a - a.mean(1, keepdims=True) for a in (first, second)))


def pairwise_rank_correlations(maps: np.ndarray) -> np.ndarray:
    """Spearman's correlations (N, N) of all pairs of maps (N, ...); NaN on the diagonal."""
    found = np.full((len(maps), len(maps)), np.nan)
    for i in range(len(maps)):
        for j in range(i):
            found[i, j] = found[j, i] = rank_correlation(maps[i], maps[j])
    return found


def cosine(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Cosines (N,) of two stacks of arrays (N, ...); NaN where one is zero."""
    first, second = (np.reshape(a, (len(a), -1)).astype(np.float64) for a in (first, second))
    norm = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide((first * second).sum(1), norm, out=np.full(len(first), np.nan), where=norm > 0)


@jax.jit
def probabilities(net: Network, x: jax.Array) -> jax.Array:
    """Softmax outputs (N, K)."""
    return jax.nn.softmax(net(x))


def has_pooling(names: dict[str, jax.ShapeDtypeStruct]) -> bool:
    """Whether a network with these activations has max-pools, tapped as maps named pool1, pool2, ..."""
    return any(name.startswith("pool") and value.ndim == 4 for name, value in names.items())
