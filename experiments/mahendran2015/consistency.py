"""Whether pre-images keep the network's answer, by layer and weight of the loss (Mahendran & Vedaldi 2016)."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.lib import dry_run, preimages, runner
from experiments.lib.runner import Claim, Number
from xai_jax import inversion, network, plots
from xai_jax.synthesis.inversion import IJCV

BATCH = 20  # images inverted at once


def run(config: Any, run: runner.Run) -> None:
    """Inverts every layer with every weight, and asks the network what it sees."""
    subject, found = preimages.load(config), {}
    jobs = [(layer, form) for layer, forms in forms_of(config).items() for form in forms]
    for layer, form in run.progress(jobs, "layers"):
        compute = partial(one, subject, layer, form, config.seed)
        found[layer, form.weight] = run.stage(f"{layer}-{form.weight:g}", compute)
    run.figure("preimages", *pictures(subject, found, config))
    run.figure("consistency", *curves(found, config))
    report(run, found, config)


def forms_of(config: Any) -> dict[str, list[IJCV]]:
    """Settings of the inversions of each layer: one for each weight, jittered by a quarter of the stride."""
    return {
        layer: [
            IJCV(
                weight=weight,
                total_variation=config.total_variation,
                jitter=max(1, round(stride / 4)),
                steps=config.steps,
            )
            for weight in config.weights_of_loss
        ]
        for layer, stride in zip(config.layers, config.strides, strict=True)
    }


def one(subject, layer, form, seed):
    """Pre-images (N, H, W, C), their relative errors, and whether the network gives them the images' classes."""
    x, represent = preimages.invert(subject, layer, form, BATCH, seed), subject.represent(layer)
    wanted = network.call(represent, subject.images)
    return {
        "images": x,
        "error": np.sqrt(inversion.distance(represent, wanted, jnp.ones(wanted.shape[1:]), x)),
        "same": subject.classes(subject.images) == subject.classes(x),
    }


def pictures(subject, found, config):
    """A row for each weight of the loss, a column for each layer."""
    panels, rows = [], []
    for n in range(min(config.shown, config.count)):
        for weight in config.weights_of_loss:
            by_layer = [subject.pixels(found[layer, weight]["images"][n]) for layer in config.layers]
            panels.append([subject.pixels(subject.images[n]), *by_layer])
            rows.append(f"C = {weight:g}")
    fig, _ = plots.grid(panels, ["image", *config.layers], rows, 1.2)
    caption = (
        "Pre-images by the second paper's form: by layer, and by the weight C of the loss beside the priors. With a "
        "small weight the prior rules, with a large one the features do."
    )
    return fig, caption, "Rows of an image and its pre-images from layer to layer."


def curves(found, config):
    """How many pre-images keep the class, and their errors, by layer, a line for each weight."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    places = np.arange(len(config.layers))
    panels = (("same", "pre-images with the image's class (%)", 100), ("error", "relative error of features (%)", 100))
    for axis, (key, label, factor) in zip(figure.subplots(1, 2), panels, strict=True):
        for weight in config.weights_of_loss:
            values = [factor * found[layer, weight][key] for layer in config.layers]
            axis.plot(places, np.mean(values, axis=1), "-o", ms=3, label=f"C = {weight:g}")
        axis.set_xticks(places, config.layers, rotation=50, ha="right", fontsize=8)
        axis.set_ylabel(label, fontsize=9)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    caption = (
        f"Left: for how many of {config.count} images the network gives the pre-image the class of the image. Right: "
        "distance of the features from the wanted ones as a share of their length, the mean over images."
    )
    return figure, caption, "Two panels of lines over layers, one line for each weight of the loss."


def report(run, found, config):
    """Consistency and errors, and whether weight brings them."""
    for (layer, weight), each in found.items():
        run.numbers += [
            Number.mean(f"same class, {layer}, C = {weight:g}", each["same"].astype(float)),
            Number.mean(f"relative error, {layer}, C = {weight:g}", each["error"]),
        ]
    light, heavy = (
        np.array([found[layer, weight]["same"].mean() for layer in config.layers])
        for weight in (min(config.weights_of_loss), max(config.weights_of_loss))
    )
    few = config.count < 10
    run.claims += [
        Claim(
            "Pre-images of every layer keep the class that the network gives the image, with the largest weight.",
            "classification consistency (how much is asked is ours)",
            None if few else bool(heavy.min() >= 0.9),
            f"{100 * heavy.min():.0f} % in the worst layer, {100 * heavy.mean():.0f} % in all; 90 % are asked for",
        ),
        Claim(
            "The larger the weight of the loss, the more pre-images keep the class.",
            "classification consistency (the claim is ours)",
            None if few else bool(heavy.mean() > light.mean() and (heavy >= light).all()),
            f"{100 * light.mean():.0f} % at C = {min(config.weights_of_loss):g}, {100 * heavy.mean():.0f} % at "
            f"C = {max(config.weights_of_loss):g}; in no layer fewer is asked for",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of each layer's inversions."""
    calls = -(-config.count // BATCH) * len(config.weights_of_loss) * sum(config.steps)
    return preimages.plan(config.network, config.layers, min(BATCH, config.count), calls)


EXPERIMENT = runner.Experiment(
    name="mahendran2015/consistency",
    title="Do pre-images keep the network's answer?",
    figure="classification consistency",
    paper="Mahendran and Vedaldi 2016, Visualizing Deep Convolutional Neural Networks Using Natural Pre-images, IJCV",
    summary=(
        "The second paper jitters the image while it is found, bounds its colours and weighs the loss by a constant C. "
        "Every layer is inverted so, for four values of C, and the network is asked whether it sees the same in the "
        "pre-image as in the image. The paper's values are not known here. Images of 28 pixels differ more from pixel "
        "to pixel than those of 224, so the penalty of variation is divided by the square of that ratio."
    ),
    run=run,
    plan=plan,
    minutes=2,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
