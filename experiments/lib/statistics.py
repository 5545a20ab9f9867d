"""Verdicts on claims: one-sided tests at a common significance level, fixed thresholds, and means over seeds.

Every test returns a `Verdict`. A claim is supported where its test is significant, not supported only where the test of
the opposite is significant, and inconclusive otherwise: a lack of evidence refutes nothing.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from experiments.lib.samples import differences, present, ranked, varies

LEVEL = 0.05
"""Significance level of all tests; confidence intervals cover 1 - LEVEL."""
POWER = 0.8

Decision = Literal["supported", "not supported", "inconclusive"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a test, made by the functions of this module only.

    Attributes:
      decision: "supported", "not supported" or "inconclusive".
      p: p-value of the claim; None where it is not known.
      opposite_p: p-value of the opposite claim.
      text: the test, its sample size and its p-value, in words.
      tested: whether there was a test to make.
    """

    decision: Decision
    p: float | None
    opposite_p: float | None
    text: str
    tested: bool = True


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A comparison with a fixed bound: descriptive, not tested.

    Attributes:
      value: the measured quantity.
      bound: what it is compared with.
      reached: whether the claim's condition is met; None where it does not apply to this run.
    """

    value: float
    bound: float
    reached: bool | None

    @property
    def decision(self) -> Decision:
        return {True: "supported", False: "not supported", None: "inconclusive"}[self.reached]

    @property
    def text(self) -> str:
        return f"{self.value:.3g}, threshold {self.bound:.3g}"


def at_least(value: float, bound: float, applies: bool = True) -> Threshold:
    """Whether `value` reaches `bound`; undecided for NaN, and unless the claim `applies` to this run."""
    return Threshold(float(value), float(bound), bool(value >= bound) if applies and value == value else None)


def at_most(value: float, bound: float, applies: bool = True) -> Threshold:
    """Whether `value` does not exceed `bound`; undecided for NaN, and unless the claim `applies` to this run."""
    return Threshold(float(value), float(bound), bool(value <= bound) if applies and value == value else None)


def decide(p: float, opposite_p: float | None = None, text: str = "") -> Verdict:
    """The verdict of two one-sided p-values; NaN decides nothing.

    Args:
      p: p-value of the claim.
      opposite_p: p-value of the opposite claim, 1 - p by default.
      text: the test in words.
    """
    p = float(p)
    opposite_p = 1 - p if opposite_p is None else float(opposite_p)
    decision = "supported" if p < LEVEL else "not supported" if opposite_p < LEVEL else "inconclusive"
    return Verdict(decision, _finite(p), _finite(opposite_p), text)


def inconclusive(reason: str) -> Verdict:
    """The verdict where no test can be made, and why."""
    return Verdict("inconclusive", None, None, reason, tested=False)


def where(applies: bool, verdict: Verdict, reason: str) -> Verdict:
    """`verdict` where the claim applies to this run, else inconclusive for that `reason`."""
    return verdict if applies else inconclusive(reason)


def binomial(successes: ArrayLike, chance: float = 0.5, alternative: str = "greater") -> Verdict:
    """Exact binomial test of the share of successes, (N,) booleans, against `chance`; against 0.5 it is the sign test.

    `alternative` is the claim: "greater" or "less". NaN is left out.
    """
    successes = present(successes).astype(bool)
    count, total = int(successes.sum()), successes.size
    if not total:
        return inconclusive("no samples")
    p, opposite_p = _both_sides(
        lambda side: stats.binomtest(count, total, chance, alternative=side).pvalue, alternative
    )
    best = chance**total if alternative == "greater" else (1 - chance) ** total
    text = f"{count} of {total}; binomial test against {chance:.3g}, {_p(p, opposite_p)}"
    return decide(p, opposite_p, text if best < LEVEL else f"{text}; too few samples to be significant")


def wilcoxon(greater: ArrayLike, less: ArrayLike = 0.0) -> Verdict:
    """Paired one-sided Wilcoxon signed-rank test of `greater` (N,) against `less`, (N,) or one value.

    Pairs with a NaN are left out.
    """
    values = differences(greater, less)
    if not values.any():
        return inconclusive(f"no differences in {len(values)} pairs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the normal approximation in small samples with ties
        p, opposite_p = _both_sides(lambda side: stats.wilcoxon(values, alternative=side).pvalue)
    differing = np.count_nonzero(values)
    few = "" if differing >= 5 else f"; {differing} pairs differ, at least 5 needed to be significant"
    return decide(p, opposite_p, f"Wilcoxon signed-rank test, n = {len(values)}, {_p(p, opposite_p)}{few}")


def t_test(greater: ArrayLike, less: ArrayLike = 0.0, margin: float = 0.0, share: float = 0.0) -> Verdict:
    """One-sided t-test that the mean of `greater` - `less` exceeds a margin: paired, or against one value.

    Args:
      greater: (N,) values; NaN is left out.
      less: (N,) values paired with them, or one value.
      margin: the least difference that is claimed.
      share: ratio of test to training samples where the N are folds that share samples; corrects the variance
        (Nadeau and Bengio 2003, section 3).
    """
    values = differences(differences(greater, less), margin)
    count = len(values)
    if count < 3 or not np.isfinite(values).all():
        return inconclusive(f"n = {count}, at least 3 needed, all finite")
    if not varies(values):  # the t statistic is not defined
        return binomial(values > 0) if values.any() else inconclusive(f"no differences in {count} pairs")
    error = math.sqrt((1 / count + share) * values.var(ddof=1))
    p = float(stats.t.sf(values.mean() / error, count - 1))
    power = f"; detects {detectable(count):.1f} standard deviations with {POWER:.0%} power"
    return decide(p, text=f"t-test, n = {count}, {_p(p)}{power if LEVEL <= p <= 1 - LEVEL else ''}")


def mann_whitney(greater: ArrayLike, less: ArrayLike) -> Verdict:
    """One-sided Mann-Whitney test of two independent samples."""
    greater, less = ranked(present(greater)), ranked(present(less))
    if not (len(greater) and len(less)) or np.ptp(np.concatenate([greater, less])) == 0:
        return inconclusive(f"n = {len(greater)} and {len(less)} without differences")
    p, opposite_p = _both_sides(lambda side: stats.mannwhitneyu(greater, less, alternative=side).pvalue)
    text = f"Mann-Whitney test, n = {len(greater)} and {len(less)}, {_p(p, opposite_p)}"
    best = 1 / math.comb(len(greater) + len(less), len(less))
    return decide(p, opposite_p, text if best < LEVEL else f"{text}; too few samples to be significant")


def welch(terms: Sequence[tuple[float, ArrayLike]]) -> Verdict:
    """Welch's t-test that a weighted sum of the means of independent samples is below zero.

    `terms` are pairs (weight, sample); the degrees of freedom are Satterthwaite's.
    """
    samples = [(weight, present(sample)) for weight, sample in terms]
    if min(len(sample) for _, sample in samples) < 2 or not all(np.isfinite(sample).all() for _, sample in samples):
        return inconclusive("fewer than two values of a mean, or infinite ones")
    value = sum(weight * sample.mean() for weight, sample in samples)
    parts = [weight**2 * sample.var(ddof=1) / len(sample) for weight, sample in samples]
    if not any(varies(sample) for _, sample in samples):
        return inconclusive("no variance")
    spread = sum(part**2 / (len(sample) - 1) for part, (_, sample) in zip(parts, samples, strict=True))
    error = math.sqrt(sum(parts))
    p = float(stats.t.cdf(value / error, sum(parts) ** 2 / spread))
    return decide(p, text=f"{value:+.3g} ± {error:.2g} (standard error), Welch's t-test, {_p(p)}")


def page_trend(falling: ArrayLike) -> Verdict:
    """Page's trend test that values (subjects, conditions) fall along the conditions; those with NaN are left out."""
    falling = ranked(falling)
    falling = falling[~np.isnan(falling).any(1)]
    if len(falling) < 2 or falling.shape[1] < 3:
        return inconclusive("Page's test needs 2 subjects and 3 conditions")
    p, opposite_p = (float(stats.page_trend_test(sign * falling).pvalue) for sign in (-1, 1))
    return decide(p, opposite_p, f"Page's trend test, n = {len(falling)}, {_p(p, opposite_p)}")


