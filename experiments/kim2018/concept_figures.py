"""Scores of concepts over layers as in Figure 4 of Kim et al. 2018, and one class with the images behind its scores."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from configs.kim2018.concepts import Config
from experiments.kim2018.concept_images import PHOTOGRAPHS
from experiments.lib import figures
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.concepts.significance import Row
from xai_jax.data.textures import Kind
from xai_jax.plots.figure import Figure

COLUMNS = 4  # classes in a row of the figure
EXAMPLES = 8  # images of each set
MEANING = (
    "Bars are TCAV scores, means over seeds, from the lowest layer (pale) to the one nearest to the logits (dark red); "
    "thin lines are 95 % intervals (not corrected), short thick ones the score of random images of the same kind. "
    "Filled: the mean derivative differs significantly from random images', after correction for all tests (of the "
    "claims, for the concept in bold; of the experiment, for the others)"
)


def scores_panel(rows: Sequence[Row], kinds: Sequence[Kind], config: Config) -> Panel:
    """A chart for each class: the concepts of the kind of its own."""
    labels = list(dict.fromkeys(label for _, label in config.pairs))
    wide = min(COLUMNS, len(labels))
    shape = math.ceil(len(labels) / wide), wide
    figure = Figure(figsize=(2.9 * wide, 2.0 * shape[0] + 0.4), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False, sharey=True).ravel()
    for axis, label in zip(axes, labels, strict=False):
        _chart(axis, rows, kinds, label, config)
    for axis in axes[:: shape[1]]:
        axis.set_ylabel("TCAV score", fontsize=8)
    for axis in axes[len(labels) :]:
        axis.axis("off")
    keys = [Patch(color=_colour(config.layers, layer), label=layer) for layer in config.layers]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False, fontsize=8)
    caption = f"{MEANING}. The concept in bold is the one known to matter for the class."
    return Panel("scores", figure, caption, "Bar charts of classes, a group of bars for each concept.")


def class_panel(rows: Sequence[Row], kinds: Sequence[Kind], shown: Mapping[str, np.ndarray], config: Config) -> Panel:
    """Images of a class's own concept, of random ones and of the class; the class's scores beside them."""
    concept, label = own_concept(config.pictured, config), config.pictured
    kind = kind_of(concept, kinds)
    sets = {concept: kind.concepts[concept], kind.null: kind.random, label: shown[label]}
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    axes = left.subplots(len(sets), EXAMPLES, squeeze=False)
    for row, (name, images) in zip(axes, sets.items(), strict=True):
        for axis, image in zip(row, np.random.default_rng(0).permutation(images), strict=False):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
        for axis in row[len(images) :]:
            axis.axis("off")
        row[0].set_ylabel(name, fontsize=9)
    axis = right.subplots()
    _chart(axis, rows, kinds, label, config)
    axis.set_ylabel("TCAV score", fontsize=8)
    caption = (
        f"A CAV of {concept} separates activations of the images in the first row from those of the second; its score "
        f"is the fraction of images of the class {label}, third row, whose logit increases along it. {MEANING}."
    )
    return Panel("class", figure, caption, "Rows of textures and of photographs of the class, and a bar chart.")


def examples_panel(kinds: Sequence[Kind], shown: Mapping[str, np.ndarray], config: Config) -> Panel:
    """Images of each concept, random ones of its kind, and those at which derivatives are taken."""
    names: dict[int, list[str]] = {}
    for name, each in shown.items():
        names.setdefault(id(each), []).append(name)
    sets = [pair for kind in kinds for pair in kind.concepts.items()]
    sets += [(",\n".join(each), shown[each[0]]) for each in names.values()]
    panels = [list(np.random.default_rng(0).permutation(images)[:EXAMPLES] / 255) for _, images in sets]
    figure = plots.grid(panels, rows=[name for name, _ in sets], size=0.8)[0]
    caption = "Images of each concept, random ones of its kind, and the images at which derivatives are taken."
    if config.images == PHOTOGRAPHS:
        caption += " Classes without images of their own share the last row, which shows none of the classes."
    return Panel("examples", figure, caption, "Rows of small textures and photographs.")


def own_concept(label: str, config: Config) -> str:
    """The first concept that is known to matter for a class."""
    return next(concept for concept, other in config.pairs if other == label)


def kind_of(concept: str, kinds: Sequence[Kind]) -> Kind:
    """The kind that has a concept."""
    return next(kind for kind in kinds if concept in kind.concepts)


def _chart(axis: Axes, rows: Sequence[Row], kinds: Sequence[Kind], label: str, config: Config) -> None:
    own = own_concept(label, config)
    kind = kind_of(own, kinds)
    concepts = [name for name in kind.concepts if name != kind.null]
    width = 0.85 / len(config.layers)
    for row in rows:
        if row.label == label and row.concept in concepts:
            shift = config.layers.index(row.layer) - (len(config.layers) - 1) / 2
            _bar(
                axis, concepts.index(row.concept) + shift * width, 0.85 * width, row, _colour(config.layers, row.layer)
            )
    axis.axhline(0.5, color="0.8", lw=0.8, ls="--", zorder=0)
    axis.set_title(label, fontsize=9)
    axis.set_ylim(-0.02, 1.05)
    axis.set_xticks(range(len(concepts)), concepts, fontsize=8)
    axis.get_xticklabels()[concepts.index(own)].set_fontweight("bold")
    axis.tick_params(axis="y", labelsize=7)
    figures.hide_spines(axis)


def _bar(axis, x, width, row, colour):
    axis.bar(x, row.value, width, facecolor=colour if row.significant else "none", edgecolor=colour, lw=0.7)
    axis.plot([x, x], [max(row.low, 0), min(row.high, 1)], color="0.2" if row.significant else "0.6", lw=0.8)
    axis.plot([x - 0.4 * width, x + 0.4 * width], [row.null] * 2, color="0.2", lw=1.5)


def _colour(layers, layer):
    return matplotlib.colormaps["Reds"](np.linspace(0.3, 0.9, len(layers))[layers.index(layer)])
