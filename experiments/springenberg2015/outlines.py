"""How much of a neuron's map lies on the object that it sees (Springenberg et al. 2015, section 4, measured)."""

import numpy as np
from scipy import ndimage

from configs.springenberg2015.outlines import Config
from experiments.lib import dry_run, figures, measures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.springenberg2015.comparison import METHODS
from xai_jax import models, network, targets
from xai_jax.data import composites, cutouts, examples

GUIDED, *OTHERS = reversed(METHODS)
MEASURES = {
    "inside": "share of the map on the object",
    "peak": "largest value of the map on the object",
    "edges": "cosine of map and image edges",
}
BATCH = 8
CANVAS = 256  # pixels of an image before the network's own preprocessing


def run(config: Config, work: Workspace) -> Report:
    """Maps of the neuron that stands out most on each object, and how much of them lies on it."""
    model = models.load(config.network, config.weights)
    images, outlines, names = scenes(config)
    x, inside = model.preprocess(images), fitted(outlines, model)
    pixels = model.to_pixels(x)
    found = work.stage("maps", lambda: neuron_maps(model.net, x, inside, pixels, config, work))
    scores = {name: {key: found[f"{key} {name}"] for key in MEASURES} for name in METHODS}
    panels = [map_panel(found, pixels, inside, names, config), score_panel(scores, inside)]
    return Report(numbers(scores, inside), claims(scores), panels)


def scenes(config):
    """Images, the opacity (H, W) of the object in each as uint8, and names."""
    if config.images == "digits":
        found = examples.load("digits", config.count)
        return found.images, [np.where(image > 100, 255, 0).astype(np.uint8) for image in found.images], found.names
    rows = np.random.default_rng(config.seed).permutation(len(cutouts.table()))[: config.count]
    objects = [cutouts.table()[row] for row in rows]
    drawn = [scene(item, config.seed, row) for item, row in zip(objects, rows, strict=True)]
    return [image for image, _ in drawn], [outline for _, outline in drawn], [item.name for item in objects]


def scene(cutout, seed, number):
    """One object on a crop of a photograph, and its opacity."""
    rng = np.random.default_rng([seed, number])
    image, opacity = composites.composite(composites.item(cutout), composites.photograph(CANVAS, rng), rng)
    return image, np.rint(255 * opacity).astype(np.uint8)


def fitted(outlines, model):
    """Outlines cropped and resized as the network's images: (N, H, W), 0 to 1."""
    return model.to_pixels(model.preprocess(outlines))[..., 0] / np.float32(255)


def neuron_maps(net, x, inside, pixels, config, work):
    """The neuron of each image, the measures of its maps, and the maps of the images in the figure."""
    row, column, channel = strongest(net, x, inside, config.layer)
    target = targets.neuron(config.layer, channel, (row, column))
    edges = np.stack([ndimage.gaussian_gradient_magnitude(p.mean(-1), 1) for p in pixels.astype(np.float64)])
    found = {"row": row, "column": column, "channel": channel}
    for name, method in work.progress(METHODS.items(), "maps"):
        maps = np.asarray(method(net, x, target, batch_size=BATCH))
        found |= {f"{key} {name}": values for key, values in measure(maps, inside, edges).items()}
        found[f"maps {name}"] = maps[: config.shown]
    return found