def rank_correlation(first: ArrayLike, second: ArrayLike) -> Verdict:
    """One-sided test that Spearman's rank correlation of two samples (N,) is positive; NaN is left out."""
    first, second = ranked(np.ravel(first)), ranked(np.ravel(second))
    there = ~np.isnan(first + second)
    first, second = first[there], second[there]
    if len(first) < 4 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return inconclusive(f"rank correlation of n = {len(first)} needs 4 values that differ")
    rho, p = stats.spearmanr(first, second, alternative="greater")
    return decide(p, text=f"Spearman correlation {rho:.2f}, n = {len(first)}, {_p(p)}")


def within(interval: "Interval", low: float, high: float) -> Verdict:
    """Equivalence: whether a confidence interval lies inside (low, high), where infinities leave a side open.

    It is supported inside, not supported outside, inconclusive where it straddles a bound, so that a wide interval
    never passes for "at chance level". The p-value is not known, only the level.
    """
    inside, outside = low < interval.low and interval.high < high, interval.high < low or interval.low > high
    decision = "supported" if inside else "not supported" if outside else "inconclusive"
    required = f"above {low:.3g}" if high == math.inf else f"{low:.3g} to {high:.3g}"
    required = f"below {high:.3g}" if low == -math.inf else required
    return Verdict(decision, None, None, f"{interval}, required: {required}")


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Whether every claim is supported; not supported if one is refuted, at the level divided by their number."""
    if not verdicts:
        return inconclusive("no tests")
    pairs = [_p_values(verdict) for verdict in verdicts]
    opposite_p = min(1.0, len(verdicts) * min(opposite for _, opposite in pairs))
    p, texts = max(p for p, _ in pairs), list(dict.fromkeys(verdict.text for verdict in verdicts))
    text = "; ".join(texts) if len(texts) <= 3 else f"{len(verdicts)} tests, the largest p = {p:.2g}"
    found = decide(p, opposite_p, text)
    found = dataclasses.replace(found, tested=any(verdict.tested for verdict in verdicts))
    return dataclasses.replace(found, p=None, opposite_p=None) if any(v.p is None for v in verdicts) else found


def any_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Whether at least one claim is supported, at the level divided by their number; the mirror image of `all_of`."""
    return _opposite(all_of([_opposite(verdict) for verdict in verdicts]))


