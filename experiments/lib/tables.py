"""Means over seeds, how sure they are, and tables and dots of them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib.runner import Number


class Interval(NamedTuple):
    """A mean of `count` values and its 95 % confidence interval; NaN where there are too few to tell."""

    mean: float
    low: float
    high: float
    count: int

    def words(self) -> str:
        if not self.count:
            return "not known, no seed learnt"
        if self.count == 1:
            return f"{self.mean:+.2f} (one seed, too few to tell)"
        return f"{self.mean:+.2f} (95 % interval {self.low:+.2f} to {self.high:+.2f}, {self.count} seeds)"


def interval(values: Sequence[float]) -> Interval:
    """By Student's t distribution; values that are NaN do not count."""
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Interval(values.mean() if len(values) else math.nan, math.nan, math.nan, len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return Interval(values.mean(), values.mean() - half, values.mean() + half, len(values))


def below(cost: Interval, limit: float) -> bool | None:
    """Whether a mean is surely below a limit (True), surely above it (False), or neither (None)."""
    return True if cost.high < limit else False if cost.low > limit else None


def number(name: str, values: np.ndarray, unit: str, note: str, paper: float | None, tag: str | None) -> Number:
    """Mean and deviation over seeds; NaN stands for a seed that learnt nothing, and the note says how many did."""
    mean, untrained = Number.mean(name, values), int(np.isnan(values).sum())
    words = f"{mean.note} seeds, {untrained} untrained" if untrained else f"{mean.note} seeds, none untrained"
    return dataclasses.replace(mean, unit=unit, paper=paper, paper_tag=tag, note=f"{words}; {note}")


def spread(values: np.ndarray) -> str:
    """Mean and deviation in words."""
    mean = Number.mean("", values)
    return "–" if mean.value is None else f"{mean.value:.2f} ± {mean.spread:.2f}"


def table(columns: Sequence[str], lines: Sequence[Sequence[str]], ruled: Sequence[int], first: float = 1) -> Figure:
    """Words in columns under their titles, with a rule above each of the lines `ruled`; the first is wider if asked."""
    figure = Figure(figsize=(1.4 * (len(columns) + first), 0.7 + 0.24 * len(lines)), layout="constrained")
    axis = figure.subplots()
    axis.axis("off")
    axis.set(xlim=(-first, len(columns) - 1), ylim=(len(lines) - 0.4, -1.9))
    for y, line in zip([-1.2, *range(len(lines))], [columns, *lines], strict=True):
        weight = "bold" if y < 0 else "normal"
        axis.text(-first, y, line[0], fontsize=9, weight=weight, va="center")
        for x, words in enumerate(line[1:]):
            axis.text(x + 0.5, y, words, fontsize=9, weight=weight, va="center", ha="center")
    for y in ruled:
        axis.axhline(y - 0.5, color="0.3", lw=0.8)
    return figure


def dots(axis: Axes, y: float, values: np.ndarray, colour: str) -> None:
    """A ring for each value and a bar at their mean."""
    axis.plot(values, np.full(len(values), y), "o", mfc="none", mec=colour, ms=5)
    axis.plot([interval(values).mean] * 2, [y - 0.35, y + 0.35], color=colour, lw=2)


def difference(axis: Axes, y: float, values: np.ndarray, colour: str, paper: float) -> None:
    """A ring for each difference; below, their mean in its confidence interval; then the paper's difference."""
    cost = interval(values)
    axis.plot(values, np.full(len(values), y - 0.2), "o", mfc="none", mec=colour, ms=5)
    axis.plot([cost.low, cost.high], [y, y], color=colour, lw=2)
    axis.plot(cost.mean, y, "o", color=colour, ms=6)
    axis.plot(paper, y + 0.2, "kD", ms=4, label=None if y else "paper: CIFAR-10")


def dress(axis: Axes, title: str, unit: str, rows: Any = ()) -> None:
    """Titles and sizes of a panel with rows of dots, downwards from 0; `rows` names them."""
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(unit, fontsize=8)
    if rows:
        axis.set_yticks(range(len(rows)), rows)
        axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(labelsize=8, left=False)
    axis.spines[["top", "right", "left"]].set_visible(False)
