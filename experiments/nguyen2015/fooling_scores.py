"""Shared by experiments on fooling images: confidence of the fooled network, realism by an evaluation network."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from experiments.lib import evaluation_networks, statistics
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.lib.generator_codes import DEPENDENT
from experiments.lib.report import Claim, Number
from xai_jax import models, plots
from xai_jax.data import datasets
from xai_jax.models import LoadedModel
from xai_jax.plots.figure import Figure

CONFIDENT = 0.9999  # median confidence in the abstract
BEYOND = 0.95  # quantile of the distances of natural images that a fooling image exceeds if it is far
FAR = 3.0  # ratio of Frechet distances that counts as far; these two are ours, set before any run
COLUMNS = 13  # classes in figures, the first


def load(config: Any) -> tuple[LoadedModel, EvaluationNetwork]:
    """The network to fool, and the evaluation network of a configuration."""
    return models.load(config.network, config.weights), evaluation_networks.load(config)


def bounds(model: LoadedModel) -> tuple[Array, Array]:
    """The network's input for black and for white, one value for each channel."""
    return model.input.limits


def measure(model: LoadedModel, x: Array, classes: Any) -> dict[str, np.ndarray]:
    """Inputs (N, H, W, C) as pixels (N, H, W, 3), with the network's confidence in `classes` (N,), and in the pixels.

    Pixels are whole numbers, so that confidence in them ("kept") is that in the image as stored in a file.
    """
    pixels = model.to_pixels(x)
    confidences = (confidence(model, each, classes) for each in (x, model.preprocess(list(pixels))))
    return {"pixels": pixels} | dict(zip(("confidence", "kept"), confidences, strict=True))


def confidence(model: LoadedModel, x: Array, classes: Any) -> np.ndarray:
    """The network's probabilities of `classes` (N,), one for each input."""
    return np.asarray(jax.nn.softmax(evaluation_networks.features(model.net, x)))[np.arange(len(x)), classes]


def evaluate(evaluator: EvaluationNetwork, pixels: np.ndarray, classes: Any, config: Any) -> dict[str, np.ndarray]:
    """Realism, with distances in the layer `config.middle`, too, and which natural images are classified correctly."""
    late, middle = (
        evaluation_networks.evaluate(evaluator._replace(layer=layer), pixels, classes)
        for layer in (config.evaluation_layer, config.middle)
    )
    data = datasets.numbered(datasets.load(config.data, config.split), evaluator.model.classes)
    labels = np.array([data[i][1] for i in range(len(evaluator.natural))])
    known = evaluation_networks.features(evaluator.model.net, evaluator.natural).argmax(1) == labels
    distances = ("distance", "natural distance", "frechet", "natural frechet")
    return late | {f"middle {name}": middle[name] for name in distances} | {"known": known}


def in_middle(evaluated: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The result of `evaluate` with the distances in the middle layer in place of the others."""
    middle = {name.removeprefix("middle "): value for name, value in evaluated.items() if name.startswith("middle ")}
    return dict(evaluated) | middle


def image_grid(
    model: LoadedModel,
    evaluator: EvaluationNetwork,
    found: Mapping[str, np.ndarray],
    neighbours: np.ndarray,
    titles: Sequence[str],
    rows: Sequence[str],
) -> Figure:
    """A row of images for each title in `rows`, a column for each class, and the natural image nearest to the first.

    `found` has pixels (rows or more, K, H, W, 3) and confidence (rows or more, K); `neighbours` (K,).
    """
    columns = min(COLUMNS, found["pixels"].shape[1])
    panels = [list(row[:columns] / 255) for row in found["pixels"][: len(rows)]]
    panels.append(list(evaluator.model.to_pixels(np.asarray(evaluator.held_out)[neighbours[:columns]]) / 255))
    figure, axes = plots.grid(panels, titles[:columns], [*rows, "nearest\nnatural image"], 1.1)
    for values, line in zip(found["confidence"], axes[:-1], strict=False):
        for value, axis in zip(values, line, strict=False):
            axis.set_xlabel(percent(value), fontsize=7, labelpad=2)
    return figure


def percent(confidence: float) -> str:
    """A fraction as percent that is never rounded to 100: 99.9987 %, 43.1 %."""
    if 1 - confidence < 1e-6:
        return "> 99.9999 %"
    return f"{100 * confidence:.4f} %" if confidence > 0.999 else f"{100 * confidence:.1f} %"


def numbers(evaluated: Mapping[str, np.ndarray], kept: np.ndarray) -> list[Number]:
    """Confidence in whole pixels (N,), and realism."""
    middle = (
        dataclasses.replace(n, name=f"{n.name}, middle layer")
        for n in evaluation_networks.numbers(in_middle(evaluated))[1:]
    )
    return [
        Number("median confidence after rounding to whole pixel values", 100 * np.median(kept), unit="%"),
        Number("accuracy of that network on natural images", evaluated["known"].mean()),
        *evaluation_networks.numbers(evaluated),
        *middle,
    ]


def confidence_claim(text: str, confidence: np.ndarray) -> Claim:
    """The claim that the confidence in most images is the median of the paper's abstract."""
    return Claim(
        text,
        "abstract",
        statistics.binomial(confidence >= CONFIDENT),
        f"median {percent(np.median(confidence))}, the lowest {percent(confidence.min())}; images with at least "
        f"{100 * CONFIDENT:g} %",
    )


def realism_claims(evaluated: Mapping[str, np.ndarray], classes: int, config: Any) -> list[Claim]:
    """Claims that images are unrecognisable to another network, of `classes`, and far from natural ones."""
    independent, source = config.evaluation_network != config.network, "title (the measures are ours)"
    agreement = statistics.binomial(evaluated["agrees"], 1 / classes, "less")
    ratio = float(evaluated["frechet"] / evaluated["natural frechet"])
    found = [
        Claim(
            "The images are unrecognisable: another network agrees with their classes less than at chance level.",
            source,
            statistics.where(independent, agreement, DEPENDENT),
            f"images with agreement; its accuracy on natural images is {100 * evaluated['known'].mean():.0f} %",
        )
    ]
    for layers, measures in (("last", evaluated), ("middle", in_middle(evaluated))):
        far = statistics.binomial(measures["distance"] > np.quantile(measures["natural distance"], BEYOND))
        text = f"They are farther from natural images than natural ones are, in another network's {layers} layers."
        measured = f"images farther from the nearest natural image than {100 * BEYOND:g} % of natural ones"
        found.append(Claim(text, source, statistics.where(independent, far, DEPENDENT), measured))
    measured = "Frechet distance, relative to that of as many natural images"
    threshold = statistics.at_least(ratio, FAR, applies=independent)
    return [*found, Claim("As a set they are far from natural images.", source, threshold, measured)]
