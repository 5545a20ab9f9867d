"""Which TCAV scores stand out among random sets, in every seed: Holm's correction is for all tests of a seed together.

Arrays are those of `tcav.Scores`, with any axes between seeds and runs: values (S, ..., J), controls (S, ..., M, J).
"""

from collections.abc import Callable

import numpy as np

from xai_jax import significance, tcav
from xai_jax.concepts.significance import LEVEL

SCORE, MEAN = tcav.STATISTICS.index("score"), tcav.STATISTICS.index("mean")


def p_values(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """p (S, ...) of each place by `significance.against_controls`, corrected within its seed."""
    return corrected(lambda place: significance.against_controls(values[place], controls[place]).p, values.shape[:-1])


def corrected(test: Callable[[tuple[int, ...]], float], shape: tuple[int, ...]) -> np.ndarray:
    """p (S, ...) of `test` at each place of a `shape`, by Holm's method for all tests of one seed together."""
    raw = [test(place) for place in np.ndindex(shape)]
    return np.reshape([significance.adjust(seed) for seed in np.reshape(raw, (shape[0], -1))], shape)


def sides(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Whether the mean of the runs is above that of random sets (1) or below (-1), (S, ...)."""
    return np.sign(values.mean(-1) - controls.mean((-2, -1)))


def signs(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """1 or -1 where a place is significant, on that side of random sets; else 0, (S, ...)."""
    return np.where(p_values(values, controls) <= LEVEL, sides(values, controls), 0).astype(int)


def in_every_seed(found: np.ndarray) -> np.ndarray:
    """1 or -1 where `signs` (S, ...) says so in every seed, else 0, (...)."""
    return np.where((found == found[0]).all(0), found[0], 0)
