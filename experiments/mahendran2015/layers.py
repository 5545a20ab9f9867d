"""Pre-images of every layer at three strengths of the prior (Mahendran & Vedaldi 2015, Fig. 6 and Table 3)."""

from functools import partial

import numpy as np

from configs.mahendran2015.layers import Config
from experiments.lib import dry_run, figures, papers, preimages, statistics
from experiments.lib.measures import correlations
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.workspace import exact
from xai_jax import network, plots
from xai_jax.synthesis.inversion import CVPR

# Table 3, unverified: mean and standard deviation of the error in % at the three strengths.
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
RARELY = 0.1  # share of layers


def run(config: Config, work: Workspace) -> Report:
    """Inverts every layer at every strength."""
    subject = preimages.load(config)
    layers = config.layers or tuple(network.layer_names(subject.model.net, subject.images))
    found, jobs = {}, [(layer, strength) for layer in layers for strength in config.total_variations]
    for layer, strength in work.progress(jobs, "layers"):
        compute = partial(inverted, subject, layer, strength, config)
        found[layer, strength] = work.stage(f"{layer}-{exact(strength)}", compute)
    panels = [preimages_panel(subject, found, layers, config), errors_panel(found, layers, config)]
    shown = [found[layer, strength_of(n, config)] for n, layer in enumerate(layers)]
    return Report(numbers(found, shown, layers, config), claims(shown, layers), panels)


def recipe(config: Config, total_variation: float) -> CVPR:
    """The paper's schedule, longer or shorter."""
    phases = tuple((factor, max(1, round(count * config.steps))) for factor, count in CVPR.phases)
    options = {"std": config.standard_deviation, "learning_rate": config.learning_rate, "phases": phases}
    return CVPR(total_variation=total_variation, **options)


def inverted(subject, layer, strength, config):
    """Pre-images, their errors and classes as `preimages.measured` gives them, and correlations with the images."""
    form = recipe(config, strength)
    x = preimages.invert(subject.represent(layer), subject.images, form, config.batch_size, config.seed)
    similar = correlations(np.asarray(subject.images), np.asarray(x))
    return preimages.measured(subject, layer, x) | {"alike": similar}  # lint: keep