def strongest(net, x, inside, layer):
    """Row, column and channel (N,) of the neuron on each object that stands out most.

    It does by its distance from its channel's mean over images and positions, in standard deviations.
    """
    batches = [network.call(network.features(net, layer), x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    values = np.concatenate([np.asarray(batch) for batch in batches])
    scores = (values - values.mean((0, 1, 2))) / (values.std((0, 1, 2)) + 1e-6)
    on_object = np.stack([covered(each, values.shape[1:3]) for each in inside])
    scores[~on_object] = -np.inf
    return np.stack([np.unravel_index(each.argmax(), each.shape) for each in scores], 1).astype(np.int32)


def covered(outline, shape):
    """Which positions of a map (h, w) the object covers by half, or else the one that it covers most."""
    steps = [n / m for n, m in zip(outline.shape, shape, strict=True)]
    centres = np.meshgrid(
        *((np.arange(m) + 0.5) * step - 0.5 for m, step in zip(shape, steps, strict=True)), indexing="ij"
    )
    smooth = ndimage.uniform_filter(outline, [max(1, round(step)) for step in steps])
    share = ndimage.map_coordinates(smooth, centres, order=1, mode="nearest")
    return share >= min(0.5, share.max())


def measure(maps, inside, edges):
    """For each map (N, H, W, C): its share on the object, whether its peak is there, and its cosine with edges."""
    size = np.abs(maps.astype(np.float64)).sum(-1)
    total, peak = size.sum((1, 2)), size.reshape(len(size), -1).argmax(1)
    on_object = inside.reshape(len(inside), -1)[np.arange(len(size)), peak] > 0.5
    share = np.divide((size * inside).sum((1, 2)), total, out=np.full(len(size), np.nan), where=total > 0)
    return {
        "inside": share,
        "peak": np.where(total > 0, on_object, np.nan),
        "edges": measures.cosine(size, edges),
    }


def map_panel(found, pixels, inside, names, config):
    """Rows of images with the outline, columns of methods."""
    shown = range(min(config.shown, len(pixels)))
    maps = [[found[f"maps {name}"][i] for name in METHODS] for i in shown]
    rows = [f"{names[i].replace('_', ' ')}\nchannel {found['channel'][i]}" for i in shown]
    return Panel(
        "maps",
        figures.attributions([outlined(pixels[i], inside[i]) for i in shown], maps, ["image", *METHODS], rows),
        f"Maps of the neuron of {config.layer} that stands out most on each object, under three backward rules for "
        "ReLU. The white line is the object's outline. Each map has zero at grey and a scale of its own.",
        f"Grid of {len(rows)} objects; beside each image three maps of one neuron.",
    )


def outlined(pixels, inside):
    """An image in [0, 1] with a white line around the object, if it is large enough for one."""
    mask, width = inside > 0.5, round(len(inside) / 150)
    line = ndimage.binary_dilation(mask, iterations=width) & ~mask if width else np.zeros_like(mask)
    return np.where(line[..., None], 1.0, pixels / 255)


def score_panel(scores, inside):
    """Quartiles of the two measures of each method, and the share of peaks on the object."""
    figure, axes = figures.axes(1, 3, (3, 3))
    for axis, (key, title) in zip(axes[0], MEASURES.items(), strict=True):
        if key == "peak":
            shares = [statistics.proportion(scores[name][key]) for name in METHODS]
            spans = [[s.mean - s.low for s in shares], [s.high - s.mean for s in shares]]
            axis.bar(list(METHODS), [s.mean for s in shares], 0.5, yerr=spans, color="0.75", capsize=3)
            axis.set_ylim(0, 1)
        else:
            figures.boxes(axis, {name: statistics.present(scores[name][key]) for name in METHODS})
        figures.label(axis, title)
        axis.tick_params(axis="x", rotation=20)
    axes[0, 0].axhline(inside.mean(), color="0.5", ls=":", lw=1)
    return Panel(
        "scores",
        figure,
        "Left: share of a map's absolute values on the object; the dotted line is the mean share of the image that "
        "objects cover. Middle: maps whose largest value is on the object, with 95 % intervals. Right: cosine of a "
        f"map's absolute values and the edges of the image. Over {len(inside)} images; boxes are quartiles, orange "
        "lines medians, and whiskers reach at most 1.5 times as far as a box.",
        "Boxes and bars of three measures for backprop, deconvnet and guided backprop.",
    )


def numbers(scores, inside):
    """Means over images."""
    area = Number.mean("share of the image that the object covers", inside.mean((1, 2)))
    found = [Number.mean(f"{title}, {name}", scores[name][key]) for key, title in MEASURES.items() for name in METHODS]
    least = statistics.detectable(len(inside)) if len(inside) > 1 else None
    return [area, *found, Number("difference found with a power of 0.8", least, unit="standard deviations")]


def claims(scores):
    """Guided backprop against both others, by paired tests over images."""
    source = "section 4.1 in words; the measures are ours"
    texts = {
        "inside": "More of a guided map lies on the object than of the others.",
        "peak": "The largest value of a guided map lies on the object more often than those of the others.",
        "edges": "Guided maps are sharper: they follow the image's edges more closely than the others.",
    }
    return [
        Claim(text, source, statistics.all_of([above(key, scores, other) for other in OTHERS]), listed(key, scores))
        for key, text in texts.items()
    ]


def above(key, scores, other):
    """Paired: a signed-rank test, for peaks a sign test of the images in which the methods differ."""
    ours, theirs = scores[GUIDED][key], scores[other][key]
    return statistics.binomial((ours > theirs)[ours != theirs]) if key == "peak" else statistics.wilcoxon(ours, theirs)


def listed(key, scores):
    means = ", ".join(f"{name} {np.nanmean(scores[name][key]):.2f}" for name in METHODS)
    cases = ", of images in which they differ" if key == "peak" else ""
    return f"{MEASURES[key]}: {means}; tests against {', then '.join(OTHERS)}{cases}"


def plan(config: Config) -> list[dry_run.Step]:
    """Three maps of each batch, and a forward pass to find the neurons."""

    def neurons(net, x):
        return network.features(net, config.layer)(x)

    def maps(net, x, target):
        return [method(net, x, target) for method in METHODS.values()]

    batches = dry_run.calls(config.count, BATCH)
    return [
        dry_run.forward(config.network, BATCH, batches, neurons, name="neurons"),
        dry_run.forward(config.network, BATCH, batches, maps, targets.neuron(config.layer, 0, (0, 0)), name="maps"),
    ]


EXPERIMENT = Experiment[Config](
    name="springenberg2015/outlines",
    title="Do maps of neurons lie on the object?",
    figure="The comparison of methods in section 4, measured",
    paper=papers.SPRINGENBERG2015,
    summary=(
        "Objects cut out of photographs are put on others, so that their outline is known. For the neuron of a high "
        "layer that stands out most on each object, maps of backprop, deconvnet and guided backprop are compared by "
        "their share on the object, the position of their peak, and their agreement with the image's edges."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
