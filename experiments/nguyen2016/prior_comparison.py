"""What the experiments that compare ways to preferred inputs share: measures of groups of them, tests, and figures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import evaluation_networks, generator_codes
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.lib.runner import LEVEL, Claim, Number
from xai_jax import network, plots, realism

COLUMNS = 10  # classes in a figure, the first


class Measure(NamedTuple):
    """What one is called, and whether more of it is better."""

    label: str
    more: bool


REALISM = {
    "agreement": Measure("share of images on which another network agrees", True),
    "distance": Measure("distance to the nearest natural image, natural ones' = 1", False),
    "frechet": Measure("Frechet distance from natural images", False),
}
MEASURES = {
    "confidence": Measure("confidence of the explained network", True),
    "logit": Measure("logit of the class", True),
} | REALISM

Measured = Mapping[str, np.ndarray]  # measures by name, one value for each group of images


def natural(judge: EvaluationNetwork) -> dict[str, np.ndarray]:
    """Features of natural images, (M, D): those to compare with, and others."""
    represent, half = network.features(judge.model.net, judge.layer), len(judge.held_out)
    parts = judge.held_out, judge.natural[half:]
    return {
        name: evaluation_networks.features(represent, x) for name, x in zip(("held_out", "others"), parts, strict=True)
    }


def measured(
    judge: EvaluationNetwork,
    features: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    classes: np.ndarray,
    groups: int,
) -> dict[str, np.ndarray]:
    """All `MEASURES` of images, (groups,) each; `found` of `generator_codes.as_pixels`, `features` of `natural`.

    The images are those of `groups` sets of starts, one behind the other.
    """
    x = judge.model.preprocess(list(found["pixels"]))
    shown = evaluation_networks.features(network.features(judge.model.net, judge.layer), x)
    values = {
        "confidence": generator_codes.confidence(found["logits"], classes),
        "logit": generator_codes.of_own_class(found["logits"], classes),
        "agreement": realism.agreement(judge.model.net, x, classes),
        "distance": realism.nearest(shown, features["held_out"])[0],
    }
    means = {name: each.reshape(groups, -1).mean(1) for name, each in values.items()}
    sets = shown.reshape(groups, -1, shown.shape[1])
    return means | {"frechet": np.array([realism.frechet(each, features["held_out"]) for each in sets])}


def of_natural(features: Mapping[str, np.ndarray], groups: int, size: int) -> dict[str, np.ndarray]:
    """The distances of other natural images, in groups of the same size, or fewer of them where there are too few."""
    others, count = features["others"], min(groups, len(features["others"]) // size)
    sets = others[: count * size].reshape(count, size, -1)
    return {
        "distance": np.array([realism.nearest(each, features["held_out"])[0].mean() for each in sets]),
        "frechet": np.array([realism.frechet(each, features["held_out"]) for each in sets]),
    }


def better(measure: Measure, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """p of one-sided Mann-Whitney tests over groups: that ours are better, and that they are worse."""
    if len(np.unique(np.concatenate([ours, theirs]))) == 1:
        return 1.0, 1.0
    sides = ("greater", "less") if measure.more else ("less", "greater")
    return tuple(float(stats.mannwhitneyu(ours, theirs, alternative=side).pvalue) for side in sides)


def claim(words: str, source: str, name: str, ours: str, measures: Mapping[str, Measured], told: bool = True) -> Claim:
    """A claim that one way is better than each other by a measure; None where a test cannot tell, or not `told`.

    It holds where it is better than every one, each at `LEVEL`, and fails where it is worse than one, at `LEVEL` over
    their number.
    """
    others = [other for other in measures if other != ours]
    tests = {other: better(REALISM[name], measures[ours][name], measures[other][name]) for other in others}
    beaten = [other for other in others if tests[other][0] < LEVEL]
    ahead = [other for other in others if tests[other][1] < LEVEL / len(others)]
    held = True if len(beaten) == len(others) else False if ahead else None
    rest = [f"{other} is {'better' if other in ahead else 'not told apart'}" for other in others if other not in beaten]
    text = f"{ours} has {measures[ours][name].mean():.3g} and is better than {len(beaten)} of {len(others)}"
    return Claim(words, source, held if told else None, "; ".join([text, *rest]))


def numbers(measures: Mapping[str, Measured], reference: Measured) -> list[Number]:
    """All measures of all ways, and of natural images; means and deviations over groups."""
    return [
        Number.mean(f"{MEASURES[name].label}: {way}", values)
        for way, each in [*measures.items(), ("natural images", reference)]
        for name, values in each.items()
    ]


LABELS = {name: measure.label for name, measure in MEASURES.items()}


def dots(measures: Mapping[str, Measured], reference: Measured, labels: Mapping[str, str] = LABELS) -> Figure:
    """A panel for each measure: a line for each way, a dot for each group, and natural images as a dashed line."""
    ways = list(measures)
    figure = Figure(figsize=(2.6 * len(labels) + 1, 0.9 + 0.28 * len(ways)), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(labels), sharey=True, squeeze=False)[0], labels, strict=True):
        for y, way in enumerate(ways):
            values = measures[way][name]
            axis.plot(values, np.full(len(values), y), "o", c="tab:blue", ms=4, alpha=0.6)
            axis.plot([values.mean()] * 2, [y - 0.3, y + 0.3], c="tab:red", lw=1.5)
        if name in reference:
            axis.axvline(reference[name].mean(), c="0.4", ls="--", lw=1)
        axis.set_xlabel(_wrapped(labels[name]), fontsize=8)
        axis.grid(axis="y", color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.set_yticks(range(len(ways)), ways)
    figure.axes[0].set_ylim(len(ways) - 0.5, -0.5)
    return figure


def _wrapped(label):
    """In two lines."""
    words = label.split()
    half = (len(words) + 1) // 2
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])


def pictures(
    names: Sequence[str],
    found: Mapping[str, Mapping[str, np.ndarray]],
    classes: np.ndarray,
    columns: int = COLUMNS,
    size: float = 1.1,
) -> Figure:
    """A row for each way, a column for each of the first classes: the first start's images, with their confidence."""
    places = [int(np.flatnonzero(classes == k)[0]) for k in dict.fromkeys(classes.tolist())][:columns]
    panels = [list(each["pixels"][places] / 255) for each in found.values()]
    figure, axes = plots.grid(panels, [names[classes[place]] for place in places], list(found), size)
    for row, each in zip(axes, found.values(), strict=True):
        for axis, sure in zip(row, generator_codes.confidence(each["logits"], classes)[places], strict=True):
            axis.set_xlabel(f"{100 * sure:.1f} %", fontsize=7, labelpad=2)
    return figure
