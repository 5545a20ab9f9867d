"""Pre-images of photographs from layers of an ImageNet network, in the second form (Mahendran & Vedaldi 2016)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import dry_run, generator_codes, preimages, runner
from experiments.lib.measures import correlations
from experiments.lib.preimages import Subject
from experiments.lib.runner import Claim, Number
from experiments.mahendran2015 import consistency
from xai_jax import models, network, plots
from xai_jax.data import examples
from xai_jax.data.examples import Examples

PHOTOGRAPHIC = 0.9  # correlation with the photograph that is asked for
SURER = "probability of the photograph's\nclass, less that in the photograph"


def run(config: Any, run: runner.Run) -> None:
    """Inverts every layer with every weight, and asks the network what it sees."""
    subject, data = load(config)
    seen, found = run.stage("photographs", partial(answers, subject, subject.images)), {}
    jobs = [(layer, form) for layer, forms in consistency.forms_of(config).items() for form in forms]
    for layer, form in run.progress(jobs, "layers"):
        name = f"{layer.replace('/', '-')}-{form.weight:g}"
        found[layer, form.weight] = run.stage(name, partial(one, subject, layer, form, config.seed))
    run.figure("preimages", *pictures(subject, data, seen, found, config))
    for weight in config.weights_of_loss:
        run.figure(f"measures-{weight:g}", *measures(seen, found, weight, config))
        report(run, found, weight, config)


def load(config: Any) -> tuple[Subject, Examples]:
    """The network and the images that `config` names: `network`, `weights`, `images`, `count`, `mean`."""
    data = examples.load(config.images, config.count)
    return preimages.from_images(models.load(config.network, config.weights), data.images, config.mean), data


def answers(subject: Subject, x: Array) -> dict[str, np.ndarray]:
    """The likeliest class of each image, its probability, and that of the photograph's likeliest class, (N,) each."""
    inputs = map(subject.inputs, (subject.images, x))
    own, found = (np.asarray(jax.nn.softmax(network.call(subject.model.net, each))) for each in inputs)
    return {
        "answer": found.argmax(1),
        "sure": found.max(1),
        "probability": found[np.arange(len(found)), own.argmax(1)],
    }


def one(subject, layer, form, seed):
    """Pre-images (N, H, W, C), their relative errors, likeness to the photographs, and what the network sees."""
    found = consistency.inverted(subject, layer, form, seed)
    likeness = correlations(np.asarray(subject.images), np.asarray(found["images"]))
    return found | answers(subject, found["images"]) | {"alike": likeness}


def pictures(subject, data, seen, found, config):
    """A row for each photograph and weight of the loss, a column for each layer."""
    panels, rows, below = [], [], []
    for n in range(min(config.shown, config.count)):
        for weight in config.weights_of_loss:
            columns = [seen | {"images": subject.images}, *(found[layer, weight] for layer in config.layers)]
            panels.append([subject.pixels(each["images"][n]) for each in columns])
            below.append([(subject.model.classes[each["answer"][n]], each["sure"][n]) for each in columns])
            rows.append(f"{data.names[n]}\nC = {weight:g}")
    figure, axes = plots.grid(panels, ["photograph", *config.layers], rows, 1.6)
    write_below(axes, below)
    caption = (
        "Photographs, and images found from the features of one layer each, by the second paper's form. Under each, "
        "the class that the network takes it for, and with what probability."
    )
    return figure, caption, "Rows of a photograph and pictures that keep ever less of it from the left to the right."


def write_below(axes: np.ndarray, answers: Sequence[Sequence[tuple[str, float]]]) -> None:
    """The network's answer and its probability under each panel."""
    for row, texts in zip(axes, answers, strict=True):
        for axis, (name, sure) in zip(row, texts, strict=True):
            axis.set_xlabel(f"{name if len(name) < 20 else name[:18] + '…'}: {sure:.2f}", fontsize=6.5, labelpad=2)


def measures(seen, found, weight, config):
    """Errors, likeness and probabilities by layer."""
    before = seen["probability"][:, None]
    table = {
        "relative error of features": gathered(found, "error", weight, config),
        "correlation with the photograph": gathered(found, "alike", weight, config),
        SURER: gathered(found, "probability", weight, config) - before,
    }
    caption = (
        f"What pre-images with C = {weight:g} keep, by layer: a dot for each of {config.count} photographs, and their "
        "mean. Error: distance of the features from the wanted ones as a share of their length. Right: how much surer "
        "the network is of the class that it gives the photograph."
    )
    return curves(table, config.layers), caption, "Three panels of dots over layers, and a line through their means."


