"""Pre-images of every layer at three strengths of the prior (Mahendran & Vedaldi 2015, Fig. 6 and Table 3)."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from experiments.lib import dry_run, preimages, runner
from experiments.lib.measures import correlations
from experiments.lib.runner import Claim, Number
from xai_jax import inversion, models, network, plots
from xai_jax.synthesis.inversion import CVPR

# Table 3, unverified: mean and deviation of the error in % at the three strengths.
PAPER = {
    "conv1": ((10.0, 5.0), (20.2, 9.3), (40.8, 17.0)),
    "relu1": ((11.3, 5.5), (22.4, 10.3), (45.2, 18.7)),
    "pool1": ((21.9, 9.2), (30.3, 13.6), (54.1, 22.7)),
    "norm1": ((20.3, 5.0), (28.2, 7.6), (48.1, 11.8)),
    "conv2": ((12.4, 3.1), (20.0, 4.9), (39.7, 9.1)),
    "relu2": ((12.9, 5.3), (17.4, 5.0), (32.8, 7.7)),
    "pool2": ((15.5, 4.7), (18.2, 5.5), (32.7, 8.0)),
    "norm2": ((15.9, 4.6), (18.4, 5.0), (32.4, 7.0)),
    "conv3": ((14.5, 4.7), (14.4, 3.6), (25.6, 5.6)),
    "relu3": ((16.5, 5.3), (15.1, 3.3), (26.9, 5.2)),
    "conv4": ((14.9, 3.8), (13.3, 2.6), (23.3, 4.1)),
    "relu4": ((13.8, 3.8), (14.0, 2.8), (23.9, 4.6)),
    "conv5": ((12.6, 2.8), (15.4, 2.7), (25.7, 4.3)),
    "relu5": ((15.6, 5.1), (13.9, 3.2), (20.1, 4.3)),
    "pool5": ((16.6, 4.6), (15.5, 3.5), (19.0, 4.3)),
    "fc6": ((12.4, 3.5), (14.2, 3.7), (18.6, 4.9)),
    "relu6": ((15.8, 4.5), (13.7, 3.1), (18.7, 3.8)),
    "fc7": ((12.8, 6.4), (15.4, 10.3), (17.1, 3.4)),
    "relu7": ((10.5, 1.9), (10.8, 1.6), (15.5, 2.1)),
    "fc8": ((5.3, 1.1), (5.9, 0.9), (8.5, 1.3)),
}
BAR = 20.0  # %, which errors "rarely exceed"


def run(config: Any, run: runner.Run) -> None:
    """Inverts every layer at every strength, and draws what comes out."""
    subject = preimages.load(config)
    layers = chosen(subject.model.net, subject.images, config)
    found, jobs = {}, [(layer, strength) for layer in layers for strength in config.total_variations]
    for layer, strength in run.progress(jobs, "layers"):
        found[layer, strength] = run.stage(f"{layer}-{strength:g}", partial(one, subject, layer, strength, config))
    run.figure("layers", *figure(subject, found, layers, config))
    run.figure("table3", *table(found, layers, config))
    report(run, found, layers, config)


def chosen(net, x, config):
    """All layers, or those of the configuration."""
    return config.layers or tuple(network.layer_names(net, x))


def recipe(config: Any, variation: float) -> CVPR:
    """The paper's schedule, longer or shorter."""
    phases = tuple((factor, max(1, round(count * config.steps))) for factor, count in CVPR.phases)
    return CVPR(total_variation=variation, std=config.standard_deviation, phases=phases)


def one(subject, layer, strength, config):
    """Pre-images (N, H, W, C), errors in features, and whether the network gives them the images' classes."""
    x = preimages.invert(subject, layer, recipe(config, strength), config.batch_size, config.seed)
    represent = subject.represent(layer)
    return {
        "images": x,
        "error": inversion.error(represent, x, network.call(represent, subject.images)),
        "same": subject.classes(subject.images) == subject.classes(x),
        "alike": correlations(np.asarray(subject.images), np.asarray(x)),
    }


