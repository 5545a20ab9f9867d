"""Effect of the total variation prior on pre-images (Mahendran & Vedaldi 2015, Figs. 2 and 8)."""

import dataclasses
from itertools import product

import jax
import numpy as np
from scipy import ndimage

from configs.mahendran2015.regulariser import Config
from experiments.lib import dry_run, figures, papers, preimages
from experiments.lib.measures import roughness
from experiments.lib.report import Report, means, paired_claim
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.workspace import exact
from experiments.mahendran2015.layers import recipe
from xai_jax import inversion, network


def run(config: Config, work: Workspace) -> Report:
    """Inverts two layers with priors of several powers and weights."""
    subject, found = preimages.load(config), {}
    jobs = list(product((config.lower, config.upper), config.betas, config.total_variations))
    for layer, beta, strength in work.progress(jobs, "priors"):
        represent = subject.represent(layer)
        form = dataclasses.replace(recipe(config, strength), beta=beta)
        name = f"{layer}-{exact(beta)}-{exact(strength)}"
        compute = lambda r=represent, f=form: inverted(r, subject.images, f, config)  # noqa: E731
        found[layer, beta, strength] = work.stage(name, compute)
    pairs = (("spikes", config.lower), ("strengths", config.upper))
    panels = [preimages_panel(name, subject, found, layer, config) for name, layer in pairs]
    return Report(numbers(found), claims(found, config), panels)


def inverted(represent, images, form, config):
    """Pre-images (N, H, W, C), their errors, spikes and roughness."""
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
    """RMS of an image (H, W, C) less its 3x3 median, as a share of the image's standard deviation."""
    rest = image - ndimage.median_filter(image, size=(3, 3, 1))
    return float(np.sqrt((rest**2).mean()) / image.std())


def preimages_panel(name, subject, found, layer, config):
    """A block of rows for each image, a row for each power, a column for each weight."""
    stacks = {f"beta {b:g}": [found[layer, b, s]["images"] for s in config.total_variations] for b in config.betas}
    images, rows = subject.rows(config.shown, stacks)
    titles = ["image", *(f"weight {s:g}" for s in config.total_variations)]
    caption = (
        f"Pre-images of {layer} by the weight of the total variation prior (columns) and its power beta (rows). The "
        "same weight penalises less with a lower power, which has other units. Each is scaled to its full range."
    )
    alt = "Rows of an image and its pre-images, smoother from left to right."
    return figures.image_panel(name, images, titles, rows, caption, alt, 1.4)


def numbers(found):
    """Errors, spikes and roughness of all."""
    by_condition = {f"{layer}, beta {beta:g}, penalty {s:g}": each for (layer, beta, s), each in found.items()}
    return means(by_condition, {"error": "error of features", "spikes": "spikes", "roughness": "roughness"})


def claims(found, config):
    """Of the power in the lower layer, and of the weight in the upper one; paired over images."""
    low, high, strong = min(config.betas), max(config.betas), max(config.total_variations)
    sharp, smooth = (found[config.lower, beta, strong]["spikes"] for beta in (low, high))
    blur = " and ".join(f"{100 * found[config.lower, beta, strong]['error'].mean():.0f} %" for beta in (low, high))
    errors = f"errors of features {blur}"
    weak, firm = (found[config.upper, high, s]["roughness"] for s in (min(config.total_variations), strong))
    return [
        paired_claim(
            f"A prior with beta {low:g} leaves spikes, one with beta {high:g} does not.",
            "Fig. 2",
            (
                sharp,
                f"share of pre-images of {config.lower} that a median filter removes: {sharp.mean():.2f} with beta "
                f"{low:g}",
            ),
            (smooth, f"{smooth.mean():.2f} with beta {high:g}, both at the weight {strong:g}; {errors}"),
        ),
        paired_claim(
            "The stronger the prior, the smoother the pre-images of the last layer.",
            "Fig. 8",
            (weak, f"RMS difference of neighbours over the standard deviation: {weak.mean():.2f} at the lowest weight"),
            (firm, f"{firm.mean():.2f} at the highest, both with beta {high:g}"),
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of both layers' inversion, all images at once."""
    runs = len(config.betas) * len(config.total_variations)
    calls = runs * sum(count for _, count in recipe(config, 1.0).phases)
    return preimages.plan(config.network, (config.lower, config.upper), config.count, calls)


EXPERIMENT = Experiment[Config](
    name="mahendran2015/regulariser",
    title="Effect of the total variation prior",
    figure="Figs. 2 and 8",
    paper=papers.MAHENDRAN2015,
    summary=(
        "Subsampling layers are insensitive to spikes between their samples, which gradient descent leaves in the "
        "pre-image. The prior is the sum of powers of gradient magnitudes: a power of 1 allows few large steps, a "
        "power of 2 spreads them. Power and weight are varied for a lower layer and the last; spikes and roughness "
        "are our measures."
    ),
    run=run,
    plan=plan,
    minutes=3,
)

if __name__ == "__main__":
    main(EXPERIMENT)
