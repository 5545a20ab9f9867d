"""Figures of the controlled experiment. Scores that are not significant in every seed are dotted outlines, no bars."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.kim2018 import agreement, caption_networks
from xai_jax import plots
from xai_jax.concepts.significance import LEVEL
from xai_jax.plots.concepts import COLOURS, PALE

COLUMNS = 9  # example images
NAMES = ("image", "caption")
MARKS = "os^"  # classes


def scores(found: dict[str, np.ndarray], tested: dict[str, np.ndarray], config: Any) -> tuple[Figure, str, str]:
    """As the paper's: TCAV of both concepts for each class and network, and below it the accuracy without captions."""
    at, accuracy = config.layers.index(config.shown), agreement.right(found)[:, :, 0]
    values, sure = agreement.mean_scores(found)[..., at], (tested["controls"][..., at] <= LEVEL).all(0)
    figure = Figure(figsize=(3.3 * len(config.words) + 0.6, 4.6), layout="constrained")
    axes = figure.subplots(2, len(config.words), sharex=True, sharey="row", height_ratios=(3, 2))
    names = [name.replace("noise ", "") for name in caption_networks.noises(config)]
    for label, (above, below) in enumerate(axes.T):
        for number in range(len(names)):
            for place in range(len(NAMES)):
                _bar(
                    above,
                    number + 0.38 * place - 0.19,
                    values[:, number, label, place],
                    sure[number, label, place],
                    place,
                )
            below.bar(number, accuracy[:, number, label].mean(), width=0.5, color="0.6")
            below.plot(np.full(len(accuracy), number), accuracy[:, number, label], "k.", ms=4)
        above.set_title(config.words[label], fontsize=10)
        below.set_xticks(range(len(names)), [name.replace(" captions", "\ncaptions") for name in names], fontsize=8)
        _frame(above, 0.5)
        _frame(below, 1 / len(config.words))
    axes[0, 0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    axes[1, 0].set_ylabel("accuracy\nwithout captions", fontsize=8)
    figure.supxlabel("network, by the noise of the captions it learnt from", fontsize=9)
    keys = [Patch(color=COLOURS[place], label=f"{name} concept") for place, name in enumerate(NAMES)]
    keys.append(Patch(fc="none", ec=PALE, ls=":", label="not significant in every seed"))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption = (
        "Above: the share of a class's images whose logit rises along each concept, for networks that learnt from "
        "captions of more and more noise. Bars are means, dots seeds; a star and a filled bar mean significant in "
        "every seed. Below, the truth: how often the network is right without captions; dashes mark chance."
    )
    return figure, caption, "Bars of two concepts' scores for three classes and four networks, above bars of accuracy."


def _bar(axis, x, values, sure, place):
    looks = {"color": COLOURS[place]} if sure else {"facecolor": "none", "edgecolor": PALE, "linestyle": ":"}
    axis.bar(x, values.mean(), width=0.36, **looks)
    axis.plot(np.full(len(values), x), values, ".", color="k" if sure else PALE, ms=4)
    if sure:
        axis.annotate("*", (x, values.max()), ha="center", va="bottom", fontsize=10)


def _frame(axis, chance):
    axis.set_ylim(-0.02, 1.12)
    axis.axhline(chance, color="0.7", lw=0.8, ls="--", zorder=0)
    axis.tick_params(axis="y", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def layers(found: dict[str, np.ndarray], tested: dict[str, np.ndarray], config: Any) -> tuple[Figure, str, str]:
    """A panel for each class and network: both concepts' scores over the layers."""
    values, names = agreement.mean_scores(found), list(caption_networks.noises(config))
    sure = (tested["controls"] <= LEVEL).all(0)
    figure = Figure(figsize=(2.4 * len(names) + 0.8, 1.7 * len(config.words) + 0.8), layout="constrained")
    axes = figure.subplots(len(config.words), len(names), sharex=True, sharey=True)
    for label, number in np.ndindex(axes.shape):
        for place in range(len(NAMES)):
            _curve(axes[label, number], values[:, number, label, place], sure[number, label, place], place)
        axes[label, number].set_xticks(range(len(config.layers)), config.layers, rotation=50, ha="right", fontsize=8)
        _frame(axes[label, number], 0.5)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    for axis, word in zip(axes[:, 0], config.words, strict=True):
        axis.set_ylabel(f"{word}\nTCAV score", fontsize=8)
    keys = [Line2D([], [], color=COLOURS[p], marker="o", label=f"{name} concept") for p, name in enumerate(NAMES)]
    keys.append(Line2D([], [], color="0.6", marker="o", mfc="white", ls=":", label="not significant in every seed"))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption = (
        "Scores in every layer, means over seeds; thin lines go from the lowest to the highest. Filled: significant in "
        "every seed."
    )
    return figure, caption, "Curves of two concepts' scores over the layers, for three classes and four networks."


def _curve(axis, values, sure, place):
    shift, colour = 0.1 * (place - 0.5), COLOURS[place]
    axis.plot(np.arange(len(sure)) + shift, values.mean(0), color=colour, lw=1, ls=":", alpha=0.5, zorder=1)
    for layer, significant in enumerate(sure):
        own, shown = values[:, layer], 1 if significant else 0.35
        axis.plot([layer + shift] * 2, [own.min(), own.max()], color=colour, lw=1, alpha=shown, zorder=2)
        face = colour if significant else "white"
        axis.plot(layer + shift, own.mean(), "o", mec=(*colour, shown), mfc=face, ms=5, zorder=3)


def truth(found: dict[str, np.ndarray], config: Any) -> tuple[Figure, str, str]:
    """The image's lead over the caption against the truth, a dot for each class and network: by scores, by slopes."""
    at, names = config.layers.index(config.shown), list(caption_networks.noises(config))
    figure = Figure(figsize=(3.2 * len(config.seeds) + 1.8, 6.0), layout="constrained")
    axes = figure.subplots(2, len(config.seeds), squeeze=False, sharey="row")
    rows = (
        (agreement.SCORE, agreement.right(found)[:, :, 0], "TCAV score", "accuracy without captions"),
        (agreement.MEAN, agreement.informed(found), "mean derivative", "the same, less false alarms"),
    )
    for row, (statistic, true, name, meaning) in zip(axes, rows, strict=True):
        values = agreement.lead(found, statistic)[..., at : at + 1]
        for axis, own, seen, seed, (rho,) in zip(
            row, values, true, config.seeds, agreement.rank_correlations(values, true), strict=True
        ):
            _dots(axis, seen, own[..., 0])
            axis.set_title(f"seed {seed}: rank correlation {rho:.2f}", fontsize=9)
            axis.set_xlabel(meaning, fontsize=8)
        row[0].set_ylabel(f"{name} of image less caption, {config.shown}", fontsize=8)
    keys = [Patch(color=f"C{number}", label=name) for number, name in enumerate(names)]
    keys += [Line2D([], [], color="0.3", marker=m, ls="", label=w) for m, w in zip(MARKS, config.words, strict=True)]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        "If TCAV tells the truth, dots rise from the left to the right: the more the image is ahead of the caption, "
        "the better the network does without captions. A dot for each network and class. Above, as the claim has it: "
        "TCAV scores, and accuracy. Below, looked at afterwards: the mean derivative, which does not end at 1, and "
        "accuracy less the share of other classes' images that get the same name."
    )
    return (
        figure,
        caption,
        "Scatter plots of the lead of the image against accuracy, by scores and by mean derivatives.",
    )


def _dots(axis, true, own):
    """One seed's networks by colour, classes by mark."""
    for number, label in np.ndindex(own.shape):
        axis.plot(true[number, label], own[number, label], MARKS[label], color=f"C{number}", ms=6)
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set_xlim(min(-0.04, true.min() - 0.04), 1.04)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def examples(rows: dict[str, np.ndarray], config: Any) -> tuple[Figure, str, str]:
    """Training images and concept images, a row for each kind."""
    panels = [list(images[:COLUMNS] / 255) for images in rows.values()]
    figure, _ = plots.grid(panels, rows=list(rows), size=0.9)
    caption = (
        "What the networks learn from, the same pictures for all of them; and, below, images of both concepts of the "
        "first class, with the random ones that each is told from."
    )
    return figure, caption, f"Rows of small pictures with words below: {', '.join(config.words)} and others."