def strength_of(number: int, config: Any) -> float:
    """The strength that the figure shows a layer at: growing with depth, as in the paper's code."""
    return config.total_variations[min(number // config.lower, len(config.total_variations) - 1)]


def figure(subject, found, layers, config):
    """A row of pre-images for each of the first images, layer by layer, as in Fig. 6."""
    strengths = [strength_of(n, config) for n in range(len(layers))]
    shown = min(config.shown, config.count)
    columns = -(-(len(layers) + 1) // 2)
    cells = [("image", subject.pixels(subject.images[:shown]))]
    for layer, strength in zip(layers, strengths, strict=True):
        cells.append((f"{layer}\n({strength:g})", subject.pixels(found[layer, strength]["images"][:shown])))
    halves = [half for half in (cells[:columns], cells[columns:]) if half]
    figure = Figure(figsize=(1.05 * columns, 1.35 * shown * len(halves)), layout="constrained")
    axes = figure.subplots(shown * len(halves), columns, squeeze=False)
    for axis in axes.ravel():
        plots.show(axis, None)
    for h, half in enumerate(halves):
        for column, (title, rows) in enumerate(half):
            for row in range(shown):
                plots.show(axes[h * shown + row, column], rows[row])
            axes[h * shown, column].set_title(title, fontsize=8)
    caption = (
        "Images whose representation in a layer is that of the image at the upper left, found by gradient descent from "
        "noise; in brackets the strength of the variation's penalty, which grows with depth as in the paper's code."
    )
    return figure, caption, "Rows of small pictures, one for each layer, that grow vaguer from layer to layer."


def table(found, layers, config):
    """Errors by layer and strength with their deviations, and the paper's where layers have the same names."""
    figure = Figure(figsize=(max(7, 0.45 * len(layers) + 2), 3.6), layout="constrained")
    axis = figure.subplots()
    width, places = 0.8 / len(config.total_variations), np.arange(len(layers))
    for n, strength in enumerate(config.total_variations):
        errors = np.array([100 * found[layer, strength]["error"] for layer in layers])
        offset = (n - (len(config.total_variations) - 1) / 2) * width
        label = f"penalty {strength:g}"
        axis.bar(places + offset, errors.mean(1), width, yerr=errors.std(1), label=label, error_kw={"lw": 0.7})
        known = [
            (p + offset, PAPER[name][n][0]) for p, name in zip(places, layers, strict=True) if printed(name, config)
        ]
        if known:
            axis.plot(*zip(*known, strict=True), "k_", label=None if n else "paper (unverified)")
    axis.axhline(BAR, color="0.4", lw=0.8, ls="--")
    axis.set_xticks(places, layers, rotation=60, ha="right", fontsize=8)
    axis.set_ylabel("error of features (%)")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    caption = (
        "Squared distance of the pre-images' features from the wanted ones, in % of the mean distance between images: "
        f"mean and deviation over {config.count} images, by layer and strength of the penalty. Dashed: {BAR:g} %, "
        "which the paper says errors rarely exceed."
    )
    return figure, caption, "Bars of errors by layer, three for each."


def printed(layer: str, config: Any) -> bool:
    """Whether the paper has numbers of this layer of this network."""
    return config.network == "caffenet" and layer in PAPER and config.total_variations == (1.0, 10.0, 100.0)


def report(run, found, layers, config):
    """Errors and likenesses of every layer, and claims about those of the figure."""
    for layer in layers:
        for n, strength in enumerate(config.total_variations):
            number = Number.mean(f"error in {layer}, penalty {strength:g}", 100 * found[layer, strength]["error"])
            paper = {"paper": PAPER[layer][n][0], "paper_tag": "M"} if printed(layer, config) else {}
            run.numbers.append(dataclasses.replace(number, unit="%", **paper))
    shown = [found[layer, strength_of(n, config)] for n, layer in enumerate(layers)]
    errors = 100 * np.concatenate([each["error"] for each in shown])
    above = (errors > BAR).mean()
    run.numbers += [
        Number.mean(f"correlation of image and pre-image, {a}", f["alike"]) for a, f in zip(layers, shown, strict=True)
    ]
    same = shown[-1]["same"].mean()
    kept = np.array([each["alike"].mean() for each in shown])
    run.claims += [
        Claim(
            f"The error rarely exceeds {BAR:g} %.",
            "Fig. 6 and Table 3",
            bool(above < 0.1),
            f"{100 * above:.0f} % of {errors.size} errors, of all layers at the strengths of the figure, are above; "
            f"rarely is taken for less than a tenth. Mean {errors.mean():.1f} %",
        ),
        Claim(
            "The last layer still says what the image shows.",
            "Fig. 6 and Table 3",
            bool(same >= 0.9) if config.count >= 10 else None,
            f"the network's likeliest class is that of the image in {100 * same:.0f} % of {config.count} pre-images of "
            f"{layers[-1]}; nine in ten are asked for here",
        ),
        Claim(
            "Images are photographic when inverted from the first layers, and grow vaguer with depth.",
            "Fig. 6",
            bool(kept[0] > 0.9 and np.polyfit(np.arange(len(kept)), kept, 1)[0] < 0),
            f"correlation of image and pre-image {kept[0]:.2f} in {layers[0]}, {kept[-1]:.2f} in {layers[-1]}",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """Steps of the deepest layer's inversion, for all layers and strengths."""
    module, variables, shape = models.abstract(config.network)
    layers = chosen(Partial(module.apply, variables), jax.ShapeDtypeStruct((1, *shape), jnp.float32), config)
    batches = -(-config.count // config.batch_size)
    calls = batches * len(layers) * len(config.total_variations) * sum(count for _, count in recipe(config, 1.0).phases)
    steps = preimages.plan(config.network, layers[-1:], config.batch_size, calls)
    return [step._replace(name="steps, all counted like the last layer's") for step in steps]


EXPERIMENT = runner.Experiment(
    name="mahendran2015/layers",
    title="What every layer still knows of an image",
    figure="Fig. 6 and Table 3",
    paper="Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035",
    summary=(
        "From the features of one layer, and with nothing but a mild preference for smooth images of moderate "
        "contrast, gradient descent finds an image that has the same features. What it gets right is what the "
        "layer still knows. Three strengths of that preference are compared at each layer, as in the paper, whose "
        "Table 3 is from memory here (unverified). By default the network is a small one for Fashion-MNIST. Images of "
        "28 pixels differ more from pixel to pixel than those of 227, so the penalty of variation is divided by the "
        "square of that ratio."
    ),
    run=run,
    plan=plan,
    minutes=2,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
