"""Figures of planted attributes. Hollow markers are scores that are not significant in every seed."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from configs.kim2018.bias import Config
from experiments.kim2018 import over_seeds
from experiments.kim2018.over_seeds import SCORE
from experiments.lib import figures
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.plots.concepts import COLOURS
from xai_jax.plots.figure import Figure

COLUMNS = 9  # example images
MARKERS = "os^"  # classes


def strengths_panel(found: dict[str, np.ndarray], signs: np.ndarray, config: Config) -> Panel:
    """Scores of both attributes against the planted share; below, the effect of pasting. A column for each class."""
    at = config.layers.index(config.shown)
    scores, significant = found["values"][:, :, SCORE, at].mean(-1), over_seeds.in_every_seed(signs[:, :, at])
    figure = Figure(figsize=(2.6 * len(config.classes) + 1.2, 4.6), layout="constrained")
    axes = figure.subplots(2, len(config.classes), sharex=True, sharey="row")
    for label, (above, below) in enumerate(axes.T):
        for which in range(2):
            _curve(above, scores[:, :, label, which], significant[:, label, which], which, config)
            _curve(below, found["effect"][:, :, label, which], np.ones(len(config.shares)), which, config)
        above.set_title(config.classes[label], fontsize=10)
        _frame(above, 0.5, (-0.04, 1.04))
        _frame(below, 0.0)
    axes[0, 0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    axes[1, 0].set_ylabel("change of its probability\nwhen pasted on", fontsize=8)
    figure.supxlabel(f"share of {config.classes[0]} images with a {config.biased}, in training", fontsize=9)
    _legend(figure, config)
    caption = (
        f"Above: TCAV scores of networks with a {config.biased} on increasing shares of the training images of "
        f"{config.classes[0]}, and on decreasing ones of the others; a {config.irrelevant} is on half of all. Below, "
        "the ground truth: the change of the class's probability when the attribute is pasted on. Means over seeds; "
        "thin lines are the range. Below, nothing is tested."
    )
    alt = "Curves of two attributes' scores, and of their effects, for three classes."
    return Panel("strengths", figure, caption, alt)


def _curve(axis: Axes, values: np.ndarray, signs: np.ndarray, which: int, config: Config) -> None:
    colour = COLOURS[which]
    shares = np.array(config.shares) + 0.016 * which - 0.008  # or one attribute's ranges would hide the other's
    axis.plot(shares, values.mean(0), color=colour, lw=1, ls=":", zorder=1)
    axis.set_xticks(config.shares, [f"{share:.0%}" for share in config.shares])
    for share, own, significant in zip(shares, values.T, signs, strict=True):
        axis.plot([share, share], [own.min(), own.max()], color=colour, lw=1, zorder=2)
        axis.plot(share, own.mean(), "o", mec=colour, mfc=colour if significant else "white", ms=5.5, zorder=3)


def _frame(axis, null, limits=None):
    if limits:
        axis.set_ylim(*limits)
    axis.axhline(null, color="0.75", lw=0.8, ls="--", zorder=0)
    axis.tick_params(labelsize=7)
    figures.hide_spines(axis)


def _legend(figure, config):
    names = config.biased, f"{config.irrelevant} (on half of all)"
    keys = [Line2D([], [], color=COLOURS[n], marker="o", ls=":", label=name) for n, name in enumerate(names)]
    keys.append(Line2D([], [], color="0.5", marker="o", mfc="white", ls="", label="not significant in every seed"))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)


def effects_panel(found: dict[str, np.ndarray], signs: np.ndarray, config: Config) -> Panel:
    """Scores against the effect of pasting, a panel for each seed."""
    at = config.layers.index(config.shown)
    scores = found["values"][:, :, SCORE, at].mean(-1)
    figure = Figure(figsize=(2.9 * len(config.seeds) + 1.6, 3.1), layout="constrained")
    axes = figure.subplots(1, len(config.seeds), squeeze=False, sharex=True, sharey=True)[0]
    for seed, axis in enumerate(axes):
        for number, label, which in np.ndindex(scores.shape[1:]):
            face = COLOURS[which] if signs[seed, number, at, label, which] else "white"
            x, y = found["effect"][seed, number, label, which], scores[seed, number, label, which]
            axis.plot(x, y, MARKERS[label % len(MARKERS)], mec=COLOURS[which], mfc=face, ms=6)
        axis.set_title(f"seed {config.seeds[seed]}", fontsize=9)
        axis.axvline(0, color="0.75", lw=0.8, ls="--", zorder=0)
        _frame(axis, 0.5, (-0.04, 1.04))
    figure.supxlabel("change of the class's probability when the attribute is pasted on", fontsize=8)
    axes[0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    keys = [Line2D([], [], color=COLOURS[n], marker="s", ls="", label=name) for n, name in enumerate(_names(config))]
    keys += [
        Line2D([], [], color="0.3", marker=m, ls="", label=c) for m, c in zip(MARKERS, config.classes, strict=False)
    ]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        "If TCAV matches the ground truth, markers rise from left to right. A marker for each network, class and "
        "attribute; filled where it is significant."
    )
    return Panel("truth", figure, caption, "Scatter plots of scores against the effects of pasting, one for each seed.")


def _names(config):
    return config.biased, config.irrelevant


def examples_panel(rows: dict[str, np.ndarray], config: Config) -> Panel:
    """Training images without and with bias, and those of the concepts."""
    panels = [list(images[:COLUMNS] / 255) for images in rows.values()]
    figure, _ = plots.grid(panels, rows=list(rows), size=0.8)
    caption = (
        f"Training images without a bias, and with the {config.biased} mainly on {config.classes[0]}. Below, the "
        "images of both concepts, and random ones."
    )
    alt = "Rows of small images of the classes, some with a badge or a star in a corner."
    return Panel("examples", figure, caption, alt)
