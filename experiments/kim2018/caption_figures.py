"""Figures of the controlled experiment. Scores that are not significant in every seed are dotted outlines."""

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from configs.kim2018.captions import Config
from experiments.kim2018 import agreement, caption_networks
from experiments.kim2018.over_seeds import MEAN, SCORE
from experiments.lib import figures, statistics
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.concepts.significance import LEVEL
from xai_jax.plots.concepts import COLOURS, PALE
from xai_jax.plots.figure import Figure

COLUMNS = 9  # example images
SHOWN = (0.0, 0.3, 1.0, None)  # noises of networks whose training images are shown, those of the paper
NAMES = ("image", "caption")
MARKERS = "os^"  # classes


def doses_panel(found: dict[str, np.ndarray], config: Config) -> Panel:
    """Truths and readings over the noise of the captions, means over classes."""
    at = config.layers.index(config.shown)
    scores, derivatives = (agreement.means(found, statistic)[..., at].mean(2) for statistic in (SCORE, MEAN))
    followed, accuracy = found["followed"].mean(2), agreement.accuracies(found)[:, :, 0].mean(-1)
    figure, ((truth, paper), (mean, relative)) = figures.axes(2, 2, (4.6, 3.0))
    _lines(truth, config, {"without captions: accuracy": accuracy}, ["k"])
    shares = {"cue conflict: by the picture": followed[..., 0], "cue conflict: by the caption": followed[..., 1]}
    _lines(truth, config, shares, COLOURS)
    for axis, values in ((paper, scores), (mean, derivatives)):
        _lines(axis, config, {f"{name} concept": values[..., which] for which, name in enumerate(NAMES)}, COLOURS)
    _lines(relative, config, {"image against caption": scores[..., 2]}, ["tab:purple"])
    ahead = (followed[..., 0] - followed[..., 1] + 1) / 2
    _lines(relative, config, {"truth, scaled: cue conflicts\nby picture minus caption": ahead}, ["0.55"])
    titles = "truth: share of predictions", "TCAV score", "mean derivative", "relative TCAV score"
    for axis, title in zip((truth, paper, mean, relative), titles, strict=True):
        figures.label(axis, title, "noise of the training captions")
        axis.legend(fontsize=7, frameon=False, loc="upper left" if axis is truth else "best")
    for axis, top in ((truth, 1.48), (paper, 1.06), (relative, 1.06)):
        axis.set_ylim(-0.04, top)
        axis.set_yticks(np.arange(0, 1.01, 0.2))
    mean.axhline(0, color="0.8", lw=0.8, zorder=0)
    caption = (
        f"What networks rely on, by the share of wrong captions in training, and what TCAV reads from {config.shown}: "
        f"means over {len(config.words)} classes and {len(config.seeds)} seeds; thin lines are seeds. Truth: "
        "predictions without captions, and where picture and caption show different classes. Networks at 'none' had no "
        "captions. Both TCAV scores are near 1 for nearly all networks: they count the signs of derivatives, however "
        "small. Mean derivatives, and CAVs of the image against the caption, show which of the two matters more."
    )
    alt = "Curves over the noise: two truths, TCAV scores, mean derivatives, relative TCAV."
    return Panel("doses", figure, caption, alt)


def _lines(axis, config, series, colours):
    """Means over seeds of values (S, N) at each noise and, apart, without captions; thin lines are seeds."""
    x = np.r_[config.noises, config.noises[-1] + 0.15]
    for number, (name, values) in enumerate(series.items()):
        for part in (slice(None, -1), slice(-1, None)):
            alone, colour = part.start is not None, colours[number]
            axis.plot(x[part], values[:, part].T, color=colour, lw=0.6, alpha=0.4, marker="." if alone else "", ms=3)
            style = {"lw": 1.8, "ls": "--" if number else "-", "marker": "o", "ms": 4}
            axis.plot(x[part], values[:, part].mean(0), color=colour, label=None if alone else name, **style)
    ticks = [noise for noise in config.noises if noise in (0.0, 0.3, 0.5, 0.7, 1.0)]
    axis.set_xticks([*ticks, x[-1]], [*(f"{100 * noise:g} %" for noise in ticks), "none"])


