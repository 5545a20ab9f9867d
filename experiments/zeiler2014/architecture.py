"""Filters of the first layer by their size, stride and renormalisation (Zeiler & Fergus 2014, section 4.1, Fig. 6)."""

import dataclasses
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from configs.zeiler2014.architecture import Config
from experiments.lib import dry_run, papers, training_task
from experiments.lib.report import Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.zeiler2014 import features
from experiments.zeiler2014.imagenet import recipe
from xai_jax import deconvnet, network, plots, targets
from xai_jax.architectures.caffenet import CaffeNet
from xai_jax.architectures.zfnet import ZFNet
from xai_jax.core.precision import highest
from xai_jax.data import crops
from xai_jax.plots.figure import Figure

DOMINATING = 2  # times the median RMS


class Kind(NamedTuple):
    """A network of Fig. 6: its title, the stride and the padding of its first layer, whether filters are limited."""

    title: str
    network: type[nn.Module]
    stride: int
    padding: int
    limited: bool


KINDS = {
    "unlimited": Kind("7x7, stride 2,\nwithout renormalisation", ZFNet, 2, 1, False),
    "krizhevsky": Kind("11x11, stride 4", CaffeNet, 4, 0, True),
    "zfnet": Kind("7x7, stride 2", ZFNet, 2, 1, True),
}
MEASURES = {
    "error": ("validation error, top-1", "%"),
    "dominance": ("largest RMS of a filter over the median", ""),
    "dominating": (f"filters with more than {DOMINATING} times the median RMS", ""),
    "dead": ("filters that no image activates", ""),
    "similarity": ("greatest similarity of a filter to another one", "cosine"),
    "aliased": ("share of the responses' power that the stride aliases", ""),
}


def run(config: Config, work: Workspace) -> Report:
    """Trains the three networks of the figure, measures their first layers, and draws layers 1 and 2."""
    task = training_task.load(config, crops.one_of_ten, config.mean)
    pairs = [(name, seed) for name in KINDS for seed in range(config.seed, config.seed + config.seeds)]
    found = {name: {measure: [] for measure in MEASURES} for name in KINDS}
    drawn = {}
    for name, seed in work.progress(pairs, "networks"):
        stage = work.stage(f"{name}-{seed}", lambda n=name, s=seed: study(n, s, task, config, work))
        drawn.setdefault(name, stage)
        for measure in MEASURES:
            found[name][measure].append(float(stage[measure]))
    found = {name: {key: np.array(values) for key, values in kinds.items()} for name, kinds in found.items()}
    return Report(*findings(found), [layers_panel(drawn, config)])


def build(name: str, config: Config) -> nn.Module:
    """The network of a kind, as wide as the configuration says."""
    return KINDS[name].network(config.widths, config.hidden, config.classes, (), config.initial_std, config.dropout)


def recipe_of(name, config):
    return dataclasses.replace(recipe(config), renormalise=config.renormalise if KINDS[name].limited else None)


def study(name, seed, task, config, work):
    """Trains a network; its filters, their measures, and projections of the strongest activations of layer 2."""
    workdir = work.training(f"{name}-{seed}")
    net = training_task.fit(build(name, config), task, recipe_of(name, config), workdir, seed)
    top = deconvnet.top_k(net, ("relu1", "relu2"), task.validation, 9, task.prepare, task.centre, 32)
    kernel = np.asarray(net.args[0]["params"]["conv1"]["kernel"])
    images = np.stack([task.centre(task.validation[i][0]) for i in range(min(config.probes, len(task.validation)))])
    responses = respond(jax.jit(task.prepare)(images), kernel, KINDS[name].padding)
    rms = np.sqrt((kernel**2).mean((0, 1, 2)))
    return {
        "error": training_task.errors(net, task.validation, task, task.centre).top1,
        "dominance": rms.max() / np.median(rms),
        "dominating": (rms > DOMINATING * np.median(rms)).sum(),
        "dead": (top["relu1"].values[:, 0] <= 0).sum(),
        "similarity": similarity(kernel).mean(),
        "aliased": aliased(np.asarray(responses), KINDS[name].stride).mean(),
        "filters": kernel,
        "projections": projections(net, top["relu2"], task, config),
    }


@highest()
@partial(jax.jit, static_argnums=2)
def respond(x: Array, kernel: Array, padding: int) -> Array:
    """Responses of filters at every position of images, as if the stride were 1."""
    pads = ((padding, padding),) * 2
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def similarity(kernel: np.ndarray) -> np.ndarray:
    """For each filter (H, W, in, out) the greatest absolute cosine with another one, (out,)."""
    flat = kernel.reshape(-1, kernel.shape[-1])
    cosines = np.abs(flat.T @ flat) / np.maximum(np.outer(*[np.linalg.norm(flat, axis=0)] * 2), 1e-12)
    return (cosines * (1 - np.eye(len(cosines)))).max(1)


def aliased(responses: np.ndarray, stride: int) -> np.ndarray:
    """The share of each channel's power (N, H, W, C) at frequencies that a stride folds onto lower ones, (C,).

    They are those above half a period for each stride, in either direction. The mean is subtracted before, and a Hann
    window reduces leakage at the borders.
    """
    height, width = responses.shape[1:3]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])[..., None]
    centred = responses - (responses * window).sum((1, 2), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2(centred * window, axes=(1, 2))) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(n)) > 1 / (2 * stride) for n in (height, width))
    folded = power[:, rows[:, None] | columns].sum((0, 1))
    whole = power.sum((0, 1, 2))
    return np.divide(folded, whole, out=np.zeros_like(folded), where=whole > 0)


