"""What experiments on fooling images share: what the network is sure of, and what another network makes of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import evaluation_networks, generator_codes, runner
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.lib.runner import Claim, Number
from xai_jax import models, plots
from xai_jax.data import datasets
from xai_jax.models import LoadedModel

SURE = 0.9999  # median confidence that is asked for (abstract)
BEYOND = 0.95  # share of natural images that a fooling image should be farther than, from the nearest natural one
FAR = 3.0  # times the Frechet distance of natural images that is asked for; these two are ours, set before any run
COLUMNS = 10  # classes in figures, the first


def load(config: Any) -> tuple[LoadedModel, EvaluationNetwork]:
    """The network to fool, and the judge that `config` names."""
    return models.load(config.network, config.weights), evaluation_networks.load(config)


def bounds(model: LoadedModel) -> tuple[Array, Array]:
    """The network's input for black and for white, one value for each channel."""
    return model.input.limits


def measured(model: LoadedModel, x: Array, classes: Any) -> dict[str, np.ndarray]:
    """Inputs (N, H, W, C) as pixels (N, H, W, 3), with the network's confidence in `classes` (N,), and in the pixels.

    Pixels are whole numbers, so that confidence in them is that in the picture as a file keeps it.
    """
    pixels = model.to_pixels(x)
    confidences = (confidence(model, each, classes) for each in (x, model.preprocess(list(pixels))))
    return {"pixels": pixels} | dict(zip(("confidence", "kept"), confidences, strict=True))


def confidence(model: LoadedModel, x: Array, classes: Any) -> np.ndarray:
    """The network's probabilities of `classes` (N,), one for each input."""
    return np.asarray(jax.nn.softmax(evaluation_networks.features(model.net, x)))[np.arange(len(x)), classes]


def judgements(judge: EvaluationNetwork, pixels: np.ndarray, classes: Any, config: Any) -> dict[str, np.ndarray]:
    """The judge's measures, with distances in the layer `middle`, too, and which natural images are known."""
    late, middle = (
        evaluation_networks.evaluate(judge._replace(layer=layer), pixels, classes)
        for layer in (config.evaluation_layer, config.middle)
    )
    data = datasets.load(config.data, config.split)
    labels = np.array([data[i][1] for i in range(len(judge.natural))])
    known = evaluation_networks.features(judge.model.net, judge.natural).argmax(1) == labels
    distances = ("distance", "natural distance", "frechet", "natural frechet")
    return late | {f"middle {name}": middle[name] for name in distances} | {"known": known}


def in_middle(judged: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was judged, with the distances in the middle layer in place of the others."""
    middle = {name.removeprefix("middle "): value for name, value in judged.items() if name.startswith("middle ")}
    return dict(judged) | middle


def pictures(
    model: LoadedModel,
    judge: EvaluationNetwork,
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
    panels.append(list(judge.model.to_pixels(np.asarray(judge.held_out)[neighbours[:columns]]) / 255))
    figure, axes = plots.grid(panels, titles[:columns], [*rows, "nearest\nnatural image"], 1.1)
    for values, line in zip(found["confidence"], axes[:-1], strict=False):
        for value, axis in zip(values, line, strict=False):
            axis.set_xlabel(percent(value), fontsize=7, labelpad=2)
    return figure


def percent(confidence: float) -> str:
    """A share as percent that never says 100 where something is missing: 99.9987 %, 43.1 %."""
    if 1 - confidence < 1e-6:
        return "> 99.9999 %"
    return f"{100 * confidence:.4f} %" if confidence > 0.999 else f"{100 * confidence:.1f} %"


def numbers(judged: Mapping[str, np.ndarray], kept: np.ndarray) -> list[Number]:
    """Confidence in whole pixels (N,), and what the judge found."""
    middle = (
        dataclasses.replace(n, name=f"{n.name}, middle layer")
        for n in evaluation_networks.numbers(in_middle(judged))[1:]
    )
    return [
        Number("median confidence after rounding to whole pixel values", 100 * np.median(kept), unit="%"),
        Number("share of natural images whose class that network knows", judged["known"].mean()),
        *evaluation_networks.numbers(judged),
        *middle,
    ]


def sure(words: str, confidence: np.ndarray) -> Claim:
    """The claim that the median confidence is what the paper's abstract has."""
    median = np.median(confidence)
    return Claim(
        words,
        "abstract",
        bool(median >= SURE),
        f"median {percent(median)}, where {100 * SURE:g} % are asked for; at least that in "
        f"{(confidence >= SURE).sum()} of {confidence.size} images, the least {percent(confidence.min())}",
    )


def like_nothing(judged: Mapping[str, np.ndarray], classes: int, config: Any) -> list[Claim]:
    """Claims that images look like nothing to a judge that knows `classes`, and are far from natural ones.

    None can be told where the judge is the network that was fooled.
    """
    verdicts = {
        "another network agrees with their classes no more often than by chance.": unseen(judged, classes),
        "they are farther from natural images than natural ones are, in another network's last layers.": far(judged),
        "they are farther from natural images than natural ones are, in its middle layers.": far(in_middle(judged)),
        "as a set they are far from natural images.": apart(judged),
    }
    same, source = config.evaluation_network == config.network, "title (how it is measured is ours)"
    return [
        Claim(f"The images look like nothing: {words}", source, None if same else held, how)
        for words, (held, how) in verdicts.items()
    ]


def unseen(judged: Mapping[str, np.ndarray], classes: int) -> tuple[bool | None, str]:
    """Whether agreement is not above chance, by binomial tests, None where these cannot tell; and how this is said."""
    agrees, known = judged["agrees"], 100 * judged["known"].mean()
    more, less = (
        stats.binomtest(int(agrees.sum()), len(agrees), 1 / classes, alternative=side).pvalue
        for side in ("greater", "less")
    )
    test = f"binomial test against 1 in {classes}: p = {more:.2g} for more, {less:.2g} for fewer"
    words = f"agrees on {agrees.sum()} of {len(agrees)}, on {known:.0f} % of natural images; {test}"
    return runner.told(less, more), words


def far(judged: Mapping[str, np.ndarray]) -> tuple[bool | None, str]:
    """Whether most images are farther from the nearest natural one than nearly all other natural images are."""
    limit = np.quantile(judged["natural distance"], BEYOND)
    held, words = generator_codes.mostly(judged["distance"] > limit)
    return held, f"farther from the nearest natural image than {100 * BEYOND:g} % of natural ones: {words}"


def apart(judged: Mapping[str, np.ndarray]) -> tuple[bool, str]:
    """Whether their Frechet distance from natural images is far above that of as many natural ones."""
    ratio = float(judged["frechet"] / judged["natural frechet"])
    return (
        ratio >= FAR,
        f"the Frechet distance is {ratio:.1f} times that of as many natural images; {FAR:g} are asked for",
    )
