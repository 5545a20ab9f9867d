"""Backprop, deconvnet and guided backprop side by side (Springenberg et al. 2015, section 4 and its figures)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure
from scipy import ndimage, stats

from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number
from xai_jax import metrics, models, network, plots, saliency, targets
from xai_jax.data import examples
from xai_jax.units.receptive_field import receptive_field

METHODS = {
    "backprop": saliency.gradient,
    "deconvnet": saliency.deconvnet,
    "guided backprop": saliency.guided_backprop,
}
BATCH = 8


def run(config: Any, run: runner.Run) -> None:
    """Maps of the class logit and of strong neurons, how faithful they are, and what sanity checks say of them."""
    model = models.load(config.network, config.weights)
    data = examples.load(config.images, config.count)
    x = model.preprocess(data.images)
    classes = run.stage("classes", lambda: class_maps(model.net, x, data.labels))
    neurons = {
        n: run.stage(f"neurons-{i}", lambda n=n: neuron_maps(model.net, x, n, config))
        for i, n in enumerate(config.layers)
    }
    curves = run.stage("curves", lambda: faithfulness(model.net, x, data.labels, classes, config.curve_steps))
    sanity = run.stage("sanity", lambda: sanity_checks(model.net, x, data.labels, config, run))
    pixels = model.to_pixels(x)
    run.figure("classes", *class_figure(pixels, classes, data, model.classes))
    for layer, found in neurons.items():
        run.figure(f"neurons-{layer.replace('/', '-')}", *neuron_figure(pixels, found, layer))
    run.figure("sanity", *sanity_figure(sanity))
    report(run, classes, neurons, curves, sanity, pixels, has_max_pool(model.net, x), config)


def class_maps(net, x, labels):
    """Attributions of the true class's logit, and of one and the same class for all images."""
    maps = [m(net, x, targets.logit(labels), batch_size=BATCH) for m in METHODS.values()]
    same = [m(net, x, targets.logit(np.full_like(labels, labels[0])), batch_size=BATCH) for m in METHODS.values()]
    return {"maps": np.stack(maps), "same": np.stack(same), "probabilities": _probabilities(net, x)}


def neuron_maps(net, x, layer, config):
    """Strong neurons of a layer, the boxes of their receptive fields, and their maps."""
    image, channel, row, column = strong_neurons(net, x, layer, config.neurons)
    target = targets.neuron(layer, channel, (row, column))
    boxes = receptive_field(net, layer, x).boxes(row, column)
    maps = [m(net, x[image], target, batch_size=BATCH) for m in METHODS.values()]
    return {"maps": np.stack(maps), "image": image, "channel": channel, "row": row, "column": column, "boxes": boxes}


def strong_neurons(net, x, layer, count):
    """(image, channel, row, column) arrays of `count` neurons that stand out most, images in turn, channels distinct.

    A neuron stands out by its distance from its channel's mean over images and positions, in standard deviations.
    """
    values = np.asarray(network.call(network.features(net, layer), x))
    scores = (values - values.mean((0, 1, 2))) / (values.std((0, 1, 2)) + 1e-6)
    found, used = [], set()
    for i in range(count):
        n = i % len(values)
        best = scores[n].max((0, 1))
        best[list(used)] = -np.inf
        used.add(int(best.argmax()))
        row, column = np.unravel_index(scores[n, :, :, best.argmax()].argmax(), scores.shape[1:3])
        found.append((n, best.argmax(), row, column))
    return np.array(found, np.int32).T


_probabilities = jax.jit(lambda net, x: jax.nn.softmax(net(x)))


def faithfulness(net, x, labels, classes, steps):
    """Areas under deletion and insertion curves of the true class's probability, on a blurred copy of the image."""
    blurred = ndimage.gaussian_filter(np.asarray(x), (0, x.shape[1] / 20, x.shape[2] / 20, 0))
    target, areas = targets.probability(labels), {}
    for name, maps in zip(METHODS, classes["maps"], strict=True):
        for kind, curve in (("deletion", metrics.deletion), ("insertion", metrics.insertion)):
            found = curve(net, x, maps, target, steps=steps, fill=blurred, batch_size=32)
            areas[f"{kind} {name}"] = found.area
    return areas


def sanity_checks(net, x, labels, config, run):
    """Similarity to the original maps as layers are randomised from the top down, and to maps of another class."""
    found = {}
    for name, method in run.progress(METHODS.items(), "sanity checks"):
        cascade = metrics.cascading_randomisation(method, net, x, targets.logit(labels), config.seed, batch_size=BATCH)
        found["layers"] = np.array(list(cascade))
        for measure in metrics.Similarity._fields:
            found[f"{measure} {name}"] = np.array([getattr(s, measure) for s in cascade.values()])
        found[f"logit {name}"] = metrics.random_logit(method, net, x, labels, config.seed, BATCH).spearman
    return found


