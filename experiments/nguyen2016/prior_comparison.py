"""Shared by comparisons of priors for preferred inputs: measures of groups of images, claims, and figures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.lib import evaluation_networks, figures, generator_codes, statistics
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.lib.report import Claim, Number, Panel
from xai_jax import network, plots, realism
from xai_jax.plots.figure import Figure

COLUMNS = 13  # classes in a figure, the first
WIDE = 20  # ratio of the highest to the lowest value above which a scale is logarithmic


class Measure(NamedTuple):
    """The label of a measure, and whether higher values are better."""

    label: str
    higher: bool


REALISM = {
    "agreement": Measure("share of images on which another network agrees", True),
    "distance": Measure("distance to the nearest natural image, natural ones' = 1", False),
    "frechet": Measure("Frechet distance from natural images", False),
}
MEASURES = {
    "confidence": Measure("confidence of the explained network", True),
    "logit": Measure("logit of the class", True),
} | REALISM
LABELS = {name: measure.label for name, measure in MEASURES.items()}

Measured = Mapping[str, np.ndarray]  # measures by name, one value for each group of images


def natural_features(evaluator: EvaluationNetwork) -> dict[str, np.ndarray]:
    """Features of natural images, (M, D): the reference, and others."""
    represent, half = network.features(evaluator.model.net, evaluator.layer), len(evaluator.held_out)
    parts = {"held_out": evaluator.held_out, "others": evaluator.natural[half:]}
    return {name: evaluation_networks.features(represent, x) for name, x in parts.items()}


def measure(
    evaluator: EvaluationNetwork,
    features: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    classes: np.ndarray,
    groups: int,
) -> dict[str, np.ndarray]:
    """All `MEASURES` of images, (groups,) each; `found` of `generator_codes.as_pixels`, `features` of natural images.

    The images are those of `groups` sets of starts, one after the other.
    """
    x = evaluator.model.preprocess(list(found["pixels"]))
    shown = evaluation_networks.features(network.features(evaluator.model.net, evaluator.layer), x)
    values = {
        "confidence": generator_codes.confidence(found["logits"], classes),
        "logit": generator_codes.of_own_class(found["logits"], classes),
        "agreement": realism.agreement(evaluator.model.net, x, classes),
        "distance": realism.nearest(shown, features["held_out"])[0],
    }
    means = {name: each.reshape(groups, -1).mean(1) for name, each in values.items()}
    sets = shown.reshape(groups, -1, shown.shape[1])
    return means | {"frechet": np.array([realism.frechet(each, features["held_out"]) for each in sets])}


def natural_reference(features: Mapping[str, np.ndarray], groups: int, size: int) -> dict[str, np.ndarray]:
    """The distances of other natural images, in groups of the same size, or in fewer where there are too few images."""
    others, count = features["others"], min(groups, len(features["others"]) // size)
    sets = others[: count * size].reshape(count, size, -1)
    return {
        "distance": np.array([realism.nearest(each, features["held_out"])[0].mean() for each in sets]),
        "frechet": np.array([realism.frechet(each, features["held_out"]) for each in sets]),
    }


def claim(
    text: str, source: str, name: str, ours: str, measures: Mapping[str, Measured], independent: bool = True
) -> Claim:
    """A claim that one condition is better than each other one, by Mann-Whitney tests of a measure over groups.

    Args:
      text: the claim in words.
      source: where the paper makes it.
      name: key of `REALISM`.
      ours: key of `measures`.
      measures: measures of all conditions.
      independent: whether the evaluation network took no part in the synthesis; else the claim is left open.

    Returns:
      The claim; not supported where ours is worse than one of the others, at the level divided by their number.
    """
    sign = 1 if REALISM[name].higher else -1
    tests = {
        other: statistics.mann_whitney(sign * measures[ours][name], sign * values[name])
        for other, values in measures.items()
        if other != ours
    }
    open_cases = [other for other, test in tests.items() if test.decision != "supported"]
    value, beaten = measures[ours][name].mean(), len(tests) - len(open_cases)
    measured = f"{ours} has {value:.3g} and is significantly better than {beaten} of {len(tests)}"
    if open_cases:
        measured += f", not {', '.join(f'{n} ({measures[n][name].mean():.3g})' for n in open_cases)}"
    verdict = statistics.all_of(list(tests.values()))
    return Claim(text, source, statistics.where(independent, verdict, generator_codes.DEPENDENT), measured)


def numbers(measures: Mapping[str, Measured], reference: Measured) -> list[Number]:
    """All measures of all conditions, and of natural images; means and standard deviations over groups."""
    return [
        Number.mean(f"{LABELS[name]}: {condition}", values)
        for condition, each in [*measures.items(), ("natural images", reference)]
        for name, values in each.items()
    ]


def dots(measures: Mapping[str, Measured], reference: Measured, labels: Mapping[str, str] = LABELS) -> Figure:
    """A panel for each measure: a row of dots over groups for each condition, and natural images as a dashed line."""
    figure = Figure(figsize=(2.6 * len(labels) + 1, 0.9 + 0.28 * len(measures)), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(labels), sharey=True, squeeze=False)[0], labels, strict=True):
        for y, each in enumerate(measures.values()):
            axis.plot(each[name], np.full(len(each[name]), y), "o", c="tab:blue", ms=4, alpha=0.6)
            axis.plot([each[name].mean()] * 2, [y - 0.3, y + 0.3], c="tab:red", lw=1.5)
        if name in reference:
            axis.axvline(reference[name].mean(), c="0.4", ls="--", lw=1)
        _scale(axis, name, np.concatenate([each[name] for each in measures.values()]))
        axis.set_xlabel(_in_two_lines(labels[name]), fontsize=8)
        axis.grid(axis="y", color="0.92")
        figures.hide_spines(axis)
        axis.tick_params(labelsize=8)
        axis.set_yticks(range(len(measures)), list(measures))
    figure.axes[0].set_ylim(len(measures) - 0.5, -0.5)
    return figure


def _scale(axis, name, values):
    """Shares from 0 to 1, and a logarithmic scale where distances of conditions differ by orders of magnitude."""
    if name in ("confidence", "agreement"):
        axis.set_xlim(-0.03, 1.03)
    elif name in ("distance", "frechet") and values.max() > WIDE * values.min() > 0:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter("")


def measures_panel(measures: Mapping[str, Measured], reference: Measured, condition: str, evaluator: str) -> Panel:
    """All measures; `condition` says what a row is, such as "prior", and `evaluator` what the evaluation network is."""
    caption = (
        f"Measures by {condition}: a dot for each group of starts, and their mean in red. The last three panels are "
        f"realism by {evaluator}; dashed, natural images. Lower is better for distances, higher for all others."
    )
    return Panel("measures", dots(measures, reference), caption, f"Five panels of dots, a row for each {condition}.")


def images(
    names: Sequence[str],
    found: Mapping[str, Mapping[str, np.ndarray]],
    classes: np.ndarray,
    columns: int = COLUMNS,
    size: float = 1.1,
) -> Figure:
    """A row for each condition, a column for each of the first classes: the first starts, with their confidence."""
    firsts = [int(np.flatnonzero(classes == k)[0]) for k in dict.fromkeys(classes.tolist())][:columns]
    panels = [list(each["pixels"][firsts] / 255) for each in found.values()]
    figure, axes = plots.grid(panels, [names[classes[first]] for first in firsts], list(found), size)
    for row, each in zip(axes, found.values(), strict=True):
        confidence = generator_codes.confidence(each["logits"], classes)[firsts]
        for axis, value in zip(row, confidence, strict=True):
            axis.set_xlabel(f"{100 * value:.1f} %", fontsize=7, labelpad=2)
    return figure


def _in_two_lines(label):
    words = label.split()
    half = (len(words) + 1) // 2
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])
