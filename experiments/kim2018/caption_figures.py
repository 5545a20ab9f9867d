"""Figures of the controlled experiment. Scores that are not significant in every seed are dotted outlines."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from configs.kim2018.captions import Config
from experiments.kim2018 import agreement, caption_networks
from experiments.lib import figures
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.concepts.significance import LEVEL
from xai_jax.plots.concepts import COLOURS, PALE
from xai_jax.plots.figure import Figure

COLUMNS = 9  # example images
NAMES = ("image", "caption")
MARKERS = "os^"  # classes


def scores_panel(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> Panel:
    """As the paper's: TCAV of both concepts for each class and network, and below it the accuracy without captions."""
    at, accuracy = config.layers.index(config.shown), agreement.accuracies(found)[:, :, 0]
    values, significant = agreement.mean_scores(found)[..., at], (p["controls"][..., at] <= LEVEL).all(0)
    figure = Figure(figsize=(3.3 * len(config.words) + 0.6, 4.6), layout="constrained")
    axes = figure.subplots(2, len(config.words), sharex=True, sharey="row", height_ratios=(3, 2))
    names = [name.replace("noise ", "") for name in caption_networks.noises(config)]
    for label, (above, below) in enumerate(axes.T):
        for number, which in np.ndindex(len(names), len(NAMES)):
            own, filled = values[:, number, label, which], significant[number, label, which]
            figures.seed_bar(above, number + 0.38 * which - 0.19, own, COLOURS[which], filled)
            if filled:
                above.annotate("*", (number + 0.38 * which - 0.19, own.max()), ha="center", va="bottom", fontsize=10)
        for number in range(len(names)):
            below.bar(number, accuracy[:, number, label].mean(), width=0.5, color="0.6")
            below.plot(np.full(len(accuracy), number), accuracy[:, number, label], "k.", ms=4)
        above.set_title(config.words[label], fontsize=10)
        below.set_xticks(range(len(names)), [name.replace(" captions", "\ncaptions") for name in names], fontsize=8)
        _frame(above, 0.5)
        _frame(below, 1 / len(config.words))
    axes[0, 0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    axes[1, 0].set_ylabel("accuracy\nwithout captions", fontsize=8)
    figure.supxlabel("network, by the noise of its training captions", fontsize=9)
    keys = [Patch(color=COLOURS[which], label=f"{name} concept") for which, name in enumerate(NAMES)]
    keys.append(Patch(fc="none", ec=PALE, ls=":", label="not significant in every seed"))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption = (
        "Above: TCAV scores of each concept, for networks trained on captions of increasing noise. Bars are means, "
        "dots seeds; a star and a filled bar mean significant in every seed. Below, the ground truth: accuracy "
        "without captions; dashes mark chance level."
    )
    alt = "Bars of two concepts' scores for three classes and four networks, above bars of accuracy."
    return Panel("captions", figure, caption, alt)


def _frame(axis, chance):
    axis.set_ylim(-0.02, 1.12)
    axis.axhline(chance, color="0.7", lw=0.8, ls="--", zorder=0)
    axis.tick_params(axis="y", labelsize=7)
    figures.hide_spines(axis)


def layers_panel(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> Panel:
    """A panel for each class and network: both concepts' scores over the layers."""
    values, names = agreement.mean_scores(found), list(caption_networks.noises(config))
    significant = (p["controls"] <= LEVEL).all(0)
    figure = Figure(figsize=(2.4 * len(names) + 0.8, 1.7 * len(config.words) + 0.8), layout="constrained")
    axes = figure.subplots(len(config.words), len(names), sharex=True, sharey=True)
    for label, number in np.ndindex(axes.shape):
        for which in range(len(NAMES)):
            _curve(axes[label, number], values[:, number, label, which], significant[number, label, which], which)
        axes[label, number].set_xticks(range(len(config.layers)), config.layers, rotation=50, ha="right", fontsize=8)
        _frame(axes[label, number], 0.5)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    for axis, word in zip(axes[:, 0], config.words, strict=True):
        axis.set_ylabel(f"{word}\nTCAV score", fontsize=8)
    keys = [Line2D([], [], color=COLOURS[n], marker="o", label=f"{name} concept") for n, name in enumerate(NAMES)]
    keys.append(Line2D([], [], color="0.6", marker="o", mfc="white", ls=":", label="not significant in every seed"))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption = "Scores in every layer, means over seeds; thin lines are the range. Filled: significant in every seed."
    alt = "Curves of two concepts' scores over the layers, for three classes and four networks."
    return Panel("layers", figure, caption, alt)


def _curve(axis, values, significant, which):
    shift, colour = 0.1 * (which - 0.5), COLOURS[which]
    axis.plot(np.arange(len(significant)) + shift, values.mean(0), color=colour, lw=1, ls=":", alpha=0.5, zorder=1)
    for layer, filled in enumerate(significant):
        own, alpha = values[:, layer], 1 if filled else 0.35
        axis.plot([layer + shift] * 2, [own.min(), own.max()], color=colour, lw=1, alpha=alpha, zorder=2)
        face = colour if filled else "white"
        axis.plot(layer + shift, own.mean(), "o", mec=(*colour, alpha), mfc=face, ms=5, zorder=3)


def truth_panel(found: dict[str, np.ndarray], config: Config) -> Panel:
    """The image's minus the caption's score or mean derivative against the ground truth, for each class and network."""
    at, names = config.layers.index(config.shown), list(caption_networks.noises(config))
    figure = Figure(figsize=(3.2 * len(config.seeds) + 1.8, 6.0), layout="constrained")
    axes = figure.subplots(2, len(config.seeds), squeeze=False, sharey="row")
    rows = (
        (agreement.SCORE, agreement.accuracies(found)[:, :, 0], "TCAV score", "accuracy without captions"),
        (agreement.MEAN, agreement.informedness(found), "mean derivative", "informedness without captions"),
    )
    for row, (statistic, truth, name, label) in zip(axes, rows, strict=True):
        values = agreement.difference(found, statistic)[..., at : at + 1]
        for axis, own, true, seed, (rho,) in zip(
            row, values, truth, config.seeds, agreement.rank_correlations(values, truth), strict=True
        ):
            _dots(axis, true, own[..., 0])
            axis.set_title(f"seed {seed}: rank correlation {rho:.2f}", fontsize=9)
            axis.set_xlabel(label, fontsize=8)
        row[0].set_ylabel(f"{name} of image minus caption, {config.shown}", fontsize=8)
    keys = [Patch(color=f"C{number}", label=name) for number, name in enumerate(names)]
    keys += [Line2D([], [], color="0.3", marker=m, ls="", label=w) for m, w in zip(MARKERS, config.words, strict=True)]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        "If TCAV matches the ground truth, dots rise from left to right. A dot for each network and class. Above, as "
        "in the claim: TCAV scores, and accuracy. Below, examined afterwards: the mean derivative, which is not "
        "bounded by 1, and informedness, the accuracy minus the fraction of other classes' images with the same "
        "prediction."
    )
    alt = "Scatter plots of differences against accuracy, by scores and by mean derivatives."
    return Panel("truth", figure, caption, alt)


def _dots(axis, true, own):
    """One seed's networks by colour, classes by mark."""
    for number, label in np.ndindex(own.shape):
        axis.plot(true[number, label], own[number, label], MARKERS[label], color=f"C{number}", ms=6)
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_xlim(min(-0.04, true.min() - 0.04), 1.04)
    axis.tick_params(labelsize=7)
    figures.hide_spines(axis)


def examples_panel(rows: dict[str, np.ndarray], config: Config) -> Panel:
    """Training images and concept images, a row for each kind."""
    panels = [list(images[:COLUMNS] / 255) for images in rows.values()]
    figure, _ = plots.grid(panels, rows=list(rows), size=0.9)
    caption = (
        "Training images, the same for all networks; and, below, images of both concepts of the first class, each with "
        "the random ones of its CAV."
    )
    alt = f"Rows of small images with words below: {', '.join(config.words)} and others."
    return Panel("examples", figure, caption, alt)