def class_figure(pixels, classes, data, names):
    """Rows of images, columns of methods, as in the paper's figure."""
    probabilities = classes["probabilities"][np.arange(len(data.labels)), data.labels]
    rows = [f"{names[k]}\n{p:.2f}" for k, p in zip(data.labels, probabilities, strict=True)][:10]
    panels = [[pixels[i] / 255, *map(plots.signed, classes["maps"][:, i])] for i in range(len(rows))]
    figure, _ = plots.grid(panels, ["image", *METHODS], rows, size=1.9)
    caption = (
        "The logit of the true class brought down to pixels by three backward rules. Each map has zero at grey and a "
        "scale of its own. Under the class: the network's probability."
    )
    return figure, caption, f"Grid: {', '.join(data.names[:10])}; beside each photograph three maps of its class."


def neuron_figure(pixels, found, layer):
    """Rows of neurons: the image crop of the receptive field, then the maps in the same crop."""
    panels, rows = [], []
    for i, (top, left, bottom, right) in enumerate(found["boxes"]):
        crop = np.s_[top:bottom, left:right]
        scaled = [plots.signed(maps[i][crop]) for maps in found["maps"]]
        panels.append([pixels[found["image"][i]][crop] / 255, *scaled])
        rows.append(f"channel {found['channel'][i]}\n{bottom - top}x{right - left} px")
    figure, _ = plots.grid(panels, ["image crop", *METHODS], rows, size=1.7)
    caption = (
        f"Strong neurons of layer {layer}, cropped to their receptive fields. Zero is grey, one scale for each map."
    )
    return (
        figure,
        caption,
        f"{len(rows)} image patches that strongly excite neurons of {layer}, and three maps of each.",
    )


