"""What excites the feature maps of each layer (Zeiler & Fergus 2014, section 4.1 and Fig. 2)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number, told
from experiments.lib.top_activations import as_input, search, tile
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.data import datasets
from xai_jax.weights import safetensors_file

BATCH = 36  # projections at once


def run(config: Any, run: runner.Run) -> None:
    """Searches the data set once for all layers, brings the strongest activations down, and draws a figure a layer."""
    model = models.load(config.network, config.weights)
    data = datasets.load(config.data, config.split)
    found = run.stage("search", lambda: search(model, data, config, run))
    run.figure("filters", *filters_figure(model.variables["params"]))
    for layer in config.layers:
        shown = run.stage(layer, lambda layer=layer: projections(model, data, found, layer, config))
        run.figure(layer, *figure(shown, layer, config.k))
    report(run, {layer: purity(found[f"{layer} labels"]) for layer in config.layers}, data, config.k)


def projections(model, data, found, layer, config):
    """Tiles (maps, k, h, w, 3) of projections and of the image patches that caused them, for maps chosen at random.

    Dead maps, which no image excites, are not shown, as in the paper.
    """
    alive = np.flatnonzero(found[f"{layer} values"][:, 0] > 0)
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    channels = np.sort(rng.permutation(alive)[: config.maps])
    images, rows, columns = (found[f"{layer} {name}"][channels].ravel() for name in ("images", "rows", "columns"))
    x = np.stack([as_input(model, data[int(i)][0]) for i in images])
    down, field = brought_down(model.net, layer, jnp.asarray(x), np.repeat(channels, config.k), rows, columns)
    pixels = model.to_pixels(x) / 255
    patches = [tile(p, field, *at, fill=1.0) for p, *at in zip(pixels, rows, columns, strict=True)]
    shape = len(channels), config.k
    down, patches = (np.stack(tiles).reshape(*shape, *tiles[0].shape) for tiles in (down, patches))
    return {"channels": channels, "projections": down.astype(np.float32), "patches": patches.astype(np.float32)}


def brought_down(net, layer, x, channels, rows, columns):
    """Projections of one neuron of each image, as tiles of what it sees, and the layer's receptive field."""
    maps = deconvnet.project(net, x, targets.neuron(layer, channels, (rows, columns)), batch_size=BATCH)
    field = deconvnet.receptive_field(net, layer, x)
    return [plots.signed(tile(m, field, *at)) for m, *at in zip(np.asarray(maps), rows, columns, strict=True)], field


def figure(shown, layer, k):
    """Projections on the left, the patches in the same places on the right, k to a map."""
    side = int(np.ceil(np.sqrt(len(shown["channels"]))))
    h, w = shown["patches"].shape[2:4]
    larger = max(1, 20 // h)  # or the gaps would be as wide as the smallest patches
    figure = Figure(figsize=(12, 6.3), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2), ("projections", "patches"), strict=True):
        tiles = np.repeat(np.repeat(shown[key], larger, 2), larger, 3)
        blocks = [mosaic(each, int(np.ceil(np.sqrt(k))), 1, 0.8) for each in tiles]
        plots.show(axis, mosaic(blocks, side, 4, 1.0))
        axis.set_title(f"{layer}: {key}", fontsize=11)
    numbers = ", ".join(map(str, shown["channels"]))
    caption = (
        f"The {k} strongest activations of {len(shown['channels'])} maps of {layer} over the whole data set, at most "
        f"one an image, brought down to pixels by the deconvnet (left; zero is grey, one scale for each), and the "
        f"patches of {h}x{w} pixels, the receptive field, that caused them (right). Maps {numbers}, row by row."
    )
    return figure, caption, f"Blocks of {k} small pictures each: structures found by maps of {layer}, and the patches."


def mosaic(tiles, columns, gap, fill):
    """Tiles of one shape (h, w, C), row by row with a gap between them."""
    h, w, c = np.shape(tiles[0])
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), fill, np.float32)
    for i, picture in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = picture
    return sheet


def filters_figure(params):
    """The filters of the first layer, which are pictures themselves."""
    kernel = np.asarray(next(array for array in safetensors_file.flatten(params).values() if array.ndim == 4))
    filters = [plots.signed(f) for f in kernel.transpose(3, 0, 1, 2)]
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    plots.show(axis, mosaic(filters, max(8, int(np.sqrt(2 * len(filters)))), 1, 1.0))
    axis.set_title(f"the {len(filters)} filters of the first layer", fontsize=10)
    caption = "The first layer's filters themselves, zero at grey and each with a scale of its own."
    return figure, caption, f"{len(filters)} small filters of {kernel.shape[0]}x{kernel.shape[1]} pixels."


def purity(labels):
    """For each map, how many of its strongest images are of the class that most of them are of, as a share."""
    return np.array([np.bincount(row).max() / len(row) for row in labels])


def report(run, purities, data, k):
    """Numbers and the claim about classes."""
    chance = purity(np.random.default_rng(0).integers(0, len(data.classes), (10_000, k))).mean()
    for layer, values in purities.items():
        run.numbers.append(Number.mean(f"share of the commonest class among the {k} strongest images, {layer}", values))
    run.numbers.append(Number("the same for images at random", chance))
    first, *_, last = purities
    p = stats.mannwhitneyu(purities[last], purities[first], alternative="greater").pvalue
    run.claims.append(
        Claim(
            "Maps of upper layers are more class-specific than those of lower layers.",
            "section 4.1, from memory of the paper (unverified)",
            told(p),
            f"{purities[first].mean():.2f} of the {k} strongest images are of one class in {first}, "
            f"{purities[last].mean():.2f} in {last} ({chance:.2f} at random; one-sided Mann-Whitney over maps, "
            f"p = {p:.2g})",
        )
    )


def plan(config: Any) -> list[dry_run.Step]:
    """The search over the whole data set, and the projections of each layer."""
    return passes(config, -(-config.images // config.batch_size), -(-config.maps * config.k // BATCH))


def passes(config: Any, searches: int, projections: int) -> list[dry_run.Step]:
    """That many batches searched, and that many projected from each layer."""
    module, variables, shape = models.abstract(config.network)
    many, few = (jax.ShapeDtypeStruct((n, *shape), jnp.float32) for n in (config.batch_size, BATCH))

    def activations(variables, x):
        return network.capture(Partial(module.apply, variables), x, config.layers)[1]

    def project(layer, variables, x):
        return deconvnet.project(Partial(module.apply, variables), x, targets.neuron(layer, 0, (0, 0)))

    return [
        dry_run.Step("search", activations, (variables, many), searches),
        *(
            dry_run.Step(f"projections of {n}", partial(project, n), (variables, few), projections)
            for n in config.layers
        ),
    ]


EXPERIMENT = runner.Experiment(
    name="zeiler2014/features",
    title="Strongest activations of the feature maps",
    figure="Fig. 2",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    summary=(
        "For maps chosen at random in each layer, the nine images that excite them most in the whole data set. A "
        "deconvnet shows what in each image the map responds to; beside it stands the patch that the unit sees, which "
        "varies more than the projections do. The search keeps nothing but the best so far, so it takes one pass and "
        "little memory for a data set of any size."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=1,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
