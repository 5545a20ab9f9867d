"""How features change as the image is moved, enlarged and turned (Zeiler & Fergus 2014, section 4.1 and Fig. 5)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure
from scipy import ndimage, stats

from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number, told
from xai_jax import models, network, plots
from xai_jax.data import examples

BATCH = 32
KINDS = {"translation": "vertical shift (pixels)", "scale": "scale (ratio)", "rotation": "rotation (degrees)"}


def run(config: Any, run: runner.Run) -> None:
    """Transforms every image by all amounts, and records distances of features and probabilities."""
    model = models.load(config.network, config.weights)
    data = examples.load(config.images, config.count)
    x = np.asarray(model.preprocess(data.images))
    amounts = {kind: np.linspace(*getattr(config, kind), config.steps) for kind in KINDS}
    found = {}
    for kind in run.progress(KINDS, "transformations"):
        found[kind] = run.stage(kind, lambda kind=kind: measure(model.net, x, data.labels, kind, amounts[kind], config))
    names = [model.classes[label] for label in data.labels]
    run.figure("invariance", *figure(model, x, found, amounts, names, config))
    report(run, found, amounts, config)


def measure(net, x, labels, kind, amounts, config):
    """Distances (images, amounts) in each layer and probabilities of the true class.

    Distances are Euclidean, as shares of the mean distance between the features of different images, so that layers can
    be compared; the paper's are not divided by anything.
    """
    turned = np.stack([[transform(image, kind, amount) for amount in amounts] for image in x])
    flat = turned.reshape(-1, *x.shape[1:])
    parts = [_features(net, flat[i : i + BATCH], tuple(config.layers)) for i in range(0, len(flat), BATCH)]
    original, _ = _features(net, x, tuple(config.layers))
    arrays = {}
    for layer in config.layers:
        whole = np.asarray(original[layer])
        moved = np.concatenate([np.asarray(kept[layer]) for kept, _ in parts])
        distance = np.linalg.norm(moved.reshape(len(x), len(amounts), -1) - whole[:, None], axis=-1)
        apart = np.linalg.norm(whole[:, None] - whole, axis=-1)[~np.eye(len(x), dtype=bool)].mean()
        arrays[layer] = distance / apart
    probability = np.concatenate([np.asarray(p) for _, p in parts]).reshape(len(x), len(amounts), -1)
    return arrays | {"probability": probability[np.arange(len(x)), :, labels]}


@partial(jax.jit, static_argnums=2)
def _features(net, x, layers):
    """Features of each layer (N, D) and probabilities (N, K)."""
    logits, kept = network.capture(net, x, layers)
    return {name: value.reshape(len(x), -1) for name, value in kept.items()}, jax.nn.softmax(logits)


def transform(image, kind, amount):
    """An image (H, W, C) moved down by `amount` pixels, enlarged by the ratio or turned by degrees about its centre.

    What comes in from outside repeats the border.
    """
    matrix, shift = np.eye(2), np.zeros(2)
    if kind == "translation":
        shift = np.array([-amount, 0.0])
    elif kind == "scale":
        matrix = np.eye(2) / amount
    else:
        angle = np.deg2rad(amount)
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - matrix @ centre + shift
    channels = [ndimage.affine_transform(c, matrix, offset, order=1, mode="nearest") for c in np.moveaxis(image, -1, 0)]
    return np.stack(channels, axis=-1).astype(np.float32)


def figure(model, x, found, amounts, names, config):
    """A row for each transformation, as in the paper: examples, distances in two layers, and probabilities."""
    figure = Figure(figsize=(12, 2.9 * len(KINDS)), layout="constrained")
    axes = figure.subplots(len(KINDS), 4, width_ratios=(1.5, 1, 1, 1))
    for row, (kind, words) in zip(axes, KINDS.items(), strict=True):
        plots.show(row[0], examples_of(model, x, kind, amounts[kind]))
        row[0].set_title(
            f"{kind} by {amounts[kind][0]:g}, {amounts[kind][len(amounts[kind]) // 2]:g}, {amounts[kind][-1]:g}",
            fontsize=9,
        )
        panels = *((layer, "distance") for layer in config.layers), ("probability", "P(true class)")
        for axis, (key, label) in zip(row[1:], panels, strict=True):
            for values, name in zip(found[kind][key], names, strict=True):
                axis.plot(amounts[kind], values, lw=1.2, label=name)
            axis.set_title(key if label == "distance" else label, fontsize=9)
            axis.set_xlabel(words, fontsize=8)
            axis.set_ylim(bottom=0)
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
        highest = max(found[kind][layer].max() for layer in config.layers)
        for axis in row[1:3]:
            axis.set_ylim(0, 1.05 * highest)
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    caption = (
        "Images moved, enlarged and turned. Distance of their features from those of the untouched image, in the first "
        "and in the last layer, as a share of the mean distance between different images; and the probability of the "
        "true class. What comes in from outside repeats the image's border."
    )
    return (
        figure,
        caption,
        "Three rows: example images, two panels of distances and one of probabilities against the amount.",
    )


def examples_of(model, x, kind, amounts):
    """The first image by the least, the middle and the greatest amount, side by side."""
    chosen = amounts[[0, len(amounts) // 2, -1]]
    return np.concatenate([model.to_pixels(transform(x[0], kind, a)) for a in chosen], axis=1) / 255


def report(run, found, amounts, config):
    """Mean distances and probabilities, and whether the last layer changes less than the first."""
    first, last = config.layers
    gaps = {}
    for kind in KINDS:
        below, above = (found[kind][layer].mean(1) for layer in (first, last))
        run.numbers += [
            Number.mean(f"distance under {kind}, {first}", below),
            Number.mean(f"distance under {kind}, {last}", above),
            Number.mean(f"probability of the true class under {kind}", found[kind]["probability"].mean(1)),
        ]
        gaps[kind] = below - above
    moved = np.mean([gaps["translation"], gaps["scale"]], axis=0)
    p = stats.ttest_1samp(moved, 0, alternative="greater").pvalue if len(moved) > 2 else np.nan
    small = {kind: nearest(found[kind], amounts[kind], kind) for kind in KINDS}
    stable = {kind: found[kind]["probability"].mean(1) / small[kind] for kind in KINDS}
    turns = np.mean([stable["translation"], stable["scale"]], axis=0) - stable["rotation"]
    q = stats.ttest_1samp(turns, 0, alternative="greater").pvalue if len(turns) > 2 else np.nan
    run.claims += [
        Claim(
            "Small transformations change the first layer dramatically and the last layer little.",
            "section 4.1 and Fig. 5",
            told(p),
            f"mean distance under translation and scale lower in {last} than in {first} by {moved.mean():.2f} ± "
            f"{moved.std():.2f} over {len(moved)} images (one-sided t-test, p = {p:.2g})",
        ),
        Claim(
            "The output is stable to translation and scale, but not to rotation.",
            "section 4.1 and Fig. 5",
            told(q),
            "share of the true class's probability that is left on average: "
            + ", ".join(f"{kind} {values.mean():.2f}" for kind, values in stable.items())
            + f" (rotation lower, one-sided t-test over {len(turns)} images, p = {q:.2g})",
        ),
    ]


def nearest(found, amounts, kind):
    """Probability of the true class by the amount nearest to none."""
    none = 1.0 if kind == "scale" else 0.0
    return found["probability"][:, np.abs(amounts - none).argmin()]


def plan(config: Any) -> list[dry_run.Step]:
    """Forward passes of all transformed images."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((BATCH, *shape), jnp.float32)

    def forward(variables, x):
        return _features(Partial(module.apply, variables), x, config.layers)

    calls = -(-len(KINDS) * config.count * config.steps // BATCH)
    return [dry_run.Step("transformed images", forward, (variables, x), calls)]


EXPERIMENT = runner.Experiment(
    name="zeiler2014/invariance",
    title="Invariance to translation, scale and rotation",
    figure="Fig. 5",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    summary=(
        "Images are moved, enlarged and turned. A layer is invariant where its features stay near those of the "
        "untouched image. The paper plots Euclidean distances; here they are shares of the mean distance between "
        "different images, so that layers of different sizes can be compared."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=1,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