def gathered(found, key, weight, config):
    """One measure, (photographs, layers)."""
    return np.stack([found[layer, weight][key] for layer in config.layers], 1)


def curves(table: Mapping[str, np.ndarray], layers: Sequence[str]) -> Figure:
    """A panel for each measure (photographs, layers): dots, and a line through their means."""
    figure = Figure(figsize=(3.6 * len(table), 3), layout="constrained")
    for axis, (label, values) in zip(figure.subplots(1, len(table), squeeze=False)[0], table.items(), strict=True):
        places = np.broadcast_to(np.arange(len(layers)), values.shape)
        axis.plot(places.ravel(), values.ravel(), "o", c="0.6", ms=4)
        axis.plot(places[0], values.mean(0), "-", c="tab:red")
        axis.set_xticks(places[0], layers, rotation=50, ha="right", fontsize=8)
        axis.set_ylabel(label, fontsize=9)
        low, high = min(0, values.min()), max(0, values.max())
        axis.axhline(0, c="0.8", lw=0.8, zorder=0)
        axis.set_ylim(low - 0.05 * (high - low) * (low < 0), high + 0.05 * (high - low))
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def falls(values: np.ndarray) -> tuple[bool | None, str]:
    """Whether values (photographs, layers) fall with depth: Page's test, in which each photograph ranks the layers.

    None where it cannot tell a fall from a rise; and how this is said.
    """
    if len(values) < 2 or values.shape[1] < 3:
        return None, "too few photographs or layers for a test"
    down, up = (stats.page_trend_test(sign * values).pvalue for sign in (-1, 1))
    return runner.told(down, up), f"Page's test: p = {down:.2g} for a fall, {up:.2g} for a rise"


def report(run, found, weight, config):
    """Measures of every layer, and claims about the first and the last ones."""
    for layer in config.layers:
        each, where = found[layer, weight], f"{layer}, C = {weight:g}"
        run.numbers += [
            Number.mean(f"relative error, {where}", each["error"]),
            Number.mean(f"correlation of photograph and pre-image, {where}", each["alike"]),
            Number.mean(f"same class, {where}", each["same"].astype(float)),
            Number.mean(f"probability of the photograph's class, {where}", each["probability"]),
        ]
    kept, (first, last) = gathered(found, "alike", weight, config), (config.layers[0], config.layers[-1])
    vaguer, test = falls(kept)
    same, count = generator_codes.mostly(found[last, weight]["same"])
    run.claims += [
        Claim(
            f"Images are photographic when inverted from the first layer, and grow vaguer with depth (C = {weight:g}).",
            "figures of inversions (how much is asked is ours)",
            False if kept[:, 0].min() < PHOTOGRAPHIC else vaguer,
            f"correlation of photograph and pre-image {kept[:, 0].min():.2f} or more in {first}, where "
            f"{PHOTOGRAPHIC:g} is asked for, {kept[:, -1].mean():.2f} on average in {last}; {test}",
        ),
        Claim(
            f"Pre-images of the last layer keep the network's answer, for most photographs (C = {weight:g}).",
            "classification consistency (how much is asked is ours)",
            same,
            f"in pre-images of {last} the network sees what it sees in the photograph in {count}",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of each layer's inversions, and the network's answers."""
    together, weights = min(consistency.BATCH, config.count), len(config.weights_of_loss)
    calls = -(-config.count // consistency.BATCH) * weights * sum(config.steps)
    steps = preimages.plan(config.network, config.layers, together, calls)
    return [*steps, answers_step(config, 2 * (1 + weights * len(config.layers)))]


def answers_step(config: Any, calls: int) -> dry_run.Step:
    """The network's answers for all images at once."""
    module, variables, shape = models.abstract(config.network)
    return dry_run.Step(
        "answers", module.apply, (variables, jax.ShapeDtypeStruct((config.count, *shape), jnp.float32)), calls
    )


EXPERIMENT = runner.Experiment(
    name="mahendran2015/photographs",
    title="What an ImageNet network's layers still know of photographs",
    figure="figures of inversions",
    paper="Mahendran and Vedaldi 2016, Visualizing Deep Convolutional Neural Networks Using Natural Pre-images, IJCV",
    summary=(
        "From the features of one layer, and with priors that ask for smooth images of moderate colours, an image is "
        "found that has the same features: jittered by a quarter of the layer's stride while it is found, and then a "
        "little longer without. By default the network is EfficientNet-Lite0 with ImageNet weights, the images are "
        "five photographs that scikit-image ships, and 200 steps with jitter are taken in place of 300. Five tell only "
        "what happens to all of them. The paper's networks and photographs are others."
    ),
    run=run,
    plan=plan,
    minutes=5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
