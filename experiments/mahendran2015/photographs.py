"""Pre-images of photographs from layers of an ImageNet network, in the second form (Mahendran & Vedaldi 2016)."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import numpy as np
from jax import Array

from configs.base import PhotographInversion
from configs.mahendran2015.photographs import Config
from experiments.lib import dry_run, figures, papers, preimages, statistics
from experiments.lib.measures import correlations
from experiments.lib.preimages import Subject
from experiments.lib.report import Claim, Panel, Report, means
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.workspace import exact
from experiments.mahendran2015 import consistency
from xai_jax import models, network, plots
from xai_jax.data import examples
from xai_jax.data.examples import Examples

PHOTOGRAPHIC = 0.9  # threshold of the correlation with the photograph
GAIN = "probability of the photograph's\nclass, less that in the photograph"


def run(config: Config, work: Workspace) -> Report:
    """Inverts every layer with every weight, and classifies the pre-images."""
    subject, data = load(config)
    before, found = work.stage("photographs", partial(predictions, subject, subject.images)), {}
    jobs = [(layer, form) for layer, forms in consistency.forms_of(config).items() for form in forms]
    for layer, form in work.progress(jobs, "layers"):
        name = f"{layer.replace('/', '-')}-{exact(form.weight)}"
        found[layer, form.weight] = work.stage(name, partial(inverted, subject, layer, form, config.seed))
    numbers, claims, panels = [], [], [preimages_panel(subject, data.names, before, found, config)]
    for weight in config.weights_of_loss:
        by_layer = {layer: found[layer, weight] for layer in config.layers}
        panels.append(measures_panel(before, by_layer, weight, config))
        numbers += numbers_of(by_layer, weight)
        claims += claims_of(by_layer, weight)
    return Report(numbers, claims, panels)


def load(config: PhotographInversion) -> tuple[Subject, Examples]:
    """The network and the images of the configuration."""
    data = examples.load(config.images, config.count)
    return preimages.from_images(models.load(config.network, config.weights), data.images, config.mean), data


def predictions(subject: Subject, x: Array) -> dict[str, np.ndarray]:
    """The most probable class of each image, its probability, and that of the photograph's class, (N,) each."""
    inputs = map(subject.inputs, (subject.images, x))
    own, found = (np.asarray(jax.nn.softmax(network.call(subject.model.net, each))) for each in inputs)
    own_class = found[np.arange(len(found)), own.argmax(1)]
    return {"answer": found.argmax(1), "sure": found.max(1), "probability": own_class}  # lint: keep


def inverted(subject, layer, form, seed):
    """Pre-images (N, H, W, C), their relative errors, correlations with the photographs, and predictions."""
    found = consistency.inverted(subject, layer, form, seed)
    similar = correlations(np.asarray(subject.images), np.asarray(found["images"]))
    return found | predictions(subject, found["images"]) | {"alike": similar}  # lint: keep


def preimages_panel(subject, names, before, found, config):
    """A row for each photograph and weight of the loss, a column for each layer."""
    rows, titles = [], []
    for n in range(min(config.shown, config.count)):
        for weight in config.weights_of_loss:
            rows.append((n, [found[layer, weight] for layer in config.layers]))
            titles.append(f"{names[n]}\nC = {weight:g}")
    caption = (
        "Photographs, and pre-images of the features of one layer each, by the second paper's form. Under each, the "
        "class that the network predicts, and its probability."
    )
    alt = "Rows of a photograph and pictures that retain ever less of it from left to right."
    return Panel("preimages", predicted_grid(subject, before, rows, config.layers, titles), caption, alt)


def predicted_grid(subject: Subject, before: dict, rows: Sequence[tuple], layers: Sequence[str], titles: Sequence[str]):
    """A figure of photographs and what was made of them, with the predicted class and its probability below.

    `rows` are pairs of a photograph's index and, for each layer, the images and predictions of all photographs.
    """
    photographs = before | {"images": subject.images}
    grid = [[subject.pixels(each["images"][n]) for each in (photographs, *found)] for n, found in rows]
    figure, axes = plots.grid(grid, ["photograph", *layers], titles, 1.6)
    for row, (n, found) in zip(axes, rows, strict=True):
        for axis, each in zip(row, (photographs, *found), strict=True):
            name, probability = subject.model.classes[each["answer"][n]], each["sure"][n]  # lint: keep
            axis.set_xlabel(prediction_label(name, probability), fontsize=6.5, labelpad=2)
    return figure


