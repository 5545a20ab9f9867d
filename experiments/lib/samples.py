"""Samples as statistical tests take them: without missing values, and with ties where values differ by rounding."""

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 1e-12
"""Relative difference of results that are the same in exact arithmetic, such as 0.1 + 0.2 and 0.3."""


def present(values: ArrayLike) -> np.ndarray:
    """Values as a float64 array (N,) without those that are NaN."""
    values = np.asarray(values, np.float64).ravel()
    return values[~np.isnan(values)]


def differences(greater: ArrayLike, less: ArrayLike) -> np.ndarray:
    """Differences (N,) of pairs, or from one value; zero where they are rounding errors, without NaN."""
    greater, less = np.asarray(greater, np.float64), np.asarray(less, np.float64)
    with np.errstate(invalid="ignore"):  # of two infinities
        found = greater - less
    return present(np.where(np.abs(found) <= ROUNDING * np.maximum(np.abs(greater), np.abs(less)), 0.0, found))


def ranked(values: ArrayLike) -> np.ndarray:
    """Values for tests that use their order alone: those that differ by rounding become ties."""
    values = np.asarray(values, np.float64)
    return np.array([float(f"{value:.11e}") for value in values.ravel()]).reshape(values.shape)


def varies(values: np.ndarray) -> bool:
    """Whether values (N,) differ by more than rounding."""
    return bool(len(values)) and bool(np.ptp(values) > ROUNDING * np.abs(values).max())
