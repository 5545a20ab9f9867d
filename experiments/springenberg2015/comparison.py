"""Backprop, deconvnet and guided backprop side by side (Springenberg et al. 2015, section 4 and its figures)."""

import jax
import numpy as np
from scipy import ndimage

from configs.springenberg2015.comparison import Config
from experiments.lib import dry_run, figures, measures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import metrics, models, network, saliency, targets
from xai_jax.data import examples
from xai_jax.units.receptive_field import receptive_field

METHODS = {"backprop": saliency.gradient, "deconvnet": saliency.deconvnet, "guided backprop": saliency.guided_backprop}
BATCH = 8
ROWS = 8  # at most, in figures
SIMILAR = 0.5  # correlation or cosine of maps that counts as similar


def run(config: Config, work: Workspace) -> Report:
    """Maps of prominent neurons with and without max-pooling, and of the class logit; faithfulness; sanity checks."""
    model = models.load(config.network, config.weights)
    data = examples.load(config.images, config.count)
    net, x = model.net, model.preprocess(data.images)
    pooled = pooled_neurons(config, work) if config.pooled else {}
    classes = work.stage("classes", lambda: class_maps(net, x, data.labels))
    neurons = all_neurons(model, x, config.layers, config, work)
    curves = work.stage("curves", lambda: faithfulness(net, x, data.labels, classes, config.curve_steps))
    sanity = work.stage("sanity", lambda: sanity_checks(net, x, data.labels, config, work))
    pixels = model.to_pixels(x)
    panels = [neuron_panel(found, f"{layer} of {config.pooled}") for layer, found in pooled.items()]
    panels += [class_panel(pixels, classes, data, model.classes)]
    panels += [neuron_panel(found, f"{layer} of {config.network}") for layer, found in neurons.items()]
    found = measured(classes, neurons | pooled, sanity, pixels)
    pooling = measures.has_pooling(network.layer_names(net, x))
    return Report(numbers(found, curves), claims(found, pooling, config), [*panels, sanity_panel(sanity)])


def pooled_neurons(config, work):
    """Neurons of the network with max-pooling, by layer."""
    model = models.load(config.pooled)
    images = examples.load("photographs", config.photographs, config.first).images
    return all_neurons(model, model.preprocess(images), config.pooled_layers, config, work)


def all_neurons(model, x, layers, config, work):
    """Neurons of each layer."""
    pixels = model.to_pixels(x)
    return {
        layer: work.stage(f"neurons-{layer}", lambda layer=layer: neuron_maps(model.net, x, pixels, layer, config))
        for layer in work.progress(layers, "layers")
    }


def class_maps(net, x, labels):
    """Attributions of the true class's logit, and of one and the same class for all images."""
    maps = [m(net, x, targets.logit(labels), batch_size=BATCH) for m in METHODS.values()]
    same = [m(net, x, targets.logit(np.full_like(labels, labels[0])), batch_size=BATCH) for m in METHODS.values()]
    return {"maps": np.stack(maps), "same": np.stack(same), "probabilities": measures.probabilities(net, x)}


def neuron_maps(net, x, pixels, layer, config):
    """Strong neurons of a layer and the boxes of their receptive fields; images and maps of those in the figure.

    The cosine of deconvnet and guided maps is that of whole maps.
    """
    image, channel, row, column = strong_neurons(net, x, layer, config.neurons)
    target = targets.neuron(layer, channel, (row, column))
    boxes = receptive_field(net, layer, x[:1]).boxes(row, column)
    maps = [np.asarray(m(net, x[image], target, batch_size=BATCH)) for m in METHODS.values()]
    shown = {"maps": np.stack([each[:ROWS] for each in maps]), "pixels": pixels[image[:ROWS]]}
    return shown | {"cosine": measures.cosine(*maps[1:]), "image": image, "channel": channel, "boxes": boxes}


