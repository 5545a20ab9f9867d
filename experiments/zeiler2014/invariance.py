"""Invariance of features to translation, scale and rotation (Zeiler & Fergus 2014, section 4.1 and Fig. 5)."""

from functools import partial

import jax
import numpy as np
from scipy import ndimage

from configs.zeiler2014.invariance import Config
from experiments.lib import dry_run, figures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import models, network, plots
from xai_jax.core.precision import highest
from xai_jax.data import examples

BATCH = 32
KINDS = {"translation": "vertical shift (pixels)", "scale": "scale (ratio)", "rotation": "rotation (degrees)"}


def run(config: Config, work: Workspace) -> Report:
    """Transforms every image by all amounts, and records distances of features and probabilities."""
    if config.count < 2:
        raise ValueError(
            f"Expected --config.count of at least 2, between which distances are measured, got {config.count}."
        )
    model = models.load(config.network, config.weights)
    data = examples.load(config.images, config.count, config.first)
    x = np.asarray(model.preprocess(data.images))
    amounts = {kind: np.linspace(*getattr(config, kind), config.steps) for kind in KINDS}
    found = {}
    for kind in work.progress(KINDS, "transformations"):
        found[kind] = work.stage(kind, lambda k=kind: measure(model.net, x, data.labels, k, amounts[k], config))
    correct = np.asarray(network.call(model.net, x)).argmax(1) == data.labels
    shown = np.argsort(~correct, kind="stable")[: config.shown]  # those that are classified correctly first
    names = [model.classes[data.labels[n]] for n in shown]
    panel = invariance_panel(model, x[shown], found, amounts, dict(zip(shown, names, strict=True)), config)
    return Report(*findings(found, amounts, correct, config), [panel])


def measure(net, x, labels, kind, amounts, config):
    """Distances (images, amounts) in each layer and probabilities of the true class.

    Distances are Euclidean, divided by the mean distance between the features of different images, so that layers can
    be compared; the paper's are not normalised.
    """
    layers = tuple(config.layers)
    originals = [_features(net, x[i : i + BATCH], layers)[0] for i in range(0, len(x), BATCH)]
    whole = {layer: np.concatenate([np.asarray(kept[layer]) for kept in originals]) for layer in layers}
    found = {layer: [] for layer in (*layers, "probability")}
    for n, label in enumerate(labels):
        kept, probabilities = _features(net, np.stack([transform(x[n], kind, amount) for amount in amounts]), layers)
        for layer in layers:
            found[layer].append(np.linalg.norm(np.asarray(kept[layer]) - whole[layer][n], axis=-1))
        found["probability"].append(np.asarray(probabilities)[:, label])
    between = {layer: mean_distance(features) for layer, features in whole.items()}
    return {name: np.stack(values) / between.get(name, 1) for name, values in found.items()}


def mean_distance(features):
    """Of all pairs of features (N, D)."""
    distances = np.array([np.linalg.norm(features - each, axis=-1) for each in features])
    return distances[~np.eye(len(features), dtype=bool)].mean()


@highest()
@partial(jax.jit, static_argnames="layers")
def _features(net, x, layers):
    """Features of each layer (N, D) and probabilities (N, K)."""
    logits, kept = network.capture(net, x, layers)
    return {name: value.reshape(len(x), -1) for name, value in kept.items()}, jax.nn.softmax(logits)