def scores_panel(found: dict[str, np.ndarray], p: dict[str, np.ndarray], config: Config) -> Panel:
    """As the paper's: TCAV of both concepts for each class and network, and below it the accuracy without captions."""
    at, accuracy = config.layers.index(config.shown), agreement.accuracies(found)[:, :, 0]
    values, significant = agreement.means(found)[..., at], (p["controls"][..., at] <= LEVEL).all(0)
    figure = Figure(figsize=(4.2 * len(config.words) + 0.6, 4.6), layout="constrained")
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
        below.set_xticks(range(len(names)), [name.replace(" captions", "\ncaptions") for name in names], fontsize=7)
        _frame(above, 0.5)
        _frame(below, 1 / len(config.words))
    axes[0, 0].set_ylabel(f"TCAV score, {config.shown}", fontsize=8)
    axes[1, 0].set_ylabel("accuracy\nwithout captions", fontsize=8)
    figure.supxlabel("network, by the noise of its training captions", fontsize=9)
    keys = [Patch(color=COLOURS[which], label=f"{name} concept") for which, name in enumerate(NAMES)]
    keys.append(Patch(fc="none", ec=PALE, ls=":", label="not significant in every seed"))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption = (
        "The paper's layout. Above: TCAV scores of each concept, for networks trained on captions of increasing noise. "
        "Bars are means, dots seeds; a star and a filled bar mean significant in every seed. Below, the paper's ground "
        "truth: accuracy without captions; dashes mark chance level. Scores saturate because they count signs: the "
        "logit rises along both of its class's concepts for nearly every image, however little. So neither the paper's "
        "cab pattern (image ahead whatever the noise) nor its cucumber pattern (image rising) can show."
    )
    alt = "Bars of two concepts' scores for three classes and nine networks, above bars of accuracy."
    return Panel("captions", figure, caption, alt)


def _frame(axis, chance):
    axis.set_ylim(-0.02, 1.12)
    axis.axhline(chance, color="0.7", lw=0.8, ls="--", zorder=0)
    axis.tick_params(axis="y", labelsize=7)
    figures.hide_spines(axis)


def truth_panel(found: dict[str, np.ndarray], config: Config) -> Panel:
    """Three readings against what networks follow in cue conflicts: a dot for each network, class and seed."""
    at, names, true = (
        config.layers.index(config.shown),
        list(caption_networks.noises(config)),
        agreement.conflict(found),
    )
    colours, readings = (
        [*colormaps["viridis"](np.linspace(0, 0.95, len(names) - 1)), "tab:red"],
        agreement.readings(found),
    )
    figure = Figure(figsize=(3.3 * len(readings) + 1.6, 3.3), layout="constrained")
    for axis, (name, values) in zip(figure.subplots(1, len(readings)), readings.items(), strict=True):
        for number, label in np.ndindex(values.shape[1:3]):
            style = {"color": colours[number], "ms": 4.5, "alpha": 0.8, "mew": 0}
            axis.plot(true[:, number, label], values[:, number, label, at], MARKERS[label % len(MARKERS)], **style)
        rho = statistics.over_seeds(agreement.rank_correlations(values, true)[:, at])
        spread = f" ({rho.low:.2f} to {rho.high:.2f})" if rho.count > 1 else ""
        figures.label(
            axis, f"rank correlation {rho.mean:.2f}{spread}", "cue conflicts: by picture minus by caption", name
        )
        axis.axvline(0, color="0.8", lw=0.8, zorder=0)
        figures.hide_spines(axis)
    keys = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    keys += [Line2D([], [], color="0.3", marker=m, ls="", label=w) for m, w in zip(MARKERS, config.words, strict=False)]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        f"If TCAV matches the truth, dots rise from left to right. A dot for each network, class and seed, in "
        f"{config.shown}: image's minus caption's score, the same of mean derivatives, and the score of the CAV of the "
        "image against the caption. In brackets the 95 % interval over seeds."
    )
    return Panel("truth", figure, caption, "Scatter plots of three readings against decisions in cue conflicts.")


def layers_panel(found: dict[str, np.ndarray], config: Config) -> Panel:
    """Rank correlations of each reading with both truths over the layers."""
    truths = {
        "cue conflicts": agreement.conflict(found),
        "accuracy without captions": agreement.accuracies(found)[:, :, 0],
    }
    figure, (axes,) = figures.axes(1, len(truths), (4.2, 2.8), sharey=True)
    for axis, (truth, true) in zip(axes, truths.items(), strict=True):
        for number, (name, values) in enumerate(agreement.readings(found).items()):
            rho = agreement.rank_correlations(values, true)
            axis.plot(config.layers, rho.T, ".", color=f"C{number}", ms=4, alpha=0.6)
            axis.plot(config.layers, rho.mean(0), "-o", color=f"C{number}", ms=5, label=name)
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        figures.label(axis, truth, "layer", "rank correlation")
    axes[0].legend(fontsize=7, frameon=False, loc="best")
    caption = (
        "Rank correlations of the readings with both truths, over networks and classes: means over seeds, which are "
        "the small dots."
    )
    return Panel("layers", figure, caption, "Curves of rank correlations over the layers for three readings.")


def examples_panel(rows: dict[str, np.ndarray], config: Config) -> Panel:
    """Training images and concept images, a row for each kind."""
    panels = [list(images[:COLUMNS] / 255) for images in rows.values()]
    figure, _ = plots.grid(panels, rows=list(rows), size=0.9)
    caption = (
        "Training images of some networks; pictures over the words of other classes; and images of both concepts of "
        "the first class, each with the random ones of its CAV."
    )
    alt = f"Rows of small images with words below: {', '.join(config.words)} and others."
    return Panel("examples", figure, caption, alt)
