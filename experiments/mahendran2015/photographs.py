"""Pre-images of photographs from layers of an ImageNet network, in the second form (Mahendran & Vedaldi 2016)."""

import dataclasses
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
    subject, classifier, data = load(config)
    before, found = work.stage("photographs", partial(predictions, classifier, classifier.images)), {}
    jobs = [(layer, form) for layer, forms in consistency.forms_of(config).items() for form in forms]
    for layer, form in work.progress(jobs, "layers"):
        name, pair = f"{layer.replace('/', '-')}-{exact(form.weight)}", of_layer(layer, subject, classifier, config)
        found[layer, form.weight] = work.stage(name, partial(inverted, *pair, layer, form, config.seed))
    numbers, claims, panels = [], [], [preimages_panel(classifier, data.names, before, found, config)]
    for weight in config.weights_of_loss:
        by_layer = {layer: found[layer, weight] for layer in config.layers}
        panels.append(measures_panel(before, by_layer, weight, config))
        numbers += numbers_of(by_layer, weight)
        claims += claims_of(by_layer, weight, config.classifier)
    return Report(numbers, claims, panels)


def load(config: PhotographInversion) -> tuple[Subject, Subject, Examples]:
    """The inverted network and the one that predicts classes, with the images of the configuration."""
    data = examples.load(config.images, config.count, config.first)
    model = models.load(config.network, config.weights)
    model = model._replace(input=dataclasses.replace(model.input, size=config.side))
    subject = preimages.from_images(model, data.images, config.mean)
    return subject, subject._replace(model=models.load(config.classifier)) if config.classifier else subject, data


def of_layer(layer: str, subject: Subject, classifier: Subject, config: PhotographInversion) -> tuple[Subject, Subject]:
    """The network that a layer belongs to, and the one that predicts classes, with the images that are used for it."""
    images = subject.images[: image_count(layer, config)]
    own = classifier if layer == config.layers[-1] else subject
    return own._replace(images=images), classifier._replace(images=images)


def image_count(layer: str, config: PhotographInversion) -> int:
    """Number of images that are used for a layer: the claims about the first and the last need most."""
    return config.count if layer in (config.layers[0], config.layers[-1]) else min(config.inner, config.count)


def predictions(subject: Subject, x: Array) -> dict[str, np.ndarray]:
    """The most probable class of each image, its probability, and that of the photograph's class, (N,) each."""
    inputs = map(subject.inputs, (subject.images, x))
    own, found = (np.asarray(jax.nn.softmax(network.call(subject.model.net, each))) for each in inputs)
    own_class = found[np.arange(len(found)), own.argmax(1)]
    return {"answer": found.argmax(1), "sure": found.max(1), "probability": own_class}  # lint: keep


def inverted(subject, classifier, layer, form, seed):
    """Pre-images (N, H, W, C), their relative errors, correlations with the photographs, and predictions."""
    found = consistency.approximated(subject, layer, form, seed)
    found |= predictions(classifier, found["images"])
    similar = correlations(np.asarray(subject.images), np.asarray(found["images"]))
    same = found["answer"] == classifier.classes(classifier.images)  # lint: keep
    return found | {"alike": similar, "same": same}  # lint: keep


def preimages_panel(classifier, names, before, found, config):
    """A row for each photograph and weight of the loss, a column for each layer."""
    rows, titles = [], []
    for n in range(min(config.shown, config.inner, config.count)):
        for weight in config.weights_of_loss:
            rows.append((n, [found[layer, weight] for layer in config.layers]))
            titles.append(f"{names[n]}\nC = {weight:g}")
    caption = (
        f"Photographs, and pre-images of the features of one layer each, by the second paper's form.{classes(config)}"
    )
    alt = "Rows of a photograph and pictures that retain ever less of it from left to right."
    return Panel("preimages", predicted_grid(classifier, before, rows, columns(config), titles), caption, alt)


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


def columns(config: PhotographInversion) -> list[str]:
    """Titles of the layers."""
    *others, last = config.layers
    return [*others, f"{last} of\n{config.classifier}" if config.classifier else last]


def classes(config: PhotographInversion) -> str:
    """What a figure's caption says of the predictions, and of the last layer where another network makes them."""
    if not config.classifier:
        return " Under each, the class that the network predicts, and its probability."
    return (
        f" The layers are those of {config.network}, which has no classes: those under the images, with their "
        f"probabilities, are predicted by {config.classifier}. The last column is made from its {config.layers[-1]}."
    )


def prediction_label(name: str, probability: float) -> str:
    """A class, shortened to 19 letters, and its probability."""
    name = name.replace("_", " ")
    return f"{name if len(name) < 20 else name[:18] + '…'}: {probability:.2f}"


def measures_panel(before, found, weight, config):
    """Errors, correlations and probabilities by layer."""
    table = {
        "relative error of features": stacked(found, "error"),
        "correlation with the photograph": stacked(found, "alike"),  # lint: keep
        GAIN: stacked(found, "probability") - before["probability"][:, None],
    }
    caption = (
        f"What pre-images with C = {weight:g} retain, by layer: a dot for each of {counts(config)}, and their mean. "
        "Error: distance of the features from the target ones as a share of their norm. Middle: in pixels. Right: gain "
        "in the probability of the class that the network predicts for the photograph."
    )
    return dots_panel(f"measures-{weight:g}", table, columns(config), caption)


