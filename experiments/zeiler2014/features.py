"""What excites the feature maps of each layer (Zeiler & Fergus 2014, section 4.1 and Fig. 2)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from configs.zeiler2014.features import Config
from experiments.lib import dry_run, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import as_input, search, tile
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.data import datasets
from xai_jax.data.dataset_types import labeller
from xai_jax.plots.figure import Figure
from xai_jax.weights import safetensors_file

BATCH = 36  # projections at once


def run(config: Config, work: Workspace) -> Report:
    """Searches each data set once for all layers, and projects the strongest activations in the first."""
    model = models.load(config.network, config.weights)
    sets = {name: datasets.load(name, config.split) for name in config.data}
    tops = {
        name: work.stage(f"search {name}", partial(search, model, data, config, work)) for name, data in sets.items()
    }
    data, found = sets[config.data[0]], tops[config.data[0]]
    panels = [filters_panel(model.variables["params"])]
    for layer in config.layers:
        shown = work.stage(layer, lambda layer=layer: projections(model, data, found, layer, config))
        panels.append(layer_panel(shown, layer, config.k))
    numbers, claims = [], []
    for name, data in sets.items():
        top = tops[name]
        purities = {layer: purity(top[f"{layer} labels"][active(top, layer)]) for layer in config.layers}
        more, claim = findings(purities, name, chance(data, config.k), config.k)
        numbers, claims = [*numbers, *more], [*claims, claim]
    return Report(numbers, claims, panels)


def projections(model, data, found, layer, config):
    """Tiles (maps, k, h, w, 3) of projections and of the image patches that caused them, for maps chosen at random.

    Maps that fewer than k images activate are left out: they have no k strongest activations.
    """
    alive = active(found, layer)
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    field = deconvnet.receptive_field(model.net, layer, jax.ShapeDtypeStruct((1, *model.input.shape), jnp.float32))
    # Projections of units that see most of the image need more pixels of the figure.
    large = 2 * field.size[0] >= model.input.shape[0]
    channels = np.sort(rng.permutation(alive)[: max(1, config.maps // 4) if large else config.maps])
    images, rows, columns = (found[f"{layer} {name}"][channels].ravel() for name in ("images", "rows", "columns"))
    x = np.stack([as_input(model, data[int(i)][0]) for i in images])
    of = np.repeat(channels, config.k), rows, columns
    down = projected_tiles(model.net, layer, field, jnp.asarray(x), *of)
    pixels = model.to_pixels(x) / 255
    patches = [tile(p, field, *at, fill=1.0) for p, *at in zip(pixels, rows, columns, strict=True)]
    shape = len(channels), config.k
    down, patches = (np.stack(tiles).reshape(*shape, *tiles[0].shape) for tiles in (down, patches))
    return {"channels": channels, "projections": down.astype(np.float32), "patches": patches.astype(np.float32)}


def active(found, layer):
    """Numbers of the maps that at least k images activate."""
    return np.flatnonzero(found[f"{layer} values"][:, -1] > 0)


def projected_tiles(net, layer, field, x, channels, rows, columns):
    """Projections of one neuron of each image, cut to its receptive field, of those (`field`) of the layer."""
    maps = deconvnet.project(net, x, targets.neuron(layer, channels, (rows, columns)), batch_size=BATCH)
    return [plots.signed(tile(m, field, *at)) for m, *at in zip(np.asarray(maps), rows, columns, strict=True)]


def layer_panel(shown, layer, k):
    """Projections on the left, the patches at the same positions on the right, k for each map."""
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
        f"The {k} strongest activations of {len(shown['channels'])} maps of {layer} over all images, at most one per "
        "image, projected to pixel space by the deconvnet (left; zero is grey, each on its own scale), and the patches "
        f"of {h}x{w} pixels, the receptive field, white beyond the image, that caused them (right). Maps {numbers}, "
        "row by row."
    )
    alt = f"Blocks of {k} small images each: structures detected by maps of {layer}, and the patches."
    return Panel(layer, figure, caption, alt)


def mosaic(tiles, columns, gap, fill):
    """Tiles of one shape (h, w, C), row by row with a gap between them."""
    h, w, c = np.shape(tiles[0])
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), fill, np.float32)
    for i, image in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = image
    return sheet


def filters_panel(params):
    """The filters of the first layer as images."""
    kernel = np.asarray(next(array for array in safetensors_file.flatten(params).values() if array.ndim == 4))
    filters = [plots.signed(f) for f in kernel.transpose(3, 0, 1, 2)]
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    plots.show(axis, mosaic(filters, max(8, int(np.sqrt(2 * len(filters)))), 1, 1.0))
    axis.set_title(f"the {len(filters)} filters of the first layer", fontsize=10)
    caption = "The filters of the first layer, zero at grey and each on its own scale."
    alt = f"{len(filters)} small filters of {kernel.shape[0]}x{kernel.shape[1]} pixels."
    return Panel("filters", figure, caption, alt)


def purity(labels):
    """For each row of labels (maps, k), the share of the most frequent class."""
    return np.array([np.bincount(row).max() / len(row) for row in labels])


def chance(data, k):
    """The mean purity of k images drawn at random, as often of each class as the data set has it."""
    labels = np.array([labeller(data)(i) for i in range(len(data))])
    return purity(np.random.default_rng(0).choice(labels, (10_000, k))).mean()


def findings(purities, data, random, k):
    """Numbers, and the claim about classes, from the purities (maps,) of each layer on a data set."""
    numbers = [
        Number.mean(f"share of the most frequent class among the {k} strongest images, {data}, {layer}", values)
        for layer, values in purities.items()
    ]
    first, *_, last = purities
    claim = Claim(
        f"Maps of upper layers are more class-specific than those of lower layers ({data}).",
        "section 4.1, from memory of the paper (unverified)",
        statistics.mann_whitney(purities[last], purities[first]),
        f"{purities[first].mean():.2f} of the {k} strongest images are of one class in {first}, "
        f"{purities[last].mean():.2f} in {last} ({random:.2f} for random images), over maps",
    )
    return [*numbers, Number(f"the same for random images, {data}", random)], claim


def plan(config: Config) -> list[dry_run.Step]:
    """The search over all images, and the projections of each layer."""
    return passes(config, dry_run.calls(config.images, config.batch_size), dry_run.calls(config.maps * config.k, BATCH))


def passes(config: Config, searches: int, projections: int) -> list[dry_run.Step]:
    """Batches searched, and batches projected from each layer."""
    network_passes = partial(dry_run.forward, config.network)

    def activations(net, x):
        return network.capture(net, x, config.layers)[1]

    def project(layer, net, x):
        return deconvnet.project(net, x, targets.neuron(layer, 0, (0, 0)))

    return [
        network_passes(config.batch_size, searches, activations, name="search"),
        *(network_passes(BATCH, projections, partial(project, n), name=f"projections of {n}") for n in config.layers),
    ]


EXPERIMENT = Experiment[Config](
    name="zeiler2014/features",
    title="Strongest activations of the feature maps",
    figure="Fig. 2",
    paper=papers.ZEILER2014,
    summary=(
        "Which structures in images activate a feature map? For randomly chosen maps of each layer, the nine strongest "
        "activations over all images are projected to pixel space by a deconvnet; beside them are the patches that the "
        "units see, which vary more than the projections. The search takes one pass over the data."
    ),
    run=run,
    plan=plan,
    minutes=7.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
