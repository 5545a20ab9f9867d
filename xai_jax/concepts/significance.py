"""Statistical significance of TCAV scores: tests over runs, with corrections for multiple comparisons.

Kim et al. 2018, section 3.5, test the scores of one concept against 0.5 (`against_value`); their code tests them
against the scores of random images substituted for the concept (`against_random`). Both take runs as the samples. But
all runs share the concept's images: n images of anything differ from the rest of the world in some way, and every run
finds that difference again. At the level 0.05 both tests called 13 to 54 % of random image sets significant in
simulations with six to ten runs, and more with more runs (see tests/concepts/test_significance.py).

`against_controls` takes image sets as the samples: is the concept an outlier among sets of as many random images? Its
type I error rate is at most the level.
"""

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from xai_jax.concepts.layer_scores import NEUTRAL, STATISTICS
from xai_jax.concepts.tcav import Scores
from xai_jax.core.messages import listed, quoted
from xai_jax.io import csv_file
from xai_jax.io.files import write_atomically

LEVEL = 0.05
_ROUNDING = 1e-12  # relative difference of means that are the same in exact arithmetic


class Test(NamedTuple):
    """Two-sided p-value, and the confidence interval of the mean, which excludes `null` where p is below the level."""

    p: float
    low: float
    high: float
    null: float


class Row(NamedTuple):
    """One row of a table: a concept in a layer for a class.

    `value` and `std`, mean and standard deviation of `statistic` over runs, with the test's interval and null value;
    p-value `p` of the statistic `tested`, and `adjusted` for multiple comparisons. `accuracy` of the CAVs on held-out
    examples, with the p-value of chance level. `silent`: fraction of the class's images whose gradient in the layer is
    zero, and which therefore count as not positive; p is 1 for a class that is silent altogether.
    """

    layer: str
    label: str
    concept: str
    statistic: str
    runs: int
    value: float
    std: float
    low: float
    high: float
    null: float
    tested: str
    p: float
    adjusted: float
    significant: bool
    accuracy: float
    accuracy_p: float
    silent: float


def against_value(values: np.ndarray, null: float = 0.5, level: float = LEVEL) -> Test:
    """One-sample t-test of the runs' scores (J,), as in the paper.

    For scores without variance, where t is undefined, p is that of the sign test. Raises ValueError for fewer than two
    runs, and for scores that are not finite.

    >>> round(float(against_value(np.array([0.6, 0.7, 0.8])).p), 3)
    0.074
    """
    _check(values, "runs")
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    if _is_constant(values):
        return Test(1.0 if _is_constant(values, null) else 2.0 ** (1 - len(values)), mean, mean, null)
    return _t(mean, null, error, len(values) - 1, level)


def against_random(values: np.ndarray, random: np.ndarray, level: float = LEVEL) -> Test:
    """Two-sample t-test of the runs' scores (J,) and those (R,) of random images, as in the authors' code.

    For scores without variance, p is that of the rank-sum test. Raises ValueError for fewer than two runs of either,
    and for scores that are not finite.

    >>> round(float(against_random(np.array([0.6, 0.7, 0.8]), np.array([0.4, 0.5, 0.6])).p), 3)
    0.07
    """
    values, random = np.ravel(values), np.ravel(random)
    _check(values, "runs")
    _check(random, "runs of random images")
    sizes, mean, null = (len(values), len(random)), np.mean(values), np.mean(random)
    if _is_constant(values) and _is_constant(random):
        return Test(1.0 if _is_constant(mean, null) else 2 / math.comb(sum(sizes), sizes[0]), mean, mean, null)
    squares = sum(((each - each.mean()) ** 2).sum() for each in (values, random))
    error = math.sqrt(squares / (sum(sizes) - 2) * (1 / sizes[0] + 1 / sizes[1]))
    return _t(mean, null, error, sum(sizes) - 2, level)


