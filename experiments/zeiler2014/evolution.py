"""How the features of each layer change while the network is trained (Zeiler & Fergus 2014, section 4.1 and Fig. 4)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.lib import dry_run, runner
from experiments.lib.runner import Claim, Number, told
from experiments.zeiler2014.features import BATCH, as_input, mosaic, passes
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.data import datasets
from xai_jax.models.pretrained import fashion
from xai_jax.training import supervised


def run(config: Any, run: runner.Run) -> None:
    """Follows some maps of each layer through the epochs: their strongest image, and how near they are to the end."""
    data = datasets.load(config.data, config.split)
    epochs = kept(config, data, run.workdir / "training" / config.network)
    last = models.load(config.network, epochs[max(epochs)])
    probes = np.random.default_rng(config.seed).choice(len(data), config.probes, replace=False)
    x = jnp.stack([as_input(last, data[int(i)][0]) for i in probes])
    final = maps(last.net, x, config.layers)
    found = {}
    for epoch in run.progress(sorted(epochs), "epochs"):
        model = models.load(config.network, epochs[epoch])
        found[epoch] = run.stage(f"epoch-{epoch}", lambda m=model: one_epoch(m, data, x, final, config))
    run.figure("evolution", *figure(found, config))
    run.figure("convergence", *convergence_figure(found, config))
    report(run, found, config)


def kept(config, data, workdir):
    """Weights by the number of epochs trained, of those that the figure shows; the small networks are trained here."""
    if config.network in fashion.NAMES:
        paths = fashion.epochs(config.network)
    elif config.weights:
        paths = supervised.epoch_weights(config.weights)
    else:
        recipe = supervised.Recipe(max(config.epochs), batch_size=32)
        supervised.fit(models.module(config.network), data, recipe, workdir, seed=config.seed, keep_epochs=True)
        paths = supervised.epoch_weights(workdir)
    if not set(config.epochs) <= set(paths):
        raise runner.UserError(
            f"Expected weights after the epochs {config.epochs}, got {tuple(paths)}. Train with `keep_epochs=True` and "
            "give that directory as --config.weights."
        )
    return {epoch: paths[epoch] for epoch in config.epochs}


def one_epoch(model, data, x, final, config):
    """Projections of the strongest activation of each followed map; correlations of all maps with the last epoch's."""
    top = deconvnet.top_k(model.net, config.layers, data, 1, jnp.asarray, partial(as_input, model), config.batch_size)
    arrays = {}
    for layer, now in maps(model.net, x, config.layers).items():
        chosen = followed(layer, top[layer].values.shape[0], config)
        image, row, column = (getattr(top[layer], name)[chosen, 0] for name in ("images", "rows", "columns"))
        strongest = jnp.stack([as_input(model, data[int(i)][0]) for i in image])
        neurons = targets.neuron(layer, chosen, (row, column))
        arrays[f"{layer} projections"] = deconvnet.project(model.net, strongest, neurons, batch_size=BATCH)
        arrays[f"{layer} images"] = image
        arrays[f"{layer} correlations"] = correlations(now, final[layer])
    return arrays


def followed(layer, channels, config):
    """The maps of a layer that the figure follows, by chance."""
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    return np.sort(rng.permutation(channels)[: config.maps])


def maps(net, x, layers):
    """Activations of each layer for the probe images, {layer: (N, H, W, C)}."""
    return _capture(net, x, tuple(layers))


@partial(jax.jit, static_argnums=2)
def _capture(net, x, layers):
    return network.capture(net, x, layers)[1]


def correlations(now, final):
    """Correlation of each channel with its final self over images and positions, (C,); NaN for dead channels."""
    a, b = (np.asarray(m, np.float64).reshape(-1, m.shape[-1]) for m in (now, final))
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), norm, out=np.full(a.shape[1], np.nan), where=norm > 0)


