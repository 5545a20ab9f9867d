"""TCAV scores as bars and as curves over layers; what is not significant is never drawn as if it were.

Scores that are significant are filled; the others are dotted outlines, pale and without a star.
"""

from collections.abc import Sequence

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xai_jax.concepts.significance import Row

COLOURS = matplotlib.colormaps["tab10"].colors
PALE = "0.65"


def bars(rows: Sequence[Row], size: float = 2.2) -> tuple[Figure, np.ndarray]:
    """A panel for each layer and class, a bar for each concept, and a star where it is significant.

    Thin lines are the tests' intervals, short thick ones what is expected of no concept. Rows as `concept_tests.table`
    gives them. Returns the figure and its axes, of shape (classes, layers); `size` in inches.
    """
    labels, layers, concepts = (_names(rows, field) for field in ("label", "layer", "concept"))
    figure = Figure(figsize=(size * len(layers) + 0.8, 0.8 * size * len(labels) + 0.6), layout="constrained")
    axes = figure.subplots(len(labels), len(layers), squeeze=False, sharey=True)
    for row in rows:
        place = concepts.index(row.concept)
        _bar(axes[labels.index(row.label), layers.index(row.layer)], place, row, COLOURS[place % len(COLOURS)])
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
    """A panel for each class: each concept's score over the layers, in their order, with its interval.

    Markers are filled where it is significant. Returns the figure and its axes, of shape (classes,); `size` in inches.
    """
    labels, layers, concepts = (_names(rows, field) for field in ("label", "layer", "concept"))
    figure = Figure(figsize=(size * len(labels) + 1.4, 0.9 * size), layout="constrained")
    axes = figure.subplots(1, len(labels), squeeze=False, sharey=True)[0]
    for axis, label in zip(axes, labels, strict=True):
        for number, concept in enumerate(concepts):
            own = [row for row in rows if (row.label, row.concept) == (label, concept)]
            shift = 0.08 * (number - (len(concepts) - 1) / 2)
            _curve(axis, layers, own, shift, COLOURS[number % len(COLOURS)])
        axis.set_title(label, fontsize=9)
        axis.set_xticks(range(len(layers)), layers, rotation=50, ha="right", fontsize=8)
        _frame(axis, rows)
    axes[0].set_ylabel(_title(rows), fontsize=8)
    keys = [Line2D([], [], color=COLOURS[n % len(COLOURS)], marker="o", label=name) for n, name in enumerate(concepts)]
    keys.append(Line2D([], [], color="0.6", marker="o", mfc="white", ls=":", label="not significant"))
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    return figure, axes


def _bar(axis: Axes, place: int, row: Row, colour: str) -> None:
    looks = {"color": colour} if row.significant else {"facecolor": "none", "edgecolor": PALE, "linestyle": ":"}
    axis.bar(place, row.value, width=0.7, **looks)
    axis.plot([place, place], _within(row), color="0.2" if row.significant else PALE, lw=1)
    axis.plot([place - 0.2, place + 0.2], [row.null, row.null], color="0.2" if row.significant else PALE, lw=2.5)
    if row.significant:
        axis.annotate("*", (place, max(*_within(row), row.null)), ha="center", va="bottom", fontsize=10)


def _curve(axis, layers, own, shift, colour):
    """Dotted and hollow, but filled where a layer is significant, and drawn through where the next is, too."""
    pale = matplotlib.colors.to_rgba(colour, 0.35)
    places, values = [layers.index(row.layer) + shift for row in own], [row.value for row in own]
    axis.plot(places, values, color=pale, lw=1, ls=":", zorder=1)
    for number, (place, row) in enumerate(zip(places, own, strict=True)):
        drawn, pair = colour if row.significant else pale, slice(number, number + 2)
        axis.plot([place, place], _within(row), color=drawn, lw=1, zorder=2)
        axis.plot(place, row.value, "o", color=drawn, mfc=colour if row.significant else "white", ms=5, zorder=3)
        if all(each.significant for each in own[pair]):
            axis.plot(places[pair], values[pair], color=colour, lw=1.5, zorder=2)


def _frame(axis, rows):
    if rows[0].statistic != "mean":
        axis.set_ylim(-0.02, 1.12)
    axis.axhline(0.0 if rows[0].statistic == "mean" else 0.5, color="0.8", lw=0.8, zorder=0)
    axis.tick_params(axis="y", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _within(row):
    """The interval, of shares only as far as shares go."""
    low, high = row.low, row.high
    return (low, high) if row.statistic == "mean" else (max(low, 0.0), min(high, 1.0))


def _title(rows):
    return {"score": "TCAV score", "magnitude": "magnitude", "mean": "mean derivative"}[rows[0].statistic]


def _names(rows, field):
    return list(dict.fromkeys(getattr(row, field) for row in rows))
