"""TCAV scores as bar charts and as curves over layers.

Significant scores are filled and starred; all others are pale, dotted outlines.
"""

import itertools
from collections.abc import Sequence

import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from xai_jax.concepts.significance import Row
from xai_jax.plots.figure import Figure

COLOURS = tuple(matplotlib.colors.TABLEAU_COLORS.values())
PALE = "0.65"


def bars(rows: Sequence[Row], size: float = 2.2) -> tuple[Figure, np.ndarray]:
    """Bar charts of concepts, one for each class and layer, with a star where a score is significant.

    Thin lines are confidence intervals, short thick ones the value under the null hypothesis. `rows` are those of
    `significance.table`, `size` is the width of a chart in inches. Returns the figure and its axes, of shape (classes,
    layers).

    >>> test = {"low": 0.7, "high": 1.0, "null": 0.5, "tested": "score", "p": 0.01, "adjusted": 0.01}
    >>> rest = {"std": 0.1, "significant": True, "accuracy": 0.9, "accuracy_p": 0.01, "silent": 0.0}
    >>> figure, axes = bars([Row("relu1", "zebra", "stripes", "score", 5, 0.9, **test, **rest)])
    >>> axes.shape, axes[0, 0].get_title()
    ((1, 1), 'relu1')
    """
    labels, layers, concepts = (_names(rows, field) for field in ("label", "layer", "concept"))
    figure = Figure(figsize=(size * len(layers) + 0.8, 0.8 * size * len(labels) + 0.6), layout="constrained")
    axes, colours = figure.subplots(len(labels), len(layers), squeeze=False, sharey=True), _colours(concepts)
    for row in rows:
        axis = axes[labels.index(row.label), layers.index(row.layer)]
        _bar(axis, concepts.index(row.concept), row, colours[row.concept])
    for column, layer in enumerate(layers):
        axes[0, column].set_title(layer, fontsize=9)
        axes[-1, column].set_xticks(range(len(concepts)), concepts, rotation=50, ha="right", fontsize=8)
    for axis in axes[:-1].ravel():
        axis.set_xticks(range(len(concepts)), [])
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(f"{label}\n{_title(rows)}", fontsize=8)
    for axis in axes.ravel():
        _frame(axis, rows)
    return figure, axes


def curves(rows: Sequence[Row], size: float = 3.2) -> tuple[Figure, np.ndarray]:
    """Curves of each concept's score over the layers with confidence intervals, one panel for each class.

    Markers of significant scores are filled. `rows` are those of `significance.table`, `size` is the width of a panel
    in inches. Returns the figure and its axes, of shape (classes,); called as `bars`.

    >>> both = [Row(layer, "zebra", "stripes", "score", 5, 0.9, **test, **rest) for layer in ("relu1", "relu2")]
    >>> curves(both)[1].shape
    (1,)
    """
    labels, layers, concepts = (_names(rows, field) for field in ("label", "layer", "concept"))
    figure = Figure(figsize=(size * len(labels) + 1.4, 0.9 * size), layout="constrained")
    axes, colours = figure.subplots(1, len(labels), squeeze=False, sharey=True)[0], _colours(concepts)
    for axis, label in zip(axes, labels, strict=True):
        for number, concept in enumerate(concepts):
            own = [row for row in rows if (row.label, row.concept) == (label, concept)]
            shift = 0.08 * (number - (len(concepts) - 1) / 2)
            _curve(axis, layers, own, shift, colours[concept])
        axis.set_title(label, fontsize=9)
        axis.set_xticks(range(len(layers)), layers, rotation=50, ha="right", fontsize=8)
        _frame(axis, rows)
    axes[0].set_ylabel(_title(rows), fontsize=8)
    keys = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in colours.items()]
    keys.append(Line2D([], [], color="0.6", marker="o", mfc="white", ls=":", label="not significant"))
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    return figure, axes


def _colours(concepts):
    """A colour for each concept: concepts of a colour have their own."""
    own = {name: matplotlib.colors.TABLEAU_COLORS.get(f"tab:{name}") for name in concepts}
    others = itertools.cycle([colour for colour in COLOURS if colour not in own.values()] or COLOURS)
    return {name: colour or next(others) for name, colour in own.items()}


def _bar(axis: Axes, at: int, row: Row, colour: str) -> None:
    style = {"color": colour} if row.significant else {"facecolor": "none", "edgecolor": PALE, "linestyle": ":"}
    axis.bar(at, row.value, width=0.7, **style)
    axis.plot([at, at], _interval(row), color="0.2" if row.significant else PALE, lw=1)
    axis.plot([at - 0.2, at + 0.2], [row.null, row.null], color="0.2" if row.significant else PALE, lw=2.5)
    if row.significant:
        axis.annotate("*", (at, max(*_interval(row), row.null)), ha="center", va="bottom", fontsize=10)


def _curve(axis, layers, own, shift, colour):
    """Dotted with hollow markers; filled where significant, and solid between significant neighbours."""
    pale = matplotlib.colors.to_rgba(colour, 0.35)
    positions, values = [layers.index(row.layer) + shift for row in own], [row.value for row in own]
    axis.plot(positions, values, color=pale, lw=1, ls=":", zorder=1)
    for number, (at, row) in enumerate(zip(positions, own, strict=True)):
        drawn, pair = colour if row.significant else pale, slice(number, number + 2)
        axis.plot([at, at], _interval(row), color=drawn, lw=1, zorder=2)
        axis.plot(at, row.value, "o", color=drawn, mfc=colour if row.significant else "white", ms=5, zorder=3)
        if all(each.significant for each in own[pair]):
            axis.plot(positions[pair], values[pair], color=colour, lw=1.5, zorder=2)


def _frame(axis, rows):
    if rows[0].statistic != "mean":
        axis.set_ylim(-0.02, 1.12)
    axis.axhline(0.0 if rows[0].statistic == "mean" else 0.5, color="0.8", lw=0.8, zorder=0)
    axis.tick_params(axis="y", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _interval(row):
    """Confidence interval, clipped to [0, 1] for bounded statistics."""
    low, high = row.low, row.high
    return (low, high) if row.statistic == "mean" else (max(low, 0.0), min(high, 1.0))


def _title(rows):
    return {"score": "TCAV score", "magnitude": "magnitude", "mean": "mean derivative"}[rows[0].statistic]


def _names(rows, field):
    return list(dict.fromkeys(getattr(row, field) for row in rows))