def transform(image, kind, amount):
    """An image (H, W, C) translated by `amount` pixels, scaled by a ratio or rotated by degrees about its centre.

    Pixels from outside repeat the border.
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


def invariance_panel(model, x, found, amounts, names, config):
    """A row for each transformation, as in the paper: examples, distances in two layers, and probabilities.

    `names`: class by the number of the image, of those shown `x`.
    """
    figure, axes = figures.axes(len(KINDS), 4, (3, 2.9), width_ratios=(1.1, 1, 1, 1))
    for row, (kind, words) in zip(axes, KINDS.items(), strict=True):
        chosen = amounts[kind][[0, len(amounts[kind]) // 2, -1]]
        plots.show(row[0], np.concatenate([strip(model, image, kind, chosen) for image in x]))
        row[0].set_title(f"{kind} by {chosen[0]:g}, {chosen[1]:g}, {chosen[2]:g}", fontsize=9)
        panels = *((layer, "distance") for layer in config.layers), ("probability", "P(true class)")
        for axis, (key, label) in zip(row[1:], panels, strict=True):
            for number, name in names.items():
                axis.plot(amounts[kind], found[kind][key][number], lw=1.2, label=name)
            axis.plot(amounts[kind], found[kind][key].mean(0), "k--", lw=1.6, label=f"mean of {len(found[kind][key])}")
            figures.label(axis, key if label == "distance" else label, words, label if label == "distance" else "")
            axis.set_ylim(bottom=0)
        highest = max(found[kind][layer].max() for layer in config.layers)
        for axis in row[1:3]:
            axis.set_ylim(0, 1.05 * highest)
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    caption = (
        "Translated, scaled and rotated images. Distance of their features from those of the original image, in the "
        "first and in the last layer, as a share of the mean distance between different images; and the probability of "
        "the true class. A coloured line for each image on the left, the dashed one is the mean. Pixels from outside "
        "repeat the image's border."
    )
    alt = "Three rows: example images, two panels of distances and one of probabilities against the amount."
    return Panel("invariance", figure, caption, alt)


def strip(model, image, kind, amounts):
    """An image transformed by each amount, side by side."""
    return np.concatenate([model.to_pixels(transform(image, kind, a)) for a in amounts], axis=1) / 255


def findings(found, amounts, correct, config):
    """Mean distances and probabilities, and whether the last layer changes less than the first.

    Probabilities of images that the network classifies correctly, `correct` (N,), when they are not transformed.
    """
    first, last = config.layers
    numbers, gaps, stable = [], {}, {}
    for kind, values in found.items():
        below, above = (values[layer].mean(1) for layer in (first, last))
        gaps[kind] = below - above
        stable[kind] = (values["probability"].mean(1) / nearest(values, amounts[kind], kind))[correct]
        numbers += [
            Number.mean(f"distance under {kind}, {first}", below),
            Number.mean(f"distance under {kind}, {last}", above),
            Number.mean(f"probability of the true class under {kind}", values["probability"].mean(1)),
        ]
    numbers.append(Number("images classified correctly", int(correct.sum()), note=f"of {len(correct)}"))
    return numbers, [layers_claim(gaps, first, last), stability_claim(stable)]


def layers_claim(gaps, first, last):
    """That features of the last layer move less than those of the first."""
    moved = np.mean([gaps["translation"], gaps["scale"]], axis=0)
    return Claim(
        "Small transformations change the first layer dramatically and the last layer little.",
        "section 4.1 and Fig. 5",
        statistics.t_test(moved),
        f"mean distance under translation and scale lower in {last} than in {first} by {moved.mean():.2f} ± "
        f"{moved.std():.2f} over {len(moved)} images",
    )


def stability_claim(stable):
    """That rotation lowers the class's probability more than translation and scale do."""
    remaining = [f"{kind} {values.mean():.2f}" for kind, values in stable.items() if len(values)]
    return Claim(
        "The output is stable to translation and scale, but not to rotation.",
        "section 4.1 and Fig. 5",
        statistics.t_test(np.mean([stable["translation"], stable["scale"]], axis=0), stable["rotation"]),
        "mean share of the true class's probability that remains: "
        + (", ".join(remaining) or "unknown")
        + "; tested is that it is lower under rotation, on images that the network classifies correctly",
    )


def nearest(found, amounts, kind):
    """Probability of the true class at the amount nearest to no change."""
    none = 1.0 if kind == "scale" else 0.0
    return found["probability"][:, np.abs(amounts - none).argmin()]


def plan(config: Config) -> list[dry_run.Step]:
    """Forward passes of all transformed images."""
    compute = partial(_features, layers=tuple(config.layers))
    return [
        dry_run.forward(config.network, config.steps, len(KINDS) * config.count, compute, name="transformed images")
    ]


EXPERIMENT = Experiment[Config](
    name="zeiler2014/invariance",
    title="Invariance to translation, scale and rotation",
    figure="Fig. 5",
    paper=papers.ZEILER2014,
    summary=(
        "How invariant are features to translation, scale and rotation? A layer is invariant where the features of "
        "transformed images stay close to those of the original. The paper plots Euclidean distances; here they are "
        "divided by the mean distance between different images, so that layers of different sizes can be compared."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