def figure(found, config):
    """Blocks of layers, a row for each map, a column for each epoch, as in the paper."""
    figure = Figure(figsize=(2.6 * len(config.layers) + 1, 0.36 * config.maps + 1), layout="constrained")
    epochs = sorted(found)
    for axis, layer in zip(np.atleast_1d(figure.subplots(1, len(config.layers))), config.layers, strict=True):
        columns = [found[epoch][f"{layer} projections"] for epoch in epochs]
        tiles = [plots.signed(column[i]) for i in range(len(columns[0])) for column in columns]
        plots.show(axis, mosaic(tiles, len(epochs), 1, 1.0))
        side = tiles[0].shape[1] + 1
        axis.set_xticks([(i + 0.5) * side for i in range(len(epochs))], epochs, fontsize=7)
        axis.tick_params(length=0)
        axis.set_title(layer, fontsize=10)
        axis.set_xlabel("epochs trained", fontsize=8)
    caption = (
        "Each row follows one map, chosen by chance, through training: its strongest activation over the data set at "
        "that time, brought down to pixels by the deconvnet. Jumps come from a change of the image that excites the "
        "map most. Zero is grey; each picture has a scale of its own, which enhances its contrast."
    )
    return figure, caption, "Rows of small pictures that settle from left to right, a block for each layer."


def convergence_figure(found, config):
    """Correlation with the last epoch by layer and epoch."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axis, epochs = figure.subplots(), sorted(found)
    for layer in config.layers:
        values = np.array([found[epoch][f"{layer} correlations"] for epoch in epochs])
        quartiles = np.nanpercentile(values, (25, 50, 75), axis=1)
        axis.plot(epochs, quartiles[1], "-o", ms=3, label=layer)
        axis.fill_between(epochs, quartiles[0], quartiles[2], alpha=0.15)
    axis.set_xlabel("epochs trained")
    axis.set_ylabel("correlation with the last epoch")
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    caption = (
        f"Correlation of each map with its final self over {config.probes} images: median and quartiles over the maps "
        "of a layer. The earlier a layer settles, the higher its line begins."
    )
    return figure, caption, "Lines that rise to one, those of lower layers above those of upper layers or not."


def report(run, found, config):
    """Correlations after each epoch, changes of the strongest image, and whether lower layers settle earlier."""
    epochs = sorted(found)
    for layer in config.layers:
        for epoch in epochs[:-1]:
            values = found[epoch][f"{layer} correlations"]
            run.numbers.append(Number.mean(f"correlation with epoch {epochs[-1]} after epoch {epoch}, {layer}", values))
    lowest, highest = (found[epochs[0]][f"{layer} correlations"] for layer in (config.layers[0], config.layers[-1]))
    lowest, highest = (values[~np.isnan(values)] for values in (lowest, highest))
    p = stats.mannwhitneyu(lowest, highest, alternative="greater").pvalue
    run.claims.append(
        Claim(
            "Lower layers converge within few epochs, upper layers only after many.",
            "section 4.1 and Fig. 4",
            told(p),
            f"after epoch {epochs[0]} the maps of {config.layers[0]} correlate with their final selves by "
            f"{lowest.mean():.2f}, those of {config.layers[-1]} by {highest.mean():.2f} (one-sided Mann-Whitney over "
            f"maps, p = {p:.2g}); one network, one seed",
        )
    )


def plan(config: Any) -> list[dry_run.Step]:
    """The search over the whole data set at each epoch, and the projections."""
    epochs = len(config.epochs)
    return passes(config, epochs * -(-config.images // config.batch_size), epochs * -(-config.maps // BATCH))


EXPERIMENT = runner.Experiment(
    name="zeiler2014/evolution",
    title="How features change during training",
    figure="Fig. 4",
    paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
    summary=(
        "The weights after each epoch were kept. For maps chosen by chance in each layer, the strongest activation in "
        "the whole data set is brought down to pixels, epoch by epoch. How early a layer settles is measured by the "
        "correlation of its maps with what they become in the end."
    ),
    run=run,
    plan=plan,
    minutes=1,
    order=1,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
