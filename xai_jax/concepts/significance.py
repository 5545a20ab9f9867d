"""Whether a TCAV score says anything: tests of scores over many runs, for all layers, classes and concepts together.

Kim et al. 2018, section 3.5, test the scores of one concept against 0.5 (`against_value`), their code against those of
random images in the concept's place (`against_random`), with runs as the samples. But all runs share the concept's
images: n images of anything differ from the rest of the world in some way, and every run finds that difference again.
At the level 0.05 both tests called 13 to 54 % of all sets of random images a concept in simulations with six to ten
runs, and more with more runs (see its tests). `against_controls` takes sets of images, not runs,
as the samples: does the concept stand out among sets of as many random images? It errs as often as its level says.
"""

import csv
import io
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from xai_jax.concepts.tcav import NEUTRAL, STATISTICS, Scores
from xai_jax.io.files import write_atomically

LEVEL = 0.05


class Test(NamedTuple):
    """p, two-sided, and the interval about the mean that leaves `null` out where p is below the level."""

    p: float
    low: float
    high: float
    null: float


class Row(NamedTuple):
    """One line of a table: a concept in a layer for a class.

    `value` and `deviation` of `statistic` over runs, with the test's interval and null; `p` of the statistic `tested`,
    and `adjusted` for all lines together. `accuracy`: of the CAVs on held-out examples, with the p of chance. `silent`:
    share of the class's images that have no gradient in the layer, and so count as not positive.
    """

    layer: str
    label: str
    concept: str
    statistic: str
    runs: int
    value: float
    deviation: float
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
    """One-sample t-test of the runs' scores (J,), as the paper has it.

    Where they do not vary, t has no meaning and the sign test's p is given. Raises ValueError for fewer than two runs.
    """
    _at_least_two(values, "runs")
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    if np.ptp(values) == 0:
        return Test(1.0 if mean == null else 2.0 ** (1 - len(values)), mean, mean, null)
    return _t(mean, null, error, len(values) - 1, level)


def against_random(values: np.ndarray, random: np.ndarray, level: float = LEVEL) -> Test:
    """Student's t-test of the runs' scores (J,) and those (R,) of random images, as the authors' code has it.

    Where neither vary, the rank test's p is given. Raises ValueError for fewer than two runs of either.
    """
    values, random = np.ravel(values), np.ravel(random)
    _at_least_two(values, "runs")
    _at_least_two(random, "runs of random images")
    sizes, mean, null = (len(values), len(random)), np.mean(values), np.mean(random)
    if np.ptp(values) == np.ptp(random) == 0:
        return Test(1.0 if mean == null else 2 / math.comb(sum(sizes), sizes[0]), mean, mean, null)
    squares = sum(((each - each.mean()) ** 2).sum() for each in (values, random))
    error = math.sqrt(squares / (sum(sizes) - 2) * (1 / sizes[0] + 1 / sizes[1]))
    return _t(mean, null, error, sum(sizes) - 2, level)


def against_controls(values: np.ndarray, controls: np.ndarray, level: float = LEVEL) -> Test:
    """Whether the mean of a concept's runs (J,) stands out among those of M sets of random images (M, J).

    The t-test of one case against a small sample of controls (Crawford & Howell 1998, Comparing an individual's test
    score against norms derived from small samples). It is exact for normal means; for scores, which end at 0 and 1, it
    rather errs on the safe side. Where the controls do not vary, p is that of ranks. Raises ValueError for fewer than
    two controls.
    """
    _at_least_two(controls, "controls, sets of random images")
    others, mean = np.mean(controls, 1), np.mean(values)
    null, error = others.mean(), np.std(others, ddof=1) * math.sqrt(1 + 1 / len(others))
    if np.ptp(others) == 0:
        return Test(1.0 if mean == null else 1 / (len(others) + 1), mean, mean, null)
    return _t(mean, null, error, len(others) - 1, level)


