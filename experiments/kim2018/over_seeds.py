"""TCAV scores that differ significantly from random sets; Holm's correction is for all tests of one seed together.

Arrays are those of `tcav.Scores`, with any axes between seeds and runs: values (S, ..., J), controls (S, ..., M, J).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from experiments.lib import statistics
from experiments.lib.statistics import Verdict
from xai_jax import significance, tcav
from xai_jax.concepts.significance import LEVEL

SCORE, MEAN = tcav.STATISTICS.index("score"), tcav.STATISTICS.index("mean")


def p_values(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """p (S, ...) by `significance.against_controls`, corrected within each seed."""
    return corrected(lambda index: significance.against_controls(values[index], controls[index]).p, values.shape[:-1])


def corrected(test: Callable[[tuple[int, ...]], float], shape: tuple[int, ...]) -> np.ndarray:
    """p (S, ...) of `test` at each index of a `shape`, by Holm's method for all tests of one seed together."""
    raw = [test(index) for index in np.ndindex(shape)]
    return np.reshape([significance.adjust(seed) for seed in np.reshape(raw, (shape[0], -1))], shape)


def verdict(p: ArrayLike, side: ArrayLike) -> Verdict:
    """Whether one difference is significantly above random sets in every seed, from p (S,) and its side (S,).

    Not supported where it is significantly below in one.
    """
    pairs = zip(np.ravel(p).tolist(), np.ravel(side), strict=True)
    text = f"corrected p <= {np.max(p):.2g} in {np.size(p)} seeds"
    return statistics.all_of([statistics.decide(*((q, 1.0) if s > 0 else (1.0, q)), text) for q, s in pairs])


def sides(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Whether the mean of the runs is above that of random sets (1) or below (-1), (S, ...)."""
    return np.sign(values.mean(-1) - controls.mean((-2, -1)))


def signs(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """1 or -1, the side of the random sets, where the difference is significant, else 0, (S, ...)."""
    return np.where(p_values(values, controls) <= LEVEL, sides(values, controls), 0).astype(int)


def in_every_seed(found: np.ndarray) -> np.ndarray:
    """1 or -1 where `signs` (S, ...) are that in every seed, else 0, (...)."""
    return np.where((found == found[0]).all(0), found[0], 0)
