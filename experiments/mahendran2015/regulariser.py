"""What the penalty of variation does to pre-images (Mahendran & Vedaldi 2015, Figs. 2 and 8)."""

import dataclasses
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from experiments.lib import dry_run, preimages, runner
from experiments.lib.measures import roughness
from experiments.lib.report import paired_claim
from experiments.lib.runner import Number
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, network, plots


def run(config: Any, run: runner.Run) -> None:
    """Inverts two layers with penalties of several powers and strengths."""
    subject, found = preimages.load(config), {}
    jobs = [
        (layer, beta, s)
        for layer in (config.lower, config.upper)
        for beta in config.betas
        for s in config.total_variations
    ]
    for layer, beta, strength in run.progress(jobs, "penalties"):
        represent = subject.represent(layer)
        form = dataclasses.replace(recipe(config, strength), beta=beta)
        name = f"{layer}-{beta:g}-{strength:g}"
        found[layer, beta, strength] = run.stage(name, lambda r=represent, f=form: one(r, subject.images, f, config))
    run.figure("spikes", *figure(subject, found, config.lower, config))
    run.figure("strengths", *figure(subject, found, config.upper, config))
    report(run, found, config)


def one(represent, images, form, config):
    """Pre-images (N, H, W, C), their errors, spikes and variation."""
    wanted = network.call(represent, images)
    x = inversion.invert(represent, wanted, images.shape[1:], jax.random.key(config.seed), form).x
    pictures = np.asarray(x)
    return {
        "images": x,
        "error": inversion.error(represent, x, wanted),
        "spikes": np.array([spikes(image) for image in pictures]),
        "roughness": np.array([roughness(image) for image in pictures]),
    }


def spikes(image: np.ndarray) -> float:
    """RMS of what a 3x3 median takes off an image (H, W, C), as a share of the image's deviation."""
    rest = image - ndimage.median_filter(image, size=(3, 3, 1))
    return float(np.sqrt((rest**2).mean()) / image.std())


def figure(subject, found, layer, config):
    """A block of rows for each image, a row for each power, a column for each strength."""
    panels, rows = [], []
    for n in range(min(config.shown, config.count)):
        for beta in config.betas:
            by_strength = [subject.pixels(found[layer, beta, s]["images"][n]) for s in config.total_variations]
            panels.append([subject.pixels(subject.images[n]), *by_strength])
            rows.append(f"beta {beta:g}")
    titles = ["image", *(f"penalty {s:g}" for s in config.total_variations)]
    fig, _ = plots.grid(panels, titles, rows, 1.4)
    caption = (
        f"Pre-images of {layer} by the strength of the penalty of variation (columns) and its power beta (rows). The "
        "same strength weighs less with a lower power, whose units are others."
    )
    return fig, caption, "Rows of an image and its pre-images, smoother from left to right."


def report(run, found, config):
    """Errors, spikes and roughness of all, and claims about powers and strengths."""
    for (layer, beta, strength), each in found.items():
        words = f"{layer}, beta {beta:g}, penalty {strength:g}"
        run.numbers += [
            Number.mean(f"error of features, {words}", each["error"]),
            Number.mean(f"spikes, {words}", each["spikes"]),
            Number.mean(f"roughness, {words}", each["roughness"]),
        ]
    low, high, strong = min(config.betas), max(config.betas), max(config.total_variations)
    sharp, smooth = (found[config.lower, beta, strong]["spikes"] for beta in (low, high))
    weak, firm = (found[config.upper, high, s]["roughness"] for s in (min(config.total_variations), strong))
    run.claims += [
        paired_claim(
            f"A penalty with beta {low:g} leaves spikes, one with beta {high:g} does not.",
            "Fig. 2",
            (sharp, f"share of pre-images of {config.lower} that a median filter takes off: {sharp.mean():.2f}"),
            (smooth, f"{smooth.mean():.2f} with beta {high:g}, at the same strength"),
        ),
        paired_claim(
            "The stronger the penalty, the smoother the pre-images of the last layer.",
            "Fig. 8",
            (weak, f"RMS difference of neighbours over the deviation: {weak.mean():.2f} at the weakest"),
            (firm, f"{firm.mean():.2f} at the strongest"),
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of both layers' inversion, all images at once."""
    runs = len(config.betas) * len(config.total_variations)
    calls = runs * sum(count for _, count in recipe(config, 1.0).phases)
    return preimages.plan(config.network, (config.lower, config.upper), config.count, calls)


EXPERIMENT = runner.Experiment(
    name="mahendran2015/regulariser",
    title="What the penalty of variation does",
    figure="Figs. 2 and 8",
    paper="Mahendran and Vedaldi 2015, Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035",
    summary=(
        "Layers that subsample do not care about spikes between their samples, and gradient descent leaves them in the "
        "pre-image unless a penalty forbids them. The penalty is the sum of powers of the gradients' lengths: a power "
        "of 1 allows few large steps, a power of 2 spreads them. How the power and the strength change pre-images is "
        "shown for a lower and for the last layer. At the same strength a lower power also weighs less, in the paper's "
        "figure as well as here. The measures of spikes and of roughness are ours; a first measure of spikes, the "
        "kurtosis of what a median filter takes off, was dropped, since it is largest where nothing but edges is left."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=2,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