def sanity_figure(sanity):
    """Similarity against the depth of randomisation, one line for each method."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    layers = [str(name) for name in sanity["layers"]]
    for axis, measure, title in zip(axes, ("spearman_abs", "ssim"), ("rank correlation of |map|", "SSIM"), strict=True):
        for name, style in zip(METHODS, ("-o", "-s", "-^"), strict=True):
            values = sanity[f"{measure} {name}"]
            axis.errorbar(
                range(len(layers)), values.mean(1), values.std(1), fmt=style, ms=3, lw=1.2, capsize=2, label=name
            )
        axis.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
        axis.set_title(f"similarity to the original: {title}", fontsize=9)
        axis.axhline(0, color="0.7", lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlabel("layers randomised, from the top down to this one", fontsize=8)
    axes[0].legend(fontsize=8, frameon=False)
    caption = (
        "Sanity check of Adebayo et al. 2018: weights are randomised from the top layer down. A method that explains "
        "the network must lose its map at once; one whose map survives shows the image. Mean and standard deviation "
        "over images."
    )
    return (
        figure,
        caption,
        "Lines of similarity falling as more layers are randomised, for three methods and two measures.",
    )


def structure(maps, pixels):
    """Rank correlation of a map's magnitude with the image's edges, per image: how far a map follows the picture."""
    edges = [ndimage.gaussian_gradient_magnitude(p.mean(-1).astype(float), 1) for p in pixels]
    return np.array([_correlation(np.abs(m).sum(-1), e) for m, e in zip(maps, edges, strict=True)])


def _correlation(a, b):
    return stats.spearmanr(a.ravel(), b.ravel()).statistic if np.ptp(a) and np.ptp(b) else np.nan


def report(run, classes, neurons, curves, sanity, pixels, pooled, config):
    """Numbers and claims."""
    alike = {layer: cosine(found["maps"][1], found["maps"][2]) for layer, found in neurons.items()}
    across = {n: pairwise(same) for n, same in zip(METHODS, classes["same"], strict=True)}
    follows = {n: structure(m, pixels) for n, m in zip(METHODS, classes["maps"], strict=True)}
    half = len(sanity["layers"]) // 2
    survives = {n: sanity[f"ssim {n}"][half] for n in METHODS}
    for layer, values in alike.items():
        run.numbers.append(Number.mean(f"cosine of deconvnet and guided maps, {layer}", values))
    for title, table in (
        ("correlation between images of one class's maps", across),
        ("correlation of map and image edges", follows),
        (f"SSIM after randomising down to {sanity['layers'][half]}", survives),
        ("correlation with the map of another class", {n: sanity[f"logit {n}"] for n in METHODS}),
    ):
        run.numbers += [Number.mean(f"{title}, {name}", values) for name, values in table.items()]
    run.numbers += [Number.mean(f"area under the {name} curve", values) for name, values in curves.items()]
    first, last = (alike[layer] for layer in (config.layers[0], config.layers[-1]))
    run.claims += [
        Claim(
            "Deconvnet and guided backprop look alike in low layers and differ more in deeper ones.",
            "section 4.1, from memory of the paper (unverified)",
            bool(np.nanmean(first) > max(0.5, np.nanmean(last))),
            f"mean cosine {np.nanmean(first):.2f} in {config.layers[0]} (alike: above 0.5), {np.nanmean(last):.2f} in "
            f"{config.layers[-1]}",
        ),
        Claim(
            "Without max-pooling a deconvnet projection is not conditioned on the image; guided backprop is.",
            "section 4.1, from memory of the paper (unverified)",
            bool(across["deconvnet"].mean() > 0.5 > across["guided backprop"].mean()) if not pooled else None,
            f"maps of one class correlate between images by {across['deconvnet'].mean():.2f} (deconvnet) and "
            f"{across['guided backprop'].mean():.2f} (guided backprop)"
            + ("; this network has a max-pool, so the claim is not about it" if pooled else ""),
        ),
        Claim(
            "Guided backprop gives the cleanest maps of the three: they follow the image's structure.",
            "section 4.1, from memory of the paper (unverified)",
            bool(follows["guided backprop"].mean() > max(follows["backprop"].mean(), follows["deconvnet"].mean())),
            "rank correlation with the image's edges: " + listed(follows),
        ),
        Claim(
            "Guided backprop survives the randomisation of upper layers; the plain gradient does not.",
            "Adebayo et al. 2018, section 4.1 (unverified)",
            bool(survives["guided backprop"].mean() > survives["backprop"].mean()),
            f"SSIM after randomising down to {sanity['layers'][half]}: " + listed(survives),
        ),
    ]


def has_max_pool(net, x):
    """Whether the network has max-pools, which are tapped as maps named pool1, pool2, ...; an average is no map."""
    return any(name.startswith("pool") and value.ndim == 4 for name, value in network.layer_names(net, x).items())


def listed(table):
    return ", ".join(f"{name} {np.nanmean(values):.2f}" for name, values in table.items())


def cosine(a, b):
    """Cosines of two stacks of maps, (N,); NaN where a map is all zero."""
    a, b = (m.reshape(len(m), -1).astype(np.float64) for m in (a, b))
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), norm, out=np.full(len(a), np.nan), where=norm > 0)


def pairwise(maps):
    """Rank correlations between the maps of all pairs of images."""
    return np.array([_correlation(maps[i], maps[j]) for i in range(len(maps)) for j in range(i)])


def plan(config: Any) -> list[dry_run.Step]:
    """The three maps of a batch, for the class and for a neuron of each layer; forward passes of the curves."""
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((BATCH, *shape), jnp.float32)

    def maps(variables, x, target):
        net = Partial(module.apply, variables)
        return [method(net, x, target) for method in METHODS.values()]

    def forward(variables, x):
        return module.apply(variables, x)

    batches = -(-config.count // BATCH)
    steps = [dry_run.Step("maps of the class", maps, (variables, x, targets.logit(0)), 2 * batches)]
    for layer in config.layers:
        repeats = -(-config.neurons // BATCH)
        steps.append(dry_run.Step(f"maps of {layer}", maps, (variables, x, targets.neuron(layer, 0)), repeats))
    layers = len(variables["params"])
    steps.append(dry_run.Step("sanity checks", maps, (variables, x, targets.logit(0)), layers + 2))
    curves = 2 * len(METHODS) * (config.curve_steps + 1) * batches
    return [*steps, dry_run.Step("curves", forward, (variables, x), curves)]


EXPERIMENT = runner.Experiment(
    name="springenberg2015/comparison",
    title="Backprop, deconvnet and guided backprop side by side",
    figure="Figures of section 4: patches of filters, and the comparison of methods",
    paper="Springenberg, Dosovitskiy, Brox and Riedmiller 2015, Striving for Simplicity, arXiv 1412.6806",
    summary=(
        "All three methods send a neuron's signal down to the pixels and differ only in what a ReLU does to it: "
        "backprop stops it where the input was negative, the deconvnet where the signal is negative, guided backprop "
        "where either is. The network has strided convolutions in place of max-pooling, so a deconvnet has no switches "
        "to tie it to the image."
    ),
    run=run,
    plan=plan,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
