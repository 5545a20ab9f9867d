"""Class consistency of pre-images, by layer and weight of the loss (Mahendran & Vedaldi 2016)."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from configs.mahendran2015.consistency import Config
from experiments.lib import dry_run, figures, papers, preimages, statistics
from experiments.lib.report import Claim, Panel, Report, means
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.workspace import exact
from xai_jax import inversion, network
from xai_jax.synthesis.inversion import IJCV

BATCH = 20  # images inverted at once


def run(config: Config, work: Workspace) -> Report:
    """Inverts every layer with every weight, and classifies the pre-images."""
    subject, found = preimages.load(config), {}
    jobs = [(layer, form) for layer, forms in forms_of(config).items() for form in forms]
    for layer, form in work.progress(jobs, "layers"):
        compute = partial(inverted, subject, layer, form, config.seed)
        found[layer, form.weight] = work.stage(f"{layer}-{exact(form.weight)}", compute)
    panels = [preimages_panel(subject, found, config), lines_panel(found, config)]
    return Report(numbers(found), claims(found, config), panels)


def forms_of(config: Config) -> dict[str, list[IJCV]]:
    """Forms of the inversions of each layer: one for each weight, jittered by a quarter of the stride."""
    common, forms = {"total_variation": config.total_variation, "steps": config.steps}, {}
    for layer, stride in zip(config.layers, config.strides, strict=True):
        jitter = max(1, round(stride / 4))
        forms[layer] = [IJCV(weight=weight, jitter=jitter, **common) for weight in config.weights_of_loss]
    return forms


def inverted(subject, layer, form, seed):
    """Pre-images (N, H, W, C), their relative errors, and whether the network gives them the images' classes."""
    found = approximated(subject, layer, form, seed)
    return found | {"same": subject.classes(subject.images) == subject.classes(found["images"])}


def approximated(subject, layer, form, seed):
    """Pre-images (N, H, W, C), and their relative errors (N,)."""
    represent = subject.represent(layer)
    x, target = preimages.invert(represent, subject.images, form, BATCH, seed), network.call(represent, subject.images)
    return {"images": x, "error": np.sqrt(inversion.distance(represent, target, jnp.ones(target.shape[1:]), x))}


def preimages_panel(subject, found, config):
    """A row for each weight of the loss, a column for each layer."""
    stacks = {f"C = {c:g}": [found[layer, c]["images"] for layer in config.layers] for c in config.weights_of_loss}
    images, rows = subject.rows(config.shown, stacks)
    caption = (
        "Pre-images in the form of the second paper: by layer, and by the weight C of the loss relative to the priors. "
        "With a small weight the prior dominates, with a large one the features do, as far as the steps suffice. Each "
        "is scaled to its full range."
    )
    alt = "Rows of an image and its pre-images from layer to layer."
    return figures.image_panel("preimages", images, ["image", *config.layers], rows, caption, alt, 1.2)


def lines_panel(found, config):
    """Share of pre-images that keep the class, and their errors, by layer, a line for each weight."""
    figure, (axes,) = figures.axes(1, 2, (5, 3.6))
    positions = np.arange(len(config.layers))
    measured = (("same", "pre-images with the image's class (%)"), ("error", "relative error of features (%)"))
    for axis, (key, title) in zip(axes, measured, strict=True):
        for weight in config.weights_of_loss:
            values = [100 * found[layer, weight][key].mean() for layer in config.layers]
            axis.plot(positions, values, "-o", ms=3, label=f"C = {weight:g}")
        axis.set_xticks(positions, config.layers, rotation=50, ha="right", fontsize=8)
        axis.set_ylabel(title, fontsize=9)
        axis.set_ylim(bottom=0)
    axes[-1].legend(frameon=False, fontsize=8)
    caption = (
        f"Left: share of {config.count} images whose pre-image has the class of the image. Right: distance of the "
        "features from the target ones as a share of their norm, mean over images."
    )
    alt = "Two panels of lines over layers, one line for each weight of the loss."
    return Panel("consistency", figure, caption, alt)


def numbers(found):
    """Consistency and errors."""
    by_condition = {f"{layer}, C = {weight:g}": each for (layer, weight), each in found.items()}
    return means(by_condition, {"same": "same class", "error": "relative error"})


def claims(found, config):
    """Whether pre-images keep the class, by binomial tests of each layer, and whether the weight matters."""
    light, heavy = (
        np.array([found[layer, weight]["same"] for layer in config.layers])
        for weight in (min(config.weights_of_loss), max(config.weights_of_loss))
    )
    return [
        Claim(
            "Most pre-images of every layer keep the class that the network gives the image, with the largest weight.",
            "classification consistency (the threshold is ours)",
            statistics.all_of([statistics.binomial(same) for same in heavy]),
            f"{100 * heavy.mean(1).min():.0f} % in the worst layer, {100 * heavy.mean():.0f} % in all",
        ),
        Claim(
            "The larger the weight of the loss, the more pre-images keep the class.",
            "classification consistency (the claim is ours)",
            statistics.wilcoxon(heavy.mean(0), light.mean(0)),
            f"{100 * light.mean():.0f} % at C = {min(config.weights_of_loss):g}, {100 * heavy.mean():.0f} % at "
            f"C = {max(config.weights_of_loss):g}; tested over images, each with its share of layers",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of each layer's inversions."""
    calls = dry_run.calls(config.count, BATCH) * len(config.weights_of_loss) * sum(config.steps)
    return preimages.plan(config.network, config.layers, min(BATCH, config.count), calls)


EXPERIMENT = Experiment[Config](
    name="mahendran2015/consistency",
    title="Do pre-images keep the class?",
    figure="classification consistency",
    paper=papers.MAHENDRAN2016,
    summary=(
        "The second paper jitters the image during optimisation, bounds its colours and weighs the loss by a constant "
        "C. Every layer is inverted so, for four values of C: does the network give the pre-image the class of the "
        "image? The paper's values are not known here."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