def adjust(p: Sequence[float], correction: str | None = "holm") -> np.ndarray:
    """p (m,) for all m tests together: "bonferroni" (m p), "holm" (never larger, as safe), or None (as they are)."""
    p, m = np.asarray(p, np.float64), len(p)
    if correction not in ("bonferroni", "holm", None):
        raise ValueError(f"Expected the correction 'bonferroni', 'holm' or None, got {correction!r}.")
    if correction is None:
        return p
    order, factors = np.argsort(p), np.full(m, m) if correction == "bonferroni" else np.arange(m, 0, -1)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def of_accuracy(accuracy: np.ndarray, held_out: int, chance: float) -> float:
    """p of CAVs that tell nothing apart: binomial, for the mean accuracy of the runs (J,) as if it were that of one.

    The runs share the concept's images, so they do not count as so many more.
    """
    right = math.floor(np.mean(accuracy) * held_out + 1e-9)
    return float(stats.binomtest(right, held_out, chance, alternative="greater").pvalue)


def table(
    scores: Scores,
    statistic: str = "score",
    null: str = "controls",
    tested: str | None = None,
    level: float = LEVEL,
    correction: str | None = "holm",
) -> list[Row]:
    """All layers, classes and concepts with their tests; `significant` where p for all together is at most `level`.

    `statistic`: one of `tcav.STATISTICS`. `null`: "controls", "value" (of no opinion: 0.5, for the mean derivative 0)
    or "random", see above. `tested`: another statistic whose p decides. Scores cannot be above 1, so that the best of
    concepts stands out little among controls that reach 0.9; the mean derivative has no such limit. Raises ValueError
    for other names, and for scores without the controls that a test needs.
    """
    shown, decides = (_choice("statistic", name, STATISTICS) for name in (statistic, tested or statistic))
    _choice("null", null, ("controls", "value", "random"))
    places = list(np.ndindex(scores.values.shape[1:4]))
    tests = [_test(scores, shown, place, null, level) for place in places]
    p = [_test(scores, decides, place, null, level).p for place in places]
    lines = zip(places, tests, p, adjust(p, correction), strict=True)
    return [_row(scores, shown, place, test, decides, own, of_all, level) for place, test, own, of_all in lines]


def write_csv(path: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Writes a table, whole or not at all."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerows([Row._fields, *rows])
    write_atomically(path, buffer.getvalue().encode())


def _test(scores, number, place, null, level):
    values, controls = scores.values[number][place], scores.controls[number][place]
    if null == "value":
        return against_value(values, NEUTRAL[number], level)
    return {"controls": against_controls, "random": against_random}[null](values, controls, level)


def _row(scores, shown, place, test, decides, p, adjusted, level):
    layer, label, concept = place
    values, accuracy = scores.values[shown][place], scores.accuracy[layer, concept]
    return Row(
        layer=str(scores.layers[layer]),
        label=str(scores.labels[label]),
        concept=str(scores.concepts[concept]),
        statistic=STATISTICS[shown],
        runs=len(values),
        value=float(np.mean(values)),
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        low=float(test.low),
        high=float(test.high),
        null=float(test.null),
        tested=STATISTICS[decides],
        p=float(p),
        adjusted=float(adjusted),
        significant=bool(adjusted <= level),
        accuracy=float(np.mean(accuracy)),
        accuracy_p=of_accuracy(accuracy, int(scores.held_out[concept]), float(scores.chance[concept])),
        silent=float(scores.silent[layer, label]),
    )


def _choice(what, name, names):
    """The place of a name among those there are."""
    if name not in names:
        raise ValueError(f"Expected a {what} out of {', '.join(names)}, got {name!r}.")
    return names.index(name)


def _t(mean, null, error, degrees, level):
    half = stats.t.ppf(1 - level / 2, degrees) * error
    return Test(float(2 * stats.t.sf(abs(mean - null) / error, degrees)), mean - half, mean + half, null)


def _at_least_two(values, what):
    if len(values) < 2:
        raise ValueError(f"Expected two {what} or more, got {len(values)}.")