def against_controls(values: np.ndarray, controls: np.ndarray, level: float = LEVEL) -> Test:
    """Test of the mean of a concept's runs (J,) against the means of M control sets of random images (M, J).

    The t-test of a single case against a small sample of controls (Crawford & Howell 1998, Comparing an individual's
    test score against norms derived from small samples). It is exact for normally distributed means and conservative
    for scores, which are bounded by 0 and 1. For controls without variance, p is that of ranks. Raises ValueError for
    fewer than two controls, and for scores that are not finite.

    >>> round(float(against_controls(np.array([0.9, 1.0]), np.array([[0.4, 0.5], [0.5, 0.6], [0.5, 0.4]])).p), 3)
    0.02
    """
    _check(controls, "controls, sets of random images")
    _check_finite(values)
    others, mean = np.mean(controls, 1), np.mean(values)
    null, error = others.mean(), np.std(others, ddof=1) * math.sqrt(1 + 1 / len(others))
    if _is_constant(others):
        return Test(1.0 if _is_constant(others, mean) else 1 / (len(others) + 1), mean, mean, null)
    return _t(mean, null, error, len(others) - 1, level)


def adjust(p: Sequence[float], correction: str | None = "holm") -> np.ndarray:
    """p-values (m,) adjusted for m comparisons: "bonferroni", "holm" (uniformly more powerful), or None.

    >>> adjust([0.01, 0.04], "holm").round(3), adjust([0.01, 0.04], "bonferroni").round(3)
    (array([0.02, 0.04]), array([0.02, 0.08]))
    """
    p, m = np.asarray(p, np.float64), len(p)
    if correction not in ("bonferroni", "holm", None):
        raise ValueError(f"Expected the correction 'bonferroni', 'holm' or None, got {quoted(correction)}.")
    if correction is None:
        return p
    order, factors = np.argsort(p), np.full(m, m) if correction == "bonferroni" else np.arange(m, 0, -1)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def accuracy_p_value(accuracy: np.ndarray, held_out: int, chance: float) -> float:
    """p-value of CAVs' accuracies (J,) on `held_out` examples under the null hypothesis of accuracy `chance`.

    Binomial test of the mean accuracy as if from one run, since the runs share the concept's images.

    >>> round(accuracy_p_value(np.array([0.9, 1.0, 0.8]), held_out=10, chance=0.5), 4)
    0.0107
    """
    _check_finite(accuracy)
    correct = math.floor(np.mean(accuracy) * held_out + 1e-9)
    return float(stats.binomtest(correct, held_out, chance, alternative="greater").pvalue)


def table(
    scores: Scores,
    statistic: str = "score",
    null: str = "controls",
    tested: str | None = None,
    level: float = LEVEL,
    correction: str | None = "holm",
) -> list[Row]:
    """One row for each layer, class and concept.

    Args:
      scores: result of `tcav.measure`.
      statistic: the statistic to report, one of `tcav.STATISTICS`.
      null: null distribution: "controls", "value" or "random", see the module. The value is 0 for the mean
        sensitivity and 0.5 for others, less for scores of a class with silent images, which are never positive.
      tested: another statistic to test. Scores are at most 1 and those of controls reach 0.9, so that the test has
        little power; the "mean" is not bounded.
      level: significance level, family-wise after the correction.
      correction: "holm", "bonferroni" or None, see `adjust`.

    Returns:
      Rows, `significant` where the adjusted p-value is at most `level`.

    Raises:
      ValueError: for unknown names, a level that is not between 0 and 1, scores with fewer controls than the test
        needs, and scores that are not finite.

    >>> values, controls = np.full((3, 1, 1, 1, 4), 0.9), np.full((3, 1, 1, 1, 20, 4), 0.5)
    >>> rest = np.ones((1, 1, 4)), np.array([20]), np.array([0.5]), np.zeros((1, 1))
    >>> (row,) = table(Scores(["relu1"], ["zebra"], ["stripes"], values, controls, *rest))
    >>> row.value, round(row.p, 4), row.significant
    (0.9, 0.0476, True)
    """
    shown, decides = (_choice("statistic", name, STATISTICS) for name in (statistic, tested or statistic))
    _choice("null", null, ("controls", "value", "random"))
    if not 0 < level < 1:
        raise ValueError(f"Expected a significance level between 0 and 1, got {level}.")
    indices = list(np.ndindex(scores.values.shape[1:4]))
    tests = [_test(scores, shown, index, null, level) for index in indices]
    p = [_test(scores, decides, index, null, level).p for index in indices]
    cells = zip(indices, tests, p, adjust(p, correction), strict=True)
    return [_row(scores, shown, index, test, decides, own, of_all, level) for index, test, own, of_all in cells]


