"""Measures that several papers' experiments share."""

import jax
import numpy as np
from numpy.typing import ArrayLike

from xai_jax.attribution.sanity_checks import rank_correlation as rank_correlation
from xai_jax.core.network import Network
from xai_jax.core.precision import highest


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of all values of two arrays; NaN where one is constant or has fewer than two values."""
    first, second = np.ravel(first), np.ravel(second)
    return np.corrcoef(first, second)[0, 1] if len(first) > 1 and np.ptp(first) and np.ptp(second) else np.nan


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlations (N,) of two stacks of arrays (N, ...)."""
    return np.array([correlation(a, b) for a, b in zip(first, second, strict=True)])


def relative_distances(groups: np.ndarray, different: np.ndarray) -> np.ndarray:
    """Mean distances (N,) of pairs within groups (N, M, D), as shares of that of the pairs of `different` (K, D)."""
    distances = np.linalg.norm(groups[:, :, None] - groups[:, None], axis=-1)
    between = np.linalg.norm(different[:, None] - different, axis=-1)
    pairs, others = (~np.eye(len(d), dtype=bool) for d in (distances[0], between))
    return distances[:, pairs].mean(1) / between[others].mean()


def roughness(image: np.ndarray) -> float:
    """RMS difference of neighbouring pixels of an image (H, W, C), as a share of its standard deviation."""
    steps = np.concatenate([np.diff(image, axis=axis).ravel() for axis in (0, 1)])
    return float(np.sqrt((steps**2).mean()) / image.std())


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


@highest()
@jax.jit
def probabilities(net: Network, x: jax.Array) -> jax.Array:
    """Softmax outputs (N, K)."""
    return jax.nn.softmax(net(x))


def has_pooling(names: dict[str, jax.ShapeDtypeStruct]) -> bool:
    """Whether a network with these activations has max-pools, tapped as maps named pool1, pool2, ..."""
    return any(name.startswith("pool") and value.ndim == 4 for name, value in names.items())