def strength_of(number: int, config: Config) -> float:
    """The strength that the figure shows a layer at: growing with depth, as in the paper's code."""
    return config.total_variations[min(number // config.lower, len(config.total_variations) - 1)]


def preimages_panel(subject, found, layers, config):
    """Pre-images of the first images, layer by layer in two blocks of rows, as in Fig. 6."""
    shown, columns = min(config.shown, config.count), -(-(len(layers) + 1) // 2)
    cells = {"image": subject.pixels(subject.images[:shown])}
    for n, layer in enumerate(layers):
        strength = strength_of(n, config)
        cells[f"{layer}\n({strength:g})"] = [subject.scaled(x) for x in found[layer, strength]["images"][:shown]]
    names, rows = list(cells), []
    for half in (names[:columns], names[columns:]):
        rows += [[cells[name][row] for name in half] for row in range(shown)] if half else []
    figure, axes = plots.grid(rows, names[:columns], [], 1.05)
    for axis, name in zip(axes[-shown], names[columns:], strict=False):
        axis.set_title(name, fontsize=9)
    caption = (
        "Images whose representation in a layer is that of the image at the left of the upper block, optimised from "
        "noise; the lower block continues its rows. In "
        "brackets the weight of the total variation prior, which grows with depth as in the paper's code. Each "
        "pre-image is scaled to its full range of values."
    )
    alt = "Rows of small pictures, one for each layer, that grow vaguer from layer to layer."
    return Panel("layers", figure, caption, alt)


def errors_panel(found, layers, config):
    """Errors by layer and strength with their standard deviations, and the paper's for layers of the same names."""
    figure, ((axis,),) = figures.axes(1, 1, (max(7, 0.45 * len(layers) + 2), 3.6))
    errors = {s: np.array([100 * found[layer, s]["error"] for layer in layers]) for s in config.total_variations}
    figures.bars(axis, {f"penalty {strength:g}": values for strength, values in errors.items()}, layers)
    for n in range(len(errors)):
        offset = (n - (len(errors) - 1) / 2) * 0.8 / len(errors)
        known = [(x + offset, PAPER[name][n][0]) for x, name in enumerate(layers) if printed(name, config)]
        if known:
            axis.plot(*zip(*known, strict=True), "k_", label=None if n else "paper (unverified)")
    axis.axhline(BAR, color="0.4", lw=0.8, ls="--")
    axis.set_ylabel("error of features (%)")
    axis.legend(frameon=False, fontsize=8)
    caption = (
        "Squared distance of the pre-images' features from the target ones, in % of the mean distance between images: "
        f"mean and standard deviation over {config.count} images, by layer and weight of the prior. Dashed: {BAR:g} %, "
        "which errors rarely exceed according to the paper; the claim is on one weight for each layer, the one in the "
        "figure of pre-images."
    )
    return Panel("table3", figure, caption, "Bars of errors by layer, three for each.")


def printed(layer: str, config: Config) -> bool:
    """Whether the paper has numbers of this layer of this network."""
    return config.network == "caffenet" and layer in PAPER and config.total_variations == (1.0, 10.0, 100.0)


def numbers(found, shown, layers, config):
    """Errors of every layer and strength, and correlations at the strengths of the figure."""
    listed = []
    for layer in layers:
        for n, strength in enumerate(config.total_variations):
            paper = {"paper": PAPER[layer][n][0], "paper_tag": "M"} if printed(layer, config) else {}
            errors, title = 100 * found[layer, strength]["error"], f"error in {layer}, penalty {strength:g}"
            listed.append(Number.mean(title, errors, unit="%", **paper))
    return listed + [
        Number.mean(f"correlation of image and pre-image, {layer}", each["alike"])  # lint: keep
        for layer, each in zip(layers, shown, strict=True)
    ]


def claims(shown, layers):
    """At the strengths of the figure, each tested over images."""
    errors = 100 * np.array([each["error"] for each in shown])
    similar = np.stack([each["alike"] for each in shown], 1)  # lint: keep
    same = shown[-1]["same"]
    return [
        Claim(
            f"The error rarely exceeds {BAR:g} %.",
            "Fig. 6 and Table 3",
            statistics.wilcoxon(RARELY, (errors > BAR).mean(0)),
            f"{100 * (errors > BAR).mean():.0f} % of {errors.size} errors are above, of each layer at the weight in "
            f"the figure of pre-images; rarely: in less than {100 * RARELY:g} % of an image's layers. Mean error "
            f"{errors.mean():.1f} %",
        ),
        Claim(
            "The last layer retains the class of most images.",
            "Fig. 6 and Table 3",
            statistics.binomial(same),
            f"the network gives {same.sum()} of {len(same)} pre-images of {layers[-1]} the class of the image",
        ),
        Claim(
            "Images are photographic when inverted from the first layers, and grow vaguer with depth.",
            "Fig. 6",
            statistics.all_of([statistics.wilcoxon(similar[:, 0], 0.9), statistics.page_trend(similar)]),
            f"correlation of image and pre-image {similar[:, 0].mean():.2f} in {layers[0]} (photographic: above 0.9), "
            f"{similar[:, -1].mean():.2f} in {layers[-1]}",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Steps of the deepest layer's inversion, for all layers and strengths."""
    layers = config.layers or tuple(preimages.layer_shapes(config.network, 1))
    batches = dry_run.calls(config.count, config.batch_size)
    calls = batches * len(layers) * len(config.total_variations) * sum(count for _, count in recipe(config, 1.0).phases)
    steps = preimages.plan(config.network, layers[-1:], config.batch_size, calls)
    return [step._replace(name="steps, all counted like the last layer's") for step in steps]


EXPERIMENT = Experiment[Config](
    name="mahendran2015/layers",
    title="What every layer retains of an image",
    figure="Fig. 6 and Table 3",
    paper=papers.MAHENDRAN2015,
    summary=(
        "From the features of one layer and a weak prior for smooth images of moderate contrast, gradient descent "
        "finds an image with the same features; what it gets right, the layer has retained. Three weights of the "
        "prior are compared at each layer, by default with photographs of 64 pixels. The paper's Table 3 is "
        "from memory (unverified)."
    ),
    run=run,
    plan=plan,
    minutes=9,
)

if __name__ == "__main__":
    main(EXPERIMENT)