def write_csv(path: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Atomically writes a table as CSV with the fields of `Row` as header.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_csv(path := pathlib.Path(directory, "scores.csv"), [])
    ...     path.read_text()[:44]
    'layer,label,concept,statistic,runs,value,std'
    """
    write_atomically(path, to_csv(rows))


def to_csv(rows: Sequence[Row]) -> bytes:
    """A table as CSV with the fields of `Row` as header; names are not taken for formulas, see `io.csv_file`.

    >>> to_csv([])[:19]
    b'layer,label,concept'
    """
    return csv_file.encode([Row._fields, *rows])


def _test(scores, number, index, null, level):
    values, controls = scores.values[number][index], scores.controls[number][index]
    if null == "value":
        return against_value(values, _null_value(scores, number, index), level)
    return {"controls": against_controls, "random": against_random}[null](values, controls, level)


def _null_value(scores, number, index):
    """The expected statistic of a class that does not depend on the concept."""
    if STATISTICS[number] != "score":
        return NEUTRAL[number]
    if not scores.values[number][index].any() and not scores.values[STATISTICS.index("mean")][index].any():
        return 0.0  # not one derivative, as of a class that is silent altogether
    return NEUTRAL[number] * (1 - float(scores.silent[index[:2]]))


def _row(scores, shown, index, test, decides, p, adjusted, level):
    layer, label, concept = index
    values, accuracy = scores.values[shown][index], scores.accuracy[layer, concept]
    return Row(
        layer=str(scores.layers[layer]),
        label=str(scores.labels[label]),
        concept=str(scores.concepts[concept]),
        statistic=STATISTICS[shown],
        runs=len(values),
        value=float(np.mean(values)),
        std=float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        low=float(test.low),
        high=float(test.high),
        null=float(test.null),
        tested=STATISTICS[decides],
        p=float(p),
        adjusted=float(adjusted),
        significant=bool(adjusted <= level),
        accuracy=float(np.mean(accuracy)),
        accuracy_p=accuracy_p_value(accuracy, int(scores.held_out[concept]), float(scores.chance[concept])),
        silent=float(scores.silent[layer, label]),
    )


def _choice(what, name, names):
    """Index of a name among the valid ones."""
    if name not in names:
        raise ValueError(f"Expected one of {listed(names)} as {what}, got {quoted(name)}.")
    return names.index(name)


def _t(mean, null, error, degrees, level):
    half = stats.t.ppf(1 - level / 2, degrees) * error
    return Test(float(2 * stats.t.sf(abs(mean - null) / error, degrees)), mean - half, mean + half, null)


def _is_constant(*values):
    """Whether all numbers of all arrays are the same up to rounding."""
    values = np.concatenate([np.ravel(each) for each in values])
    return np.ptp(values) <= _ROUNDING * np.abs(values).max()


def _check(values, what):
    if len(values) < 2:
        raise ValueError(f"Expected two {what} or more, got {len(values)}.")
    _check_finite(values)


def _check_finite(values):
    if not np.isfinite(values).all():
        raise ValueError("Expected finite scores, got NaN or infinity. Usual cause: activations of a diverged network.")
