"""Agreement of TCAV scores with the ground truth of networks, and significance of the scores.

Arrays are those of `captions.one_seed`, stacked over S seeds: of 4 networks, K classes, 2 concepts (image, caption), L
layers.
"""

import numpy as np
from numpy.typing import ArrayLike

from experiments.kim2018 import over_seeds
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import measures, statistics
from experiments.lib.statistics import Verdict
from xai_jax import significance

CLOSE = 0.5  # a rank correlation that counts as a close match


def p_values(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """p (S, 4, K, 2, L) of the mean derivative against random sets, and of the score against 0.5, as the paper tests.

    Corrected by Holm's method for all tests of one seed together.
    """
    means, controls = (found[name][:, :, :, :, MEAN] for name in ("values", "controls"))
    scores = found["values"][:, :, :, :, SCORE]
    half = over_seeds.corrected(lambda index: significance.against_value(scores[index]).p, scores.shape[:-1])
    return {"controls": over_seeds.p_values(means, controls), "half": half}


def mean_scores(found: dict[str, np.ndarray]) -> np.ndarray:
    """TCAV scores (S, 4, K, 2, L), means over runs."""
    return found["values"][:, :, :, :, SCORE].mean(-1)


def accuracies(found: dict[str, np.ndarray]) -> np.ndarray:
    """Accuracies (S, 4, 2, K) without and with captions."""
    return np.diagonal(found["predicted"], axis1=-2, axis2=-1)


def difference(found: dict[str, np.ndarray], statistic: int = SCORE) -> np.ndarray:
    """The image's TCAV score, or another statistic, minus the caption's, (S, 4, K, L)."""
    means = found["values"][:, :, :, :, statistic].mean(-1)
    return means[:, :, :, 0] - means[:, :, :, 1]


def correlations(found: dict[str, np.ndarray]) -> np.ndarray:
    """Spearman's, (S, L): over networks and classes, of the difference and the accuracy without captions."""
    return rank_correlations(difference(found), accuracies(found)[:, :, 0])


def rank_correlations(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman's correlations (S, L) of values (S, 4, K, L) and truth (S, 4, K); NaN where one is constant."""
    pairs = zip(values, truth, strict=True)
    return np.array([[measures.rank_correlation(v[..., n], t) for n in range(v.shape[-1])] for v, t in pairs])


def informedness(found: dict[str, np.ndarray]) -> np.ndarray:
    """Without captions: how much more often a class is predicted for its own images than for others, (S, 4, K).

    It is 0 for a network that always predicts one class, whose accuracy is 1 for that class.
    """
    predicted = found["predicted"][:, :, 0]
    own, classes = np.diagonal(predicted, axis1=-2, axis2=-1), predicted.shape[-1]
    return own - (predicted.sum(-2) - own) / (classes - 1)


def close_match(rho: ArrayLike) -> Verdict:
    """Whether correlations (S,) are positive, tested over seeds, with a mean of at least `CLOSE`.

    Not supported where they are significantly below `CLOSE`; inconclusive where one is not defined.
    """
    rho = np.asarray(rho, np.float64)
    positive, below = statistics.t_test(rho), statistics.t_test(np.full_like(rho, CLOSE), rho)
    if not np.isfinite(rho).all() or positive.p is None:
        return statistics.inconclusive(f"rank correlations of {len(rho)} seeds, not all of them defined")
    p = positive.p if rho.mean() >= CLOSE else 1.0
    text = f"rank correlation {statistics.over_seeds(rho)}, p = {positive.p:.2g} above 0, {below.p:.2g} below {CLOSE:g}"
    return statistics.decide(p, below.p, text)