def stacked(found: Mapping[str, Mapping[str, np.ndarray]], key: str) -> np.ndarray:
    """One measure, (photographs, layers); NaN where a photograph was not used for a layer."""
    columns = [np.asarray(each[key], np.float64) for each in found.values()]
    count = max(map(len, columns))
    return np.stack([np.pad(column, (0, count - len(column)), constant_values=np.nan) for column in columns], 1)


def counts(config: PhotographInversion) -> str:
    """How many photographs a figure's caption says there are."""
    inner = image_count(config.layers[1], config)
    return f"{config.count} photographs" + (
        f" ({inner} in layers between the first and the last)" if inner < config.count else ""
    )


def dots_panel(name: str, table: Mapping[str, np.ndarray], layers: Sequence[str], caption: str) -> Panel:
    """Axes for each measure (photographs, layers): dots, and a line through their means."""
    figure, (axes,) = figures.axes(1, len(table), (3.6, 3))
    for axis, (label, values) in zip(axes, table.items(), strict=True):
        axis.plot(values.T, "o", c="0.6", ms=4)
        axis.plot(np.nanmean(values, 0), "-", c="tab:red")
        axis.set_xticks(range(len(layers)), layers, rotation=50, ha="right", fontsize=8)
        axis.set_ylabel(label, fontsize=9)
        low, high = min(0, np.nanmin(values)), max(0, np.nanmax(values))
        axis.axhline(0, c="0.8", lw=0.8, zorder=0)
        axis.set_ylim(low - 0.05 * (high - low) * (low < 0), high + 0.05 * (high - low))
    return Panel(name, figure, caption, "Three panels of dots over layers, and a line through their means.")


def numbers_of(found, weight):
    """Measures of every layer."""
    names = {"error": "relative error", "alike": "correlation of photograph and pre-image"}  # lint: keep
    names |= {"same": "same class", "probability": "probability of the photograph's class"}
    return means({f"{layer}, C = {weight:g}": each for layer, each in found.items()}, names)


def claims_of(found, weight, classifier=""):
    """Claims on the first and the last layers, tested over photographs."""
    similar, (first, *_, last) = stacked(found, "alike"), found  # lint: keep
    own = similar[:, : -1 if classifier else None]  # of the layers of one network
    same, deepest = found[last]["same"], [*found][own.shape[1] - 1]
    return [
        Claim(
            f"Images are photographic when inverted from the first layer, and grow vaguer with depth (C = {weight:g}).",
            "figures of inversions (the threshold is ours)",
            statistics.all_of([statistics.wilcoxon(own[:, 0], PHOTOGRAPHIC), statistics.page_trend(own)]),
            f"correlation of photograph and pre-image {own[:, 0].mean():.2f} in {first} (photographic: above "
            f"{PHOTOGRAPHIC:g}), {np.nanmean(own[:, -1]):.2f} in {deepest}",
        ),
        Claim(
            f"Most pre-images of the last layer keep the predicted class (C = {weight:g}).",
            "classification consistency (the threshold is ours)",
            statistics.binomial(same),
            f"the network predicts the photograph's class for {same.sum()} of {len(same)} pre-images of {last}",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's inversions, and the predictions."""
    steps, weights = [], len(config.weights_of_loss)
    for layer in config.layers:
        count = image_count(layer, config)
        calls = dry_run.calls(count, consistency.BATCH) * weights * sum(config.steps)
        batch_size = min(consistency.BATCH, count)
        steps += preimages.plan(network_of(layer, config), (layer,), batch_size, calls, config.side)
    return [*steps, predictions_step(config, 1 + weights * len(config.layers))]


def network_of(layer: str, config: PhotographInversion) -> str:
    """The name of the network that a layer belongs to."""
    return config.classifier if config.classifier and layer == config.layers[-1] else config.network


def predictions_step(config: PhotographInversion, calls: int) -> dry_run.Step:
    """The predictions for all images before and after, as a step of a dry run."""
    name = config.classifier or config.network
    return dry_run.forward(name, config.count, 2 * calls, name="predictions", side=config.side)


EXPERIMENT = Experiment[Config](
    name="mahendran2015/photographs",
    title="What an ImageNet network's layers retain of photographs",
    figure="figures of inversions",
    paper=papers.MAHENDRAN2016,
    summary=(
        "What does each layer of VGG16 retain of a photograph? An image with the same features is optimised under "
        "priors for smooth images of moderate colours, jittered by a quarter of the layer's stride. By default the "
        "network was tuned for edges and has no classes: these are EfficientNet-Lite0's, whose logits are inverted, "
        "too."
    ),
    run=run,
    plan=plan,
    minutes=6,
)

if __name__ == "__main__":
    main(EXPERIMENT)