def projections(net, top, task, config):
    """Tiles (maps, 9, h, w, C) of the projections of layer 2, of randomly chosen maps that are alive."""
    alive = np.flatnonzero(top.values[:, 0] > 0)
    channels = np.sort(np.random.default_rng(config.seed).permutation(alive)[: config.maps])
    images, rows, columns = (getattr(top, name)[channels].ravel() for name in ("images", "rows", "columns"))
    x = jax.jit(task.prepare)(np.stack([task.centre(task.validation[int(i)][0]) for i in images]))
    field = deconvnet.receptive_field(net, "relu2", x)
    tiles = features.projected_tiles(net, "relu2", field, x, np.repeat(channels, 9), rows, columns)
    return np.stack(tiles).reshape(len(channels), 9, *tiles[0].shape).astype(np.float32)


def layers_panel(drawn, config):
    """Filters of layer 1 above, projections of layer 2 below, a column for each network."""
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    axes = figure.subplots(2, len(KINDS), height_ratios=(1, 1.7))
    for column, (name, kind) in zip(axes.T, KINDS.items(), strict=True):
        kernel, tiles = drawn[name]["filters"], drawn[name]["projections"]
        strongest = np.abs(kernel).max()
        filters = [f / strongest / 2 + 0.5 for f in kernel.transpose(3, 0, 1, 2)]
        plots.show(column[0], features.mosaic(filters, max(8, int(np.sqrt(2 * len(filters)))), 1, 1.0))
        blocks = [features.mosaic(block, 3, 1, 0.8) for block in tiles]
        plots.show(column[1], features.mosaic(blocks, int(np.ceil(np.sqrt(config.maps))), 4, 1.0))
        column[0].set_title(f"{kind.title}\n\nlayer 1: filters, one scale", fontsize=9)
        column[1].set_title("layer 2: projections", fontsize=9)
    caption = (
        "Above: the filters of the first layer, all of a network on one scale, zero at grey, so that filters that "
        "dominate stand out. Below: the nine strongest activations of maps of layer 2, projected to pixel space, each "
        f"on its own scale. One of {config.seeds} networks of each kind."
    )
    alt = "Three columns of filters and of blocks of nine small projections below them."
    return Panel("architecture", figure, caption, alt)


def findings(found):
    """Measures of every kind of network, and claims about pairs of them."""
    numbers = []
    for name, kind in KINDS.items():
        for measure, (description, unit) in MEASURES.items():
            title = kind.title.replace("\n", " ")
            numbers.append(Number.mean(f"{description}, {title}", found[name][measure], unit=unit))
    return numbers, [lower_claim(found, *contrast) for contrast in CONTRASTS]


# Claims that a measure is lower for one kind of network than for another.
CONTRASTS = (
    ("Without renormalisation a few filters of the first layer dominate.", "dominance", "zfnet", "unlimited"),
    ("Filters of 7x7 and stride 2 leave fewer dead ones than 11x11 and stride 4.", "dead", "zfnet", "krizhevsky"),
    ("Filters of 7x7 and stride 2 are more distinct than those of 11x11.", "similarity", "zfnet", "krizhevsky"),
    ("Stride 4 in the first layer causes aliasing, stride 2 less.", "aliased", "zfnet", "krizhevsky"),
)


def lower_claim(found, text, measure, less, more):
    """The claim that a measure is lower for one kind of network than for another."""
    names = [KINDS[kind].title.replace("\n", " ") for kind in (less, more)]
    samples = [(1, found[less][measure]), (-1, found[more][measure])]
    formula = f"{MEASURES[measure][0]}, {' - '.join(names)}"
    return training_task.error_claim(text, "section 4.1 and Fig. 6", formula, samples)


def plan(config: Config) -> list[dry_run.Step]:
    """Training of the three networks, and the search."""
    shape, steps = (config.side, config.side, len(config.mean)), []
    for name in KINDS:
        module = build(name, config)
        steps += training_task.plan(name, module, recipe_of(name, config), config, shape, 1)
        variables = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
        x = jax.ShapeDtypeStruct((features.BATCH, *shape), jnp.float32)

        def project(variables, x, module=module):
            net = jax.tree_util.Partial(module.apply, variables)
            return deconvnet.project(net, x, targets.neuron("relu2", 0, (0, 0))), network.capture(net, x, ["relu1"])

        calls = dry_run.calls(9 * config.maps, features.BATCH)
        steps.append(dry_run.Step(f"projections, {name}", project, (variables, x), calls))
    return [step._replace(repeats=step.repeats * config.seeds) for step in steps]


EXPERIMENT = Experiment[Config](
    name="zeiler2014/architecture",
    title="Architecture selection by first-layer features",
    figure="Fig. 6",
    paper=papers.ZEILER2014,
    summary=(
        "Visualisations of the first two layers led the authors from filters of 11x11 pixels and stride 4 to 7x7 and "
        "stride 2, and to a limit on the RMS of filters. Here the three networks are trained, and what the figures "
        "show is measured: dominating, dead and similar filters, and aliasing by the stride. The measures are ours."
    ),
    run=run,
    plan=plan,
    minutes=2,
)

if __name__ == "__main__":
    main(EXPERIMENT)