def strong_neurons(net, x, layer, count):
    """(image, channel, row, column) arrays of `count` neurons that stand out most, images in turn, channels distinct.

    A neuron stands out by its distance from its channel's mean over images and positions, in standard deviations. Those
    of the outer quarter of a map, which see little of the image, are left out.
    """
    batches = [network.call(network.features(net, layer), x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    values = np.concatenate([np.asarray(batch) for batch in batches])
    scores = (values - values.mean((0, 1, 2))) / (values.std((0, 1, 2)) + 1e-6)
    rows, columns = (np.abs(np.arange(size) - (size - 1) / 2) > size / 4 for size in scores.shape[1:3])
    scores[:, rows[:, None] | columns] = -np.inf
    found, used = [], set()
    for i in range(count):
        n = i % len(values)
        best = scores[n].max((0, 1))
        best[list(used)] = -np.inf
        used.add(int(best.argmax()))
        row, column = np.unravel_index(scores[n, :, :, best.argmax()].argmax(), scores.shape[1:3])
        found.append((n, best.argmax(), row, column))
    return np.array(found, np.int32).T


def faithfulness(net, x, labels, classes, steps):
    """Areas under deletion and insertion curves of the true class's probability, on a blurred copy of the image."""
    blurred = ndimage.gaussian_filter(np.asarray(x), (0, x.shape[1] / 20, x.shape[2] / 20, 0))
    target, areas = targets.probability(labels), {}
    for name, maps in zip(METHODS, classes["maps"], strict=True):
        for kind, curve in (("deletion", metrics.deletion), ("insertion", metrics.insertion)):
            found = curve(net, x, maps, target, steps=steps, fill=blurred, batch_size=32)
            areas[f"{kind} {name}"] = found.area
    return areas


def sanity_checks(net, x, labels, config, work):
    """Similarity to the original maps as layers are randomised from the top down, and to maps of another class."""
    found, key = {}, jax.random.key(config.seed)
    for name, method in work.progress(METHODS.items(), "sanity checks"):
        cascade = metrics.cascading_randomisation(method, net, x, targets.logit(labels), key, batch_size=BATCH)
        found["layers"] = np.array(list(cascade))
        for measure in metrics.Similarity._fields:
            found[f"{measure} {name}"] = np.array([getattr(s, measure) for s in cascade.values()])
        found[f"logit {name}"] = metrics.random_logit(method, net, x, labels, key, BATCH).spearman
    return found


def class_panel(pixels, classes, data, names):
    """Rows of images, columns of methods, as in the paper's figure."""
    own = classes["probabilities"][np.arange(len(data.labels)), data.labels]
    rows = figures.with_confidence(names, data.labels[:ROWS], own[:ROWS])
    maps = classes["maps"].swapaxes(0, 1)[:ROWS]
    return Panel(
        "classes",
        figures.attributions(pixels[:ROWS] / 255, maps, ["image", *METHODS], rows),
        "Attribution maps for the logit of the true class under three backward rules for ReLU. Each map has zero at "
        "grey and a scale of its own. Below the class: the network's probability.",
        f"Grid: {', '.join(data.names[:ROWS])}; beside each photograph three maps of its class.",
    )


def neuron_panel(found, layer):
    """Rows of neurons: the image crop of the receptive field, then the maps in the same crop."""
    boxes = found["boxes"][: len(found["pixels"])]
    crops = [np.s_[top:bottom, left:right] for top, left, bottom, right in boxes]
    sizes = [f"{bottom - top}x{right - left} px" for top, left, bottom, right in boxes]
    rows = [f"channel {channel}\n{size}" for channel, size in zip(found["channel"], sizes, strict=False)]
    images = [image[crop] / 255 for image, crop in zip(found["pixels"], crops, strict=True)]
    maps = [[maps[i][crop] for maps in found["maps"]] for i, crop in enumerate(crops)]
    return Panel(
        f"neurons-{layer.split()[0].replace('/', '-')}",
        figures.attributions(images, maps, ["image crop", *METHODS], rows, size=1.7),
        f"Prominent neurons of layer {layer}, cropped to their receptive fields. Zero is grey, one scale for each map.",
        f"{len(rows)} image patches that strongly activate neurons of {layer}, and three maps of each.",
    )


def sanity_panel(sanity):
    """Similarity against the depth of randomisation, one line for each method."""
    figure, axes = figures.axes(1, 2, (4, 3.6), sharex=True, sharey=True)
    ticks = [str(name) for name in sanity["layers"]]
    titles = {"spearman_abs": "rank correlation of |map|", "ssim": "SSIM"}
    for axis, (measure, title) in zip(axes[0], titles.items(), strict=True):
        figures.error_lines(axis, {name: sanity[f"{measure} {name}"] for name in METHODS}, ticks)
        axis.set_title(f"similarity to the original: {title}", fontsize=9)
        axis.set_xlabel("layers randomised, from the top down to this one", fontsize=8)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return Panel(
        "sanity",
        figure,
        "Sanity check of Adebayo et al. 2018: weights are randomised from the top layer down. The map of a method that "
        "is sensitive to the weights changes at once; a map that stays shows the image. Mean and standard deviation "
        "over images.",
        "Lines of similarity falling as more layers are randomised, for three methods and two measures.",
    )


def measured(classes, neurons, sanity, pixels):
    """What numbers and claims need: name -> method or layer -> values."""
    half = len(sanity["layers"]) // 2
    return {
        "cosine": {layer: found["cosine"] for layer, found in neurons.items()},
        "pairs": {n: measures.pairwise_rank_correlations(m) for n, m in zip(METHODS, classes["same"], strict=True)},
        "edges": {n: structure(m, pixels) for n, m in zip(METHODS, classes["maps"], strict=True)},
        "ssim": {n: sanity[f"ssim {n}"][half] for n in METHODS},
        "class": {n: sanity[f"logit {n}"] for n in METHODS},
        "layer": str(sanity["layers"][half]),
    }


def structure(maps, pixels):
    """Rank correlation of a map's magnitude with the image's edges, per image."""
    edges = [ndimage.gaussian_gradient_magnitude(p.mean(-1).astype(float), 1) for p in pixels]
    return np.array([measures.rank_correlation(np.abs(m).sum(-1), e) for m, e in zip(maps, edges, strict=True)])


def numbers(found, curves):
    """All measures, as means over images, pairs of images or neurons."""
    pairs = {n: v[np.tril_indices_from(v, -1)] for n, v in found["pairs"].items()}
    tables = {
        "cosine of deconvnet and guided maps": found["cosine"],
        "correlation between images of one class's maps": pairs,
        "correlation of map and image edges": found["edges"],
        f"SSIM after randomising down to {found['layer']}": found["ssim"],
        "correlation with the map of another class": found["class"],
    }
    listed = [Number.mean(f"{title}, {name}", v) for title, table in tables.items() for name, v in table.items()]
    return listed + [Number.mean(f"area under the {name} curve", values) for name, values in curves.items()]


def claims(found, pooled, config):
    """The claims, each decided by paired tests over images or tests over neurons."""
    memory = "section 4.1, from memory of the paper (unverified)"
    edges, ssim = found["edges"], found["ssim"]
    others = {name: values for name, values in edges.items() if name != "guided backprop"}
    depth = depth_claim(found["cosine"], config.network, config.layers, memory)
    with_pooling = [depth_claim(found["cosine"], config.pooled, config.pooled_layers, memory)] if config.pooled else []
    return [
        depth,
        *with_pooling,
        conditioning_claim(found["pairs"], memory, pooled),
        Claim(
            "Guided backprop gives the cleanest maps of the three: they follow the image's structure.",
            memory,
            statistics.all_of([statistics.wilcoxon(edges["guided backprop"], other) for other in others.values()]),
            f"rank correlation with the image's edges: {listed(edges)}; tests against {', then '.join(others)}",
        ),
        Claim(
            "Guided backprop is less sensitive to the randomisation of upper layers than the gradient.",
            "Adebayo et al. 2018, section 4.1 (unverified)",
            statistics.wilcoxon(ssim["guided backprop"], ssim["backprop"]),
            f"SSIM after randomising down to {found['layer']}: {listed(ssim)}",
        ),
    ]


def depth_claim(cosines, name, layers, source):
    """Over neurons, which are others in each layer: similar in the first, less so in the last."""
    first, last = layers[0], layers[-1]
    similar = statistics.t_test(cosines[first], SIMILAR)
    return Claim(
        f"Deconvnet and guided backprop are similar in low layers and differ more in deeper ones, in {name}.",
        source,
        statistics.all_of([similar, statistics.mann_whitney(cosines[first], cosines[last])]),
        f"mean cosine {np.nanmean(cosines[first]):.2f} in {first} (similar: above {SIMILAR}), "
        f"{np.nanmean(cosines[last]):.2f} in {last}",
    )


def conditioning_claim(pairs, source, pooled):
    """By each image's mean correlation with the others: deconvnet maps do not depend on the image, guided ones do."""
    deconvnet, guided = (np.nanmean(pairs[name], axis=1) for name in ("deconvnet", "guided backprop"))
    tests = [statistics.t_test(deconvnet, SIMILAR), statistics.t_test(SIMILAR, guided)]
    reason = "this network has max-pooling: the claim does not apply"
    return Claim(
        "Without max-pooling a deconvnet projection is not conditioned on the image; guided backprop is.",
        source,
        statistics.where(not pooled, statistics.all_of(tests), reason),
        f"maps of one class correlate between images by {deconvnet.mean():.2f} (deconvnet, above {SIMILAR} is claimed) "
        f"and {guided.mean():.2f} (guided backprop, below)",
    )


def listed(table):
    return ", ".join(f"{name} {np.nanmean(values):.2f}" for name, values in table.items())


def plan(config: Config) -> list[dry_run.Step]:
    """The three maps of a batch, for the class and for a neuron of each layer; forward passes of the curves."""

    def maps(net, x, target):
        return [method(net, x, target) for method in METHODS.values()]

    def step(name, target, calls, of=config.network):
        return dry_run.forward(of, BATCH, calls, maps, target, name=name)

    def neurons(of, layers):
        calls = dry_run.calls(config.neurons, BATCH)
        return [step(f"maps of {layer}", targets.neuron(layer, 0), calls, of) for layer in layers]

    batches, layers = dry_run.calls(config.count, BATCH), len(models.abstract(config.network)[1]["params"])
    return [
        *(neurons(config.pooled, config.pooled_layers) if config.pooled else []),
        step("maps of the class", targets.logit(0), 2 * batches),
        *neurons(config.network, config.layers),
        step("sanity checks", targets.logit(0), (layers + 2) * batches),
        dry_run.forward(config.network, BATCH, 2 * len(METHODS) * (config.curve_steps + 1) * batches, name="curves"),
    ]


EXPERIMENT = Experiment[Config](
    name="springenberg2015/comparison",
    title="Backprop, deconvnet and guided backprop side by side",
    figure="Figures of section 4: patches of filters, and the comparison of methods",
    paper=papers.SPRINGENBERG2015,
    summary=(
        "Backprop, deconvnet and guided backprop differ in their rule for ReLU, and without max-pooling the deconvnet "
        "lacks the switches that condition it on the image. Which maps are clean, and which depend on the image?"
    ),
    run=run,
    plan=plan,
    minutes=2,
    look="guided backprop draws the object; backprop is noise, and the deconvnet needs pooling switches.",
)

if __name__ == "__main__":
    main(EXPERIMENT)
