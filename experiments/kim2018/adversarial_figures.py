"""Figures of adversarial images: what they look like, their TCAV scores, and how well these tell them apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xai_jax import plots
from xai_jax.plots.concepts import COLOURS

GROUPS = ("real", "more real", "before the change", "adversarial", "from noise")
MADE = GROUPS[-2:]
COLUMNS = 10  # classes, the first


def images(found: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[Figure, str, str]:
    """A column for each class, a row for each group but the second, with the network's confidence in the class."""
    chosen = [place for place, name in enumerate(GROUPS) if name != "more real"]
    few = names[:COLUMNS]
    panels = [list(found["pixels"][: len(few), place] / 255) for place in chosen]
    figure, axes = plots.grid(panels, few, [GROUPS[place] for place in chosen], size=1.1)
    for row, place in zip(axes, chosen, strict=True):
        for axis, sure in zip(row, found["sure"][:, place, 0], strict=False):
            axis.set_xlabel(f"{100 * sure:.1f} %", fontsize=7, labelpad=2)
    caption = (
        "A real image of each class; an image of another class before and after it was changed to be named the one "
        "above; noise that was changed likewise. Below each, the network's confidence in the class above."
    )
    return figure, caption, "Rows of small pictures: real, before and after a change, and noise."


def scores(found: Sequence[Mapping[str, np.ndarray]], names: Sequence[str], config: Any) -> tuple[Figure, str, str]:
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
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    keys = [Line2D([], [], color=COLOURS[n], marker="o", ls="", ms=4, label=name) for n, name in enumerate(GROUPS)]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        "The share of each group's images in which a step towards a texture raises the class's logit, a dot for each "
        "seed. Single scores were not tested: what counts is whether adversarial images are farther from real ones "
        "than more real ones are, over all classes, layers and textures."
    )
    return figure, caption, "Panels of dots, five colours for five groups of images."


def told(apart: np.ndarray, areas: np.ndarray) -> tuple[Figure, str, str]:
    """Distances (K, G - 1) and areas (K, G - 1, 2), means over seeds: a line for each group, a dot for each class."""
    figure = Figure(figsize=(9.5, 2.6), layout="constrained")
    columns = [apart, areas[..., 0], areas[..., 1]]
    titles = (
        "difference of scores\nfrom real images'",
        "told from real images by concepts,\narea under the curve",
        "by random directions,\narea under the curve",
    )
    axes = figure.subplots(1, len(columns), sharey=True)
    for axis, values, title in zip(axes, columns, titles, strict=True):
        for y, own in enumerate(values.T):
            axis.plot(own, np.full(len(own), y), "o", color=COLOURS[y + 1], ms=4, alpha=0.7)
            axis.plot([own.mean()] * 2, [y - 0.3, y + 0.3], color="k", lw=1.5)
        axis.set_xlabel(title, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1:]:
        axis.axvline(0.5, color="0.7", ls="--", lw=1, zorder=0)
        axis.set_xlim(0.25, 1.03)
    axes[0].set_yticks(range(len(GROUPS) - 1), GROUPS[1:])
    axes[0].set_ylim(len(GROUPS) - 1.5, -0.5)
    caption = (
        "A dot for each class, bars are means. Left: how far the scores of each group are from those of real images; "
        "more real images show what chance does. Middle and right: how well derivatives tell single images of each "
        "group from real ones, held-out images only; dashes mark chance."
    )
    return figure, caption, "Three panels of dots, a line for each group of images."