def prediction_label(name: str, probability: float) -> str:
    """A class, shortened to 19 letters, and its probability."""
    return f"{name if len(name) < 20 else name[:18] + '…'}: {probability:.2f}"


def measures_panel(before, found, weight, config):
    """Errors, correlations and probabilities by layer."""
    table = {
        "relative error of features": stacked(found, "error"),
        "correlation with the photograph": stacked(found, "alike"),  # lint: keep
        GAIN: stacked(found, "probability") - before["probability"][:, None],
    }
    caption = (
        f"What pre-images with C = {weight:g} retain, by layer: a dot for each of {config.count} photographs, and "
        "their mean. Error: distance of the features from the target ones as a share of their norm. Right: gain in "
        "the probability of the class that the network predicts for the photograph."
    )
    return dots_panel(f"measures-{weight:g}", table, config.layers, caption)


def stacked(found: Mapping[str, Mapping[str, np.ndarray]], key: str) -> np.ndarray:
    """One measure, (photographs, layers)."""
    return np.stack([each[key] for each in found.values()], 1)


def dots_panel(name: str, table: Mapping[str, np.ndarray], layers: Sequence[str], caption: str) -> Panel:
    """Axes for each measure (photographs, layers): dots, and a line through their means."""
    figure, (axes,) = figures.axes(1, len(table), (3.6, 3))
    for axis, (label, values) in zip(axes, table.items(), strict=True):
        axis.plot(values.T, "o", c="0.6", ms=4)
        axis.plot(values.mean(0), "-", c="tab:red")
        axis.set_xticks(range(len(layers)), layers, rotation=50, ha="right", fontsize=8)
        axis.set_ylabel(label, fontsize=9)
        low, high = min(0, values.min()), max(0, values.max())
        axis.axhline(0, c="0.8", lw=0.8, zorder=0)
        axis.set_ylim(low - 0.05 * (high - low) * (low < 0), high + 0.05 * (high - low))
    return Panel(name, figure, caption, "Three panels of dots over layers, and a line through their means.")


def numbers_of(found, weight):
    """Measures of every layer."""
    names = {"error": "relative error", "alike": "correlation of photograph and pre-image"}  # lint: keep
    names |= {"same": "same class", "probability": "probability of the photograph's class"}
    return means({f"{layer}, C = {weight:g}": each for layer, each in found.items()}, names)


def claims_of(found, weight):
    """Claims on the first and the last layers, tested over photographs."""
    similar, (first, *_, last) = stacked(found, "alike"), found  # lint: keep
    same = found[last]["same"]
    return [
        Claim(
            f"Images are photographic when inverted from the first layer, and grow vaguer with depth (C = {weight:g}).",
            "figures of inversions (the threshold is ours)",
            statistics.all_of([statistics.wilcoxon(similar[:, 0], PHOTOGRAPHIC), statistics.page_trend(similar)]),
            f"correlation of photograph and pre-image {similar[:, 0].mean():.2f} in {first} (photographic: above "
            f"{PHOTOGRAPHIC:g}), {similar[:, -1].mean():.2f} in {last}",
        ),
        Claim(
            f"Most pre-images of the last layer keep the predicted class (C = {weight:g}).",
            "classification consistency (the threshold is ours)",
            statistics.binomial(same),
            f"the network predicts the photograph's class for {same.sum()} of {len(same)} pre-images of {last}",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's inversions, and the network's predictions."""
    batch_size, weights = min(consistency.BATCH, config.count), len(config.weights_of_loss)
    calls = dry_run.calls(config.count, consistency.BATCH) * weights * sum(config.steps)
    steps = preimages.plan(config.network, config.layers, batch_size, calls)
    forward = dry_run.forward(config.network, config.count, 2 * (1 + weights * len(config.layers)), name="predictions")
    return [*steps, forward]


EXPERIMENT = Experiment[Config](
    name="mahendran2015/photographs",
    title="What an ImageNet network's layers retain of photographs",
    figure="figures of inversions",
    paper=papers.MAHENDRAN2016,
    summary=(
        "What does each layer of an ImageNet network retain of a photograph? An image with the same features is "
        "optimised under priors for smooth images of moderate colours, jittered by a quarter of the layer's stride. By "
        "default the network is EfficientNet-Lite0, the images are five photographs of scikit-image."
    ),
    run=run,
    plan=plan,
    minutes=5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
