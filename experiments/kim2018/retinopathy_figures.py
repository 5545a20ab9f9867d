"""Figures of graders of diabetic retinopathy. Outlines are scores that are not significant in every seed."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from configs.kim2018.retinopathy import Config
from experiments.kim2018 import over_seeds
from experiments.kim2018.over_seeds import SCORE
from experiments.lib import figures
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.plots.figure import Figure

SHOWN = (4, 1)  # levels, as in the paper's figure
TITLES = ("right labels", "wrong labels")
GREEN, RED = "tab:green", "tab:red"
SIGNED = matplotlib.colormaps["RdBu_r"]


def levels_panel(found: dict[str, np.ndarray], signs: np.ndarray, true: np.ndarray, config: Config) -> Panel:
    """Bars of all lesions for levels 4 and 1, a row for each grader; green where the definition has them there."""
    at = config.layers.index(config.shown)
    scores, significant = found["values"][:, :, SCORE, at].mean(-1), over_seeds.in_every_seed(signs[:, :, at])
    null = found["controls"][:, :, SCORE, at].mean((-2, -1))
    figure = Figure(figsize=(0.55 * len(SHOWN) * len(config.lesions) + 1.6, 5.4), layout="constrained")
    axes = figure.subplots(2, len(SHOWN), sharex=True, sharey=True)
    for (grader, column), axis in np.ndenumerate(axes):
        level = SHOWN[column]
        for x in range(len(config.lesions)):
            colour = GREEN if true[0, level, x] > 0 else RED
            _bar(axis, x, scores[:, grader, level, x], significant[grader, level, x], colour)
            expected = null[:, grader, level, x].mean()
            axis.plot([x - 0.35, x + 0.35], [expected] * 2, color="0.2", lw=2)
        axis.set_title(f"level {level}, {TITLES[grader]}", fontsize=9)
        axis.set_ylim(0, 1.12)
        axis.tick_params(labelsize=7)
        figures.hide_spines(axis)
        axis.set_xticks(range(len(config.lesions)), config.lesions, rotation=45, ha="right", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    figure.legend(handles=_keys(), loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    label, level, share = config.wrong
    caption = (
        f"TCAV scores, as in the paper. Below, the grader trained with level {level} in {100 * share:.0f} % of the "
        f"images with label {label}. Bars are means over seeds, dots seeds, dark lines scores of "
        "healthy retinas. Filled, with + or -: the mean derivative is significantly above or below theirs in every "
        "seed. Colours are those of the right definition."
    )
    alt = "Four panels of bars: the scores of lesions for levels 4 and 1, for two graders."
    return Panel("levels", figure, caption, alt)


def _bar(axis: Axes, x: int, values: np.ndarray, sign: int, colour: str) -> None:
    figures.seed_bar(axis, x, values, colour, bool(sign), width=0.7, outline=colour)
    if sign:
        axis.annotate("+" if sign > 0 else "\N{MINUS SIGN}", (x, values.max() + 0.01), ha="center", va="bottom")


def _keys():
    return [
        Patch(color=GREEN, label="more probable in this level than in others"),
        Patch(color=RED, label="less probable"),
        Patch(fc="none", ec="0.4", ls=":", label="not significant in every seed"),
        Line2D([], [], color="0.2", lw=2, label="healthy retinas"),
    ]


def definition_panel(found: dict[str, np.ndarray], signs: np.ndarray, true: np.ndarray, config: Config) -> Panel:
    """Levels against lesions, by each grader: associations in its labels, effects of lesions alone, and scores."""
    at = config.layers.index(config.shown)
    scores, significant = found["values"][:, :, SCORE, at].mean((0, -1)), over_seeds.in_every_seed(signs[:, :, at])
    figure = Figure(figsize=(2 * (0.5 * len(config.lesions) + 1.6), 7.6), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True, sharey=True)
    for grader, (labels, effect, below) in enumerate(axes.T):
        _map(labels, true[grader], _signed(true[grader]))
        _map(effect, found["effect"].mean(0)[grader], _signed(found["effect"].mean(0)[grader]))
        _map(below, 2 * scores[grader] - 1, _marked(scores[grader], significant[grader]), significant[grader] == 0)
        labels.set_title(f"{TITLES[grader]}: association in the labels", fontsize=9)
        effect.set_title("effect of a lesion alone on the probability", fontsize=9)
        below.set_title(f"TCAV score, {config.shown}", fontsize=9)
        below.set_xticks(range(len(config.lesions)), config.lesions, rotation=45, ha="right", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_yticks(range(5), [f"level {level}" for level in range(5)], fontsize=8)
    caption = (
        "Above: how much more probable a lesion is with a label than with the four others. Middle: the grader's mean "
        "probability of the level for retinas with this lesion alone, minus that for healthy ones. Below: TCAV scores; "
        "+ and - mark those significantly above or below healthy retinas in every seed, others are pale. Red is "
        "positive, blue negative. Means over seeds."
    )
    alt = "Six coloured tables of levels and lesions, three for each of two graders."
    return Panel("definition", figure, caption, alt)


def _signed(values):
    return [[f"{value:+.2f}" for value in row] for row in values]


def _marked(scores, signs):
    marks = {1: " +", 0: "", -1: " \N{MINUS SIGN}"}
    return [[f"{v:.2f}{marks[int(s)]}" for v, s in zip(*rows, strict=True)] for rows in zip(scores, signs, strict=True)]


def _map(axis: Axes, values: np.ndarray, texts: list[list[str]], pale: np.ndarray | None = None) -> None:
    colours = SIGNED(np.clip(values, -1, 1) / 2 + 0.5)
    if pale is not None:
        colours[pale] = 0.25 * colours[pale] + 0.75
    axis.imshow(colours, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.7 and not (pale is not None and pale[row, column])
        axis.text(
            column, row, texts[row][column], ha="center", va="center", fontsize=6.5, color="white" if dark else "0.15"
        )
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def graders_panel(predicted: np.ndarray) -> Panel:
    """Confusion matrices of graders, (S, 2, 5, 5), means over seeds."""
    figure = Figure(figsize=(6.4, 3.1), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, title, shares in zip(axes, TITLES, predicted.mean(0), strict=True):
        axis.imshow(shares, cmap="Greys", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(shares):
            axis.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value > 0.6 else "k"
            )
        axis.set_title(f"trained on {title}", fontsize=9)
        axis.set_xticks(range(5))
        axis.set_yticks(range(5))
        axis.set_xlabel("predicted level", fontsize=8)
    axes[0].set_ylabel("level", fontsize=8)
    caption = (
        "Of the test images of each level, with right labels, the fraction predicted to be of each level; means over "
        f"{len(predicted)} seeds."
    )
    return Panel("graders", figure, caption, "Two tables of five levels by five predictions.")


def examples_panel(some: dict[str, np.ndarray], shown: dict[str, np.ndarray], config: Config) -> Panel:
    """Images of all levels, and those of each lesion by itself."""
    rows = {f"level {level}:\n{name}": images for level, (name, images) in enumerate(some.items())}
    rows |= {f"concept\n{name}": images for name, images in shown.items()}
    figure, _ = plots.grid([list(images / 255) for images in rows.values()], rows=list(rows), size=0.95)
    caption = (
        "Above: test images of the five levels. Below: healthy retinas, and the concepts, retinas with one kind of "
        "lesion alone."
    )
    return Panel("examples", figure, caption, "Rows of photographs of retinas with and without lesions.")
