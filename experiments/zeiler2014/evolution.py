"""Evolution of features during training (Zeiler & Fergus 2014, section 4.1 and Fig. 4)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from configs.zeiler2014.evolution import Config
from experiments.lib import dry_run, figures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, UserError, Workspace, main
from experiments.lib.top_activations import as_input, reading
from experiments.zeiler2014.features import BATCH, mosaic, passes
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.core.precision import highest
from xai_jax.data import datasets
from xai_jax.models.pretrained import fashion
from xai_jax.plots.figure import Figure
from xai_jax.training import supervised


def run(config: Config, work: Workspace) -> Report:
    """Follows some maps of each layer through training: their strongest activation, and their convergence."""
    data = datasets.load(config.data, config.split)
    epochs = kept(config, data, work.training(config.network))
    last = models.load(config.network, epochs[max(epochs)])
    probes = np.random.default_rng(config.seed).choice(len(data), config.probes, replace=False)
    x = jnp.stack([as_input(last, data[int(i)][0]) for i in probes])
    final = maps(last.net, x, config.layers)
    found = {}
    for epoch in work.progress(sorted(epochs), "epochs"):
        model = models.load(config.network, epochs[epoch])
        found[epoch] = work.stage(f"epoch-{epoch}", lambda m=model: one_epoch(m, data, x, final, config))
    return Report(*findings(found, config), [projections_panel(found, config), convergence_panel(found, config)])


def kept(config, data, workdir):
    """Weights by the number of epochs trained, of the epochs shown; small networks are trained here."""
    if config.network in fashion.NAMES:
        paths = fashion.epochs(config.network)
    elif config.weights:
        paths = supervised.epoch_weights(config.weights)
    else:
        recipe = supervised.Recipe(max(config.epochs), batch_size=32)
        supervised.fit(models.module(config.network), data, recipe, workdir, seed=config.seed, keep_epochs=True)
        paths = supervised.epoch_weights(workdir)
    if not set(config.epochs) <= set(paths):
        raise UserError(
            f"Expected weights after the epochs {config.epochs}, got {tuple(paths)}. Train with `keep_epochs=True` and "
            "give that directory as --config.weights."
        )
    return {epoch: paths[epoch] for epoch in config.epochs}


def one_epoch(model, data, x, final, config):
    """Projections of the strongest activation of each followed map; correlations of all maps with the last epoch's."""
    top = deconvnet.top_k(model.net, config.layers, data, 1, *reading(model), config.batch_size)
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
    """The maps of a layer that the figure follows, chosen at random."""
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    return np.sort(rng.permutation(channels)[: config.maps])


def maps(net, x, layers):
    """Activations of each layer for the probe images, {layer: (N, H, W, C)}."""
    return _capture(net, x, tuple(layers))


@highest()
@partial(jax.jit, static_argnums=2)
def _capture(net, x, layers):
    return network.capture(net, x, layers)[1]


def correlations(now, final):
    """Correlation of each channel with its final activations over images and positions, (C,); NaN for dead channels."""
    a, b = (np.asarray(m, np.float64).reshape(-1, m.shape[-1]) for m in (now, final))
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), norm, out=np.full(a.shape[1], np.nan), where=norm > 0)


def projections_panel(found, config):
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
        "Each row follows one randomly chosen map through training: its strongest activation over the data set after "
        "each epoch, projected to pixel space by the deconvnet. Jumps come from a change of the image that activates "
        "the map most. Zero is grey; each projection is on its own scale."
    )
    alt = "Rows of small images that converge from left to right, a block for each layer."
    return Panel("evolution", figure, caption, alt)


def convergence_panel(found, config):
    """Correlation with the last epoch by layer and epoch."""
    figure, ((axis,),) = figures.axes(1, 1, (5.6, 3.4))
    epochs = sorted(found)
    for layer in config.layers:
        values = np.array([found[epoch][f"{layer} correlations"] for epoch in epochs])
        quartiles = np.nanpercentile(values, (25, 50, 75), axis=1)
        axis.plot(epochs, quartiles[1], "-o", ms=3, label=layer)
        axis.fill_between(epochs, quartiles[0], quartiles[2], alpha=0.15)
    figures.label(axis, x="epochs trained", y="correlation with the last epoch", size=9)
    axis.legend(frameon=False, fontsize=8)
    caption = (
        f"Correlation of each map with its activations after the last epoch, over {config.probes} images: median and "
        "quartiles over the maps of a layer. The earlier a layer converges, the higher its line begins."
    )
    return Panel("convergence", figure, caption, "Lines that rise to one, one for each layer.")


def findings(found, config):
    """Correlations after each epoch, and whether lower layers converge earlier."""
    epochs = sorted(found)
    numbers = [
        Number.mean(f"correlation with epoch {epochs[-1]} after epoch {epoch}, {n}", found[epoch][f"{n} correlations"])
        for n in config.layers
        for epoch in epochs[:-1]
    ]
    lowest, highest = (found[epochs[0]][f"{layer} correlations"] for layer in (config.layers[0], config.layers[-1]))
    claim = Claim(
        "Lower layers converge within few epochs, upper layers only after many.",
        "section 4.1 and Fig. 4",
        statistics.mann_whitney(lowest, highest),
        f"after epoch {epochs[0]} the maps of {config.layers[0]} correlate with their final activations by "
        f"{np.nanmedian(lowest):.2f}, those of {config.layers[-1]} by {np.nanmedian(highest):.2f}, medians over maps; "
        "one network, one seed",
    )
    return numbers, [claim]


def plan(config: Config) -> list[dry_run.Step]:
    """The search over the whole data set at each epoch, and the projections."""
    searches, projections = dry_run.calls(config.images, config.batch_size), dry_run.calls(config.maps, BATCH)
    return passes(config, len(config.epochs) * searches, len(config.epochs) * projections)


EXPERIMENT = Experiment[Config](
    name="zeiler2014/evolution",
    title="How features change during training",
    figure="Fig. 4",
    paper=papers.ZEILER2014,
    summary=(
        "When do features form? The weights after each epoch are kept. For randomly chosen maps of each layer, the "
        "strongest activation over the whole data set is projected to pixel space, epoch by epoch. Convergence is "
        "measured by the correlation of a layer's maps with those after the last epoch."
    ),
    run=run,
    plan=plan,
    minutes=4,
)

if __name__ == "__main__":
    main(EXPERIMENT)
