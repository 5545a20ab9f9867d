"""What the penalty of variation does to pre-images (Mahendran & Vedaldi 2015, Figs. 2 and 8)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import ndimage, stats

from experiments import dry, runner
from experiments.mahendran2015.layers import recipe, units
from experiments.runner import Claim, Number
from experiments.zeiler2014.features import as_input
from xai_jax import inversion, models, network, plots
from xai_jax.data import datasets


def run(config: Any, run: runner.Run) -> None:
    """Inverts two layers with penalties of several powers and strengths."""
    model = models.load(config.network, config.weights)
    data = datasets.load(config.data, config.split)
    x = jnp.stack([as_input(model, data[i][0]) for i in range(config.count)])
    deviation, shift = units(model, config.mean)
    images, found = x * deviation - shift, {}
    jobs = [
        (layer, beta, s) for layer in (config.lower, config.upper) for beta in config.betas for s in config.variations
    ]
    for layer, beta, strength in run.progress(jobs, "penalties"):
        represent = inversion.of_layer(model.net, layer, deviation, shift)
        form = dataclasses.replace(recipe(config, strength), beta=beta)
        name = f"{layer}-{beta:g}-{strength:g}"
        found[layer, beta, strength] = run.stage(name, lambda r=represent, f=form: one(r, images, f, config))

    def pixels(x):
        return model.to_pixels((jnp.asarray(x) + shift) / deviation) / 255

    run.figure("spikes", *figure(pixels, images, found, config.lower, config))
    run.figure("strengths", *figure(pixels, images, found, config.upper, config))
    report(run, found, config)


def one(represent, images, form, config):
    """Pre-images (N, H, W, C), their errors, spikes and variation."""
    wanted = _call(represent, images)
    x = inversion.invert(represent, wanted, images.shape[1:], jax.random.key(config.seed), form).x
    pictures = np.asarray(x)
    return {
        "images": x,
        "error": inversion.error(represent, x, wanted),
        "spikes": np.array([spikes(image) for image in pictures]),
        "roughness": np.array([roughness(image) for image in pictures]),
    }


@jax.jit
def _call(function, x):
    return function(x)


def spikes(image: np.ndarray) -> float:
    """RMS of what a 3x3 median takes off an image (H, W, C), as a share of the image's deviation."""
    rest = image - ndimage.median_filter(image, size=(3, 3, 1))
    return float(np.sqrt((rest**2).mean()) / image.std())


def roughness(image: np.ndarray) -> float:
    """RMS difference of neighbouring pixels as a share of the image's deviation."""
    steps = np.concatenate([np.diff(image, axis=axis).ravel() for axis in (0, 1)])
    return float(np.sqrt((steps**2).mean()) / image.std())


def figure(pixels, images, found, layer, config):
    """A block of rows for each image, a row for each power, a column for each strength."""
    panels, rows = [], []
    for n in range(min(config.shown, config.count)):
        for beta in config.betas:
            panels.append([pixels(images[n])] + [pixels(found[layer, beta, s]["images"][n]) for s in config.variations])
            rows.append(f"beta {beta:g}")
    titles = ["image", *(f"penalty {s:g}" for s in config.variations)]
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
    low, high, strong = min(config.betas), max(config.betas), max(config.variations)
    sharp, smooth = (found[config.lower, beta, strong]["spikes"] for beta in (low, high))
    weak, firm = (found[config.upper, high, s]["roughness"] for s in (min(config.variations), strong))
    run.claims += [
        compare(
            f"A penalty with beta {low:g} leaves spikes, one with beta {high:g} does not.",
            "Fig. 2",
            (sharp, f"share of pre-images of {config.lower} that a median filter takes off: {sharp.mean():.2f}"),
            (smooth, f"{smooth.mean():.2f} with beta {high:g}, at the same strength"),
        ),
        compare(
            "The stronger the penalty, the smoother the pre-images of the last layer.",
            "Fig. 8",
            (weak, f"RMS difference of neighbours over the deviation: {weak.mean():.2f} at the weakest"),
            (firm, f"{firm.mean():.2f} at the strongest"),
        ),
    ]


def compare(words, source, more, less):
    """A claim that a measure is greater of one kind of pre-images than of another, of the same images."""
    p = stats.ttest_rel(more[0], less[0], alternative="greater").pvalue if len(more[0]) > 2 else np.nan
    measured = f"{more[1]}, {less[1]} (paired one-sided t-test over {len(more[0])} images, p = {p:.2g})"
    return Claim(words, source, None if np.isnan(p) else bool(p < 0.05), measured)


def plan(config: Any) -> list[dry.Step]:
    """The steps of both layers' inversion, all images at once."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((config.count, *shape), jnp.float32)
    shapes, steps = network.layer_names(Partial(module.apply, variables), x), []
    runs = len(config.betas) * len(config.variations)
    calls = runs * sum(count for _, count in recipe(config, 1.0).phases)
    for layer in (config.lower, config.upper):

        def step(variables, x, wanted, layer=layer):
            represent = inversion.of_layer(Partial(module.apply, variables), layer)
            return jax.value_and_grad(lambda x: inversion.distance(represent, wanted, jnp.ones(()), x).sum())(x)

        steps.append(dry.Step(f"steps from {layer}", step, (variables, x, shapes[layer]), calls))
    return steps


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
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