def detectable(count: int) -> float:
    """Difference in standard deviations that a one-sided t-test of `count` values finds with a probability of POWER."""
    return float((stats.t.ppf(1 - LEVEL, count - 1) + stats.t.ppf(POWER, count - 1)) / math.sqrt(count))


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean of `count` values with their standard deviation and a 95 % confidence interval; NaN if too few."""

    mean: float
    low: float
    high: float
    count: int
    standard_deviation: float = math.nan

    def __str__(self) -> str:
        if self.count < 2:
            return f"{self.mean:+.2f} (n = {self.count}, no interval)"
        return f"{self.mean:+.2f} (95 % interval {self.low:+.2f} to {self.high:+.2f}, n = {self.count})"


def over_seeds(values: ArrayLike) -> Interval:
    """Mean of one value for each seed, by Student's t distribution; NaN is left out."""
    values = present(values)
    if len(values) < 2 or not np.isfinite(values).all():
        return Interval(values.mean() if len(values) else math.nan, math.nan, math.nan, len(values))
    half = stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * stats.sem(values)
    return Interval(values.mean(), values.mean() - half, values.mean() + half, len(values), values.std())


def proportion(successes: ArrayLike) -> Interval:
    """The share of successes, (N,) booleans, with Wilson's interval; NaN is left out."""
    successes = present(successes).astype(bool)
    if not successes.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    low, high = stats.binomtest(int(successes.sum()), successes.size).proportion_ci(1 - LEVEL, method="wilson")
    return Interval(successes.mean(), low, high, successes.size, successes.std())


def _p_values(verdict):
    """Those of a verdict, or extreme ones that amount to its decision where they are not known."""
    known = {"supported": (0.0, 1.0), "not supported": (1.0, 0.0), "inconclusive": (1.0, 1.0)}
    return known[verdict.decision] if verdict.p is None else (verdict.p, verdict.opposite_p)


def _opposite(verdict):
    swap = {"supported": "not supported", "not supported": "supported", "inconclusive": "inconclusive"}
    return dataclasses.replace(verdict, decision=swap[verdict.decision], p=verdict.opposite_p, opposite_p=verdict.p)


def _both_sides(test: Callable[[str], float], alternative: str = "greater") -> tuple[float, float]:
    sides = ("greater", "less") if alternative == "greater" else ("less", "greater")
    return tuple(float(test(side)) for side in sides)


def _p(p, opposite_p=None):
    opposite_p = 1 - p if opposite_p is None else opposite_p
    return f"p = {p:.2g}" + (f" ({opposite_p:.2g} for the opposite)" if opposite_p < LEVEL else "")


def _finite(p):
    return p if math.isfinite(p) else None
