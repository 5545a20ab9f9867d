"""Whether TCAV scores agree with what networks are known to rely on, and which of them say anything.

Arrays are those of `captions.one_seed`, stacked over S seeds: of 4 networks, K classes, 2 concepts (image, caption), L
layers.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.kim2018 import over_seeds
from experiments.kim2018.over_seeds import MEAN, SCORE
from xai_jax import significance

CLOSE = 0.5  # a rank correlation that counts as a close match


def p_values(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """p (S, 4, K, 2, L) of the mean derivative against random sets, and of the score against 0.5, as the paper tests.

    Corrected by Holm's method for all tests of one seed together.
    """
    means, controls = (found[name][:, :, :, :, MEAN] for name in ("values", "controls"))
    scores = found["values"][:, :, :, :, SCORE]
    half = over_seeds.corrected(lambda place: significance.against_value(scores[place]).p, scores.shape[:-1])
    return {"controls": over_seeds.p_values(means, controls), "half": half}


def mean_scores(found: dict[str, np.ndarray]) -> np.ndarray:
    """TCAV scores (S, 4, K, 2, L), means over runs."""
    return found["values"][:, :, :, :, SCORE].mean(-1)


def right(found: dict[str, np.ndarray]) -> np.ndarray:
    """Accuracies (S, 4, 2, K) without and with captions."""
    return np.diagonal(found["named"], axis1=-2, axis2=-1)


def lead(found: dict[str, np.ndarray], statistic: int = SCORE) -> np.ndarray:
    """How much higher the image scores than the caption, by TCAV scores or another statistic, (S, 4, K, L)."""
    means = found["values"][:, :, :, :, statistic].mean(-1)
    return means[:, :, :, 0] - means[:, :, :, 1]


def correlations(found: dict[str, np.ndarray]) -> np.ndarray:
    """Spearman's, (S, L): over networks and classes, of the image's lead and the accuracy without captions."""
    return rank_correlations(lead(found), right(found)[:, :, 0])


def rank_correlations(values, truth):
    """Of values (S, 4, K, L) and truth (S, 4, K)."""
    return np.array(
        [[_spearman(each[..., n], own) for n in range(each.shape[-1])] for each, own in zip(values, truth, strict=True)]
    )


def _spearman(first, second):
    first, second = stats.rankdata(first), stats.rankdata(second)
    return np.nan if np.ptp(first) == 0 or np.ptp(second) == 0 else np.corrcoef(first, second)[0, 1]


def informed(found: dict[str, np.ndarray]) -> np.ndarray:
    """Without captions: how much oftener a class is named for its own images than for others, (S, 4, K).

    A network that always names one class has 0 for each, where its accuracy is 1 for that class.
    """
    named = found["named"][:, :, 0]
    own, classes = np.diagonal(named, axis1=-2, axis2=-1), named.shape[-1]
    return own - (named.sum(-2) - own) / (classes - 1)


class Match(NamedTuple):
    """Mean of correlations over seeds, its 95 % interval by t, and the verdict."""

    mean: float
    low: float
    high: float
    held: bool | None


def matches(rho: np.ndarray) -> Match:
    """True where the interval is above 0 and the mean at least `CLOSE`; False where the interval is below `CLOSE`."""
    mean = float(rho.mean())
    if len(rho) < 2 or not np.isfinite(rho).all():
        return Match(mean, np.nan, np.nan, None)
    half = stats.t.ppf(0.975, len(rho) - 1) * rho.std(ddof=1) / np.sqrt(len(rho))
    low, high = float(mean - half), float(mean + half)
    return Match(mean, low, high, True if low > 0 and mean >= CLOSE else False if high < CLOSE else None)
