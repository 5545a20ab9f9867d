"""Figures of adversarial images: examples, their TCAV scores, and how well these distinguish them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.lines import Line2D

from configs.kim2018.adversarial import Config
from experiments.lib import figures
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.plots.concepts import COLOURS
from xai_jax.plots.figure import Figure

GROUPS = ("natural", "other natural", "before the attack", "adversarial", "from noise")
SYNTHESISED = GROUPS[-2:]
COLUMNS = 10  # classes, the first


def images_panel(found: Mapping[str, np.ndarray], names: Sequence[str]) -> Panel:
    """A column for each class, a row for each group but the second, with the network's confidence in the class."""
    chosen = [group for group, name in enumerate(GROUPS) if name != "other natural"]
    few = names[:COLUMNS]
    panels = [list(found["pixels"][: len(few), group] / 255) for group in chosen]
    figure, axes = plots.grid(panels, few, [GROUPS[group] for group in chosen], size=1.1)
    for row, group in zip(axes, chosen, strict=True):
        for axis, value in zip(row, found["confidence"][:, group, 0], strict=False):
            axis.set_xlabel(f"{100 * value:.1f} %", fontsize=7, labelpad=2)
    caption = (
        f"A natural image of {len(few)} of {len(names)} classes; an image of another class before and after the "
        "attack; noise after the same attack. Below each, the network's confidence in the class above."
    )
    return Panel("images", figure, caption, "Rows of small images: natural, before and after an attack, and noise.")


def scores_panel(found: Sequence[Mapping[str, np.ndarray]], names: Sequence[str], config: Config) -> Panel:
    """A panel for each of the first classes: TCAV scores of each concept in the layer shown, a dot for each seed."""
    layer, few = config.layers.index(config.shown), min(5, len(names))
    values = np.stack([(each["along"][:, :, :, 0, layer] > 0).mean(2) for each in found])  # (S, K, G, C)
    figure = Figure(figsize=(2.2 * few + 1.6, 2.8), layout="constrained")
    axes = figure.subplots(1, few, sharey=True, squeeze=False)[0]
    for k, axis in enumerate(axes):
        for group, concept in np.ndindex(values.shape[2:]):
            own, x = values[:, k, group, concept], concept + 0.15 * (group - 2)
            axis.plot(np.full(len(own), x), own, "o", color=COLOURS[group], ms=3, alpha=0.7)
        axis.set_title(names[k], fontsize=9)
        axis.set_xticks(range(len(config.concepts)), config.concepts, rotation=50, ha="right", fontsize=8)
        axis.axhline(0.5, color="0.8", lw=0.8, zorder=0)
        axis.set_ylim(-0.04, 1.04)
        figures.hide_spines(axis)
    axes[0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    keys = [Line2D([], [], color=COLOURS[n], marker="o", ls="", ms=4, label=name) for n, name in enumerate(GROUPS)]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        f"TCAV scores of each group's images for {few} of {len(names)} classes, a dot for each of {len(found)} "
        "seed(s); the grey line is one half. Single scores are not tested; tested is whether scores of adversarial "
        "images differ from natural images' more than those of other natural images do, over all classes, layers and "
        "textures."
    )
    return Panel("scores", figure, caption, "Panels of dots, five colours for five groups of images.")


def distinction_panel(distance: np.ndarray, area: np.ndarray) -> Panel:
    """Distances (K, G - 1) and areas (K, G - 1, 2), means over seeds: a row for each group, a dot for each class."""
    figure = Figure(figsize=(9.5, 2.6), layout="constrained")
    columns = [distance, area[..., 0], area[..., 1]]
    titles = (
        "difference of scores\nfrom natural images'",
        "distinguished by concepts,\narea under the ROC curve",
        "by random directions,\narea under the ROC curve",
    )
    axes = figure.subplots(1, len(columns), sharey=True)
    for axis, values, title in zip(axes, columns, titles, strict=True):
        for y, own in enumerate(values.T):
            axis.plot(own, np.full(len(own), y), "o", color=COLOURS[y + 1], ms=4, alpha=0.7)
            axis.plot([own.mean()] * 2, [y - 0.3, y + 0.3], color="k", lw=1.5)
        axis.set_xlabel(title, fontsize=8)
        axis.tick_params(labelsize=8)
        figures.hide_spines(axis)
    for axis in axes[1:]:
        axis.axvline(0.5, color="0.7", ls="--", lw=1, zorder=0)
        axis.set_xlim(min(0.25, np.nanmin(area) - 0.03), 1.03)
    axes[0].set_yticks(range(len(GROUPS) - 1), GROUPS[1:])
    axes[0].set_ylim(len(GROUPS) - 1.5, -0.5)
    caption = (
        "A dot for each class, bars are means. Left: mean difference of the scores of each group from those of natural "
        "images; other natural images show the chance level. Middle and right: how well derivatives distinguish single "
        "held-out images of each group from natural ones; dashes mark chance level."
    )
    return Panel("distinction", figure, caption, "Three panels of dots, a row for each group of images.")
