"""Agreement of TCAV with the truth about networks, and significance of what it finds.

Arrays are those of `captions.one_seed`, stacked over S seeds: of N networks, K classes, R readings (image, caption,
relative: the image against the caption), L layers.
"""

import numpy as np
from numpy.typing import ArrayLike

from experiments.kim2018 import over_seeds
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import measures, statistics
from experiments.lib.statistics import Verdict
from xai_jax import significance

READINGS = ("image", "caption", "relative")
CLOSE = 0.5  # a rank correlation that counts as a close match
SCORES, DERIVATIVES, RELATIVE = "difference of scores", "difference of mean derivatives", "relative TCAV"


def p_values(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """p (S, N, K, R, L) of the mean derivative against random sets, and of the score against 0.5, as the paper tests.

    Corrected by Holm's method for all tests of one seed together.
    """
    means, controls = (found[name][:, :, :, :, MEAN] for name in ("values", "controls"))
    scores = found["values"][:, :, :, :, SCORE]
    half = over_seeds.corrected(lambda index: significance.against_value(scores[index]).p, scores.shape[:-1])
    return {"controls": over_seeds.p_values(means, controls), "half": half}


def null_p_values(found: dict[str, np.ndarray]) -> np.ndarray:
    """p (S, N, K, R, L) of random sets in place of the concepts: in each network another control against the rest."""
    controls = found["controls"][:, :, :, :, MEAN]
    p = np.empty(controls.shape[:-2])
    for index in np.ndindex(p.shape):
        own = index[1] % controls.shape[-2]
        p[index] = significance.against_controls(controls[index][own], np.delete(controls[index], own, 0)).p
    return p


def means(found: dict[str, np.ndarray], statistic: int = SCORE) -> np.ndarray:
    """TCAV scores, or another statistic, (S, N, K, R, L): means over runs."""
    return found["values"][:, :, :, :, statistic].mean(-1)


def accuracies(found: dict[str, np.ndarray]) -> np.ndarray:
    """Accuracies (S, N, 2, K) without and with captions."""
    return np.diagonal(found["predicted"], axis1=-2, axis2=-1)


def conflict(found: dict[str, np.ndarray]) -> np.ndarray:
    """In cue conflicts: the share of predictions that follow the picture minus that of the caption, (S, N, K)."""
    return found["followed"][..., 0] - found["followed"][..., 1]


def readings(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """How much more the image matters than the caption, by three readings of TCAV, each (S, N, K, L)."""
    scores, derivatives = means(found), means(found, MEAN)
    return {
        SCORES: scores[:, :, :, 0] - scores[:, :, :, 1],
        DERIVATIVES: derivatives[:, :, :, 0] - derivatives[:, :, :, 1],
        RELATIVE: scores[:, :, :, 2],
    }


def rank_correlations(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman's correlations (S, L) of values (S, N, K, L) and truth (S, N, K); NaN where one is constant."""
    pairs = zip(values, truth, strict=True)
    return np.array([[measures.rank_correlation(v[..., n], t) for n in range(v.shape[-1])] for v, t in pairs])


def rises(values: np.ndarray) -> np.ndarray:
    """Whether values (S, N) never fall from one network to the next, (S,)."""
    return (np.diff(values, axis=1) >= 0).all(1)


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
