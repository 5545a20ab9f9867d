"""Preferred inputs of the units of every layer, beside the images that activate them most (Nguyen et al. 2016)."""

from functools import partial

import numpy as np

from configs.nguyen2016.hidden import Config
from experiments.lib import dry_run, evaluation_networks, figures, generator_codes, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import as_input, search, tile, unit
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.data import datasets
from xai_jax.models import generators
from xai_jax.plots.figure import Figure
from xai_jax.synthesis.dgn_am import DGN


def run(config: Config, work: Workspace) -> Report:
    """Searches the data set for all units, then finds codes for units of one layer after the other."""
    (generator, model), data = generator_codes.load(config), datasets.load(config.data, config.split)
    natural = work.stage("natural", lambda: search(model, data, config, work))
    found, images, panels = {}, {}, []
    for layer in work.progress(config.layers, "layers"):
        maxima = natural[f"{layer} values"][:, 0]
        units = chosen_units(maxima, layer, config)
        preferred = work.stage(layer, partial(preferred_inputs, generator, model, layer, units, config))
        shown = work.stage(f"{layer}-shown", partial(sample, model, data, layer, preferred, natural, config))
        panels.append(layer_panel(shown, layer, config))
        found[layer] = measure(preferred["activations"], maxima, units)
        if unit(generator.network, layer)[1] is None:
            images[layer] = preferred
    ranks = work.stage("similarity", partial(similarity_ranks, model, data, natural, images, config))
    return Report(*findings(found, ranks, config), [*panels, measures_panel(found, ranks)])


def chosen_units(maxima: np.ndarray, layer: str, config: Config) -> np.ndarray:
    """Channels of a layer, in ascending order: `config.units` of those that some image activates, or all of them."""
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    return np.sort(rng.permutation(np.flatnonzero(maxima > 0))[: config.units or None])


def preferred_inputs(generator, model, layer, units, config):
    """Images (N, H, W, channels) for N units of a layer, and the activations of all its C units for each, (N, C)."""
    at, count = unit(generator.network, layer)[1], len(units)
    starts = generator_codes.initial_codes(generator, count, config.seed)
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    target = targets.neuron(layer, units, at)
    images = generator_codes.maximise(generator, model, target, starts, form, config.batch_size)["images"]
    maps = [network.call(network.features(model.net, layer), images[n : n + 1])[0] for n in range(count)]
    activations = np.stack([m if at is None else m[at] for m in maps])
    return {"images": images, "activations": activations, "units": units}


def measure(activations: np.ndarray, natural: np.ndarray, units: np.ndarray) -> dict[str, np.ndarray]:
    """Activations (N, C) for images of N of a layer's C units, relative to `natural` (C,), the natural maxima.

    "reached": that of the unit (N,) for its own image; "selective": whether no other unit's is larger there, of those
    that some natural image activates; "chance": the share of such images at chance level.
    """
    alive = np.flatnonzero(natural > 0)
    relative = activations[:, alive] / natural[alive]
    own = np.searchsorted(alive, units)
    reached = relative[np.arange(len(units)), own]
    return {"reached": reached, "selective": relative.argmax(1) == own, "chance": np.array(1 / len(alive))}


def sample(model, data, layer, preferred, natural, config):
    """Some units: their images, the receptive fields in them, and patches (units, k) of natural images."""
    maxima, units = natural[f"{layer} values"][:, 0], preferred["units"]
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    rows = np.sort(rng.permutation(len(units))[: config.shown])
    chosen = units[rows]
    field = deconvnet.receptive_field(model.net, layer, preferred["images"])
    middle = [len(field.rows) // 2, len(field.columns) // 2]
    patches = [
        [
            tile(model.to_pixels(as_input(model, data[int(i)][0])[None])[0] / 255, field, r, c, 1.0)
            for i, r, c in zip(*(natural[f"{layer} {name}"][n] for name in ("images", "rows", "columns")), strict=True)
        ]
        for n in chosen
    ]
    pixels = model.to_pixels(preferred["images"][rows]) / 255
    return {
        "channels": chosen,
        "images": pixels.astype(np.float32),
        "seen": np.stack([tile(image, field, *middle, 1.0) for image in pixels]).astype(np.float32),
        "patches": np.stack(patches).astype(np.float32),
        "reached": preferred["activations"][rows, chosen] / maxima[chosen],
    }


def layer_panel(shown, layer, config):
    """A row for each unit: its image, the receptive field in it unless it is all, and the natural patches."""
    partial_view = shown["seen"].shape != shown["images"].shape
    rows = [
        [image, *([seen] if partial_view else []), *patches]
        for image, seen, patches in zip(shown["images"], shown["seen"], shown["patches"], strict=True)
    ]
    titles = ["preferred", *(["its field"] if partial_view else []), *(f"natural {n + 1}" for n in range(config.k))]
    figure, axes = plots.grid(rows, titles, [f"unit {n}" for n in shown["channels"]], 0.9)
    for axis, share in zip(axes[:, 0], shown["reached"], strict=True):
        axis.set_xlabel(f"{share:.2f} of natural 1", fontsize=6, labelpad=2)
    seen = "then the receptive field of the unit, which is in the middle; " if partial_view else ""
    caption = (
        f"Left, an image that maximises one unit of {layer}, with its activation relative to the largest one in "
        f"natural images; {seen}right, the natural {'patches' if partial_view else 'images'} that activate the unit "
        "most, the strongest first. White: beyond the image."
    )
    alt = f"Rows of a preferred input of a unit of {layer} and of the natural images that activate it most."
    return Panel(layer, figure, caption, alt)


def similarity_ranks(model, data, natural, images, config):
    """For each unit of layers that see whole images, how similar its image is to those that activate it most.

    The fraction of the other units of the layer that were chosen whose top images are farther from the image, by mean
    features of another network.
    """
    evaluator, ranks = models.load(config.evaluation_network, config.evaluation_weights), {}
    represent = network.features(evaluator.net, config.evaluation_layer)
    for layer, preferred in images.items():
        rows = natural[f"{layer} images"][preferred["units"]]
        x = np.stack([as_input(evaluator, data[int(i)][0]) for i in rows.ravel()])
        top = evaluation_networks.features(represent, x).reshape(*rows.shape, -1).mean(1)
        shown = evaluator.preprocess(list(model.to_pixels(preferred["images"])))
        ranks[layer] = farther_fraction(evaluation_networks.features(represent, shown), top)
    return ranks


def farther_fraction(shown: np.ndarray, top: np.ndarray) -> np.ndarray:
    """For each row of `shown` (N, D), the fraction of rows of `top` (N, D) that are farther away than its own, (N,)."""
    distances = np.stack([np.linalg.norm(top - row, axis=1) for row in shown])
    return (distances > np.diag(distances)[:, None]).sum(1) / max(1, len(shown) - 1)


def measures_panel(found, ranks):
    """Activations reached, selectivity, and similarity to the units' top images."""
    figure, layers = Figure(figsize=(10, 3), layout="constrained"), list(found)
    reached, selective, similar = figure.subplots(1, 3)
    figures.boxes(reached, {layer: each["reached"] for layer, each in found.items()}, "activation, natural maximum = 1")
    reached.axhline(1, c="0.6", lw=0.8)
    selective.bar(layers, [found[layer]["selective"].mean() for layer in layers], color="tab:blue")
    selective.plot(layers, [found[layer]["chance"] for layer in layers], "k_", ms=14)
    selective.set_ylabel("images that activate their own unit most", fontsize=8)
    if ranks:
        figures.boxes(similar, ranks, "other units' top images farther away")
    similar.axhline(0.5, c="0.6", lw=0.8)
    for axis in (reached, selective, similar):
        axis.tick_params(labelsize=8)
        axis.tick_params(axis="x", labelrotation=50)
        axis.set_ylim(0, None)
        figures.hide_spines(axis)
    caption = (
        "By layer, over units that some image activates. Left, the activation of a unit for its preferred input "
        "(cut at zero: units that fire at the border only stay inactive). Middle, for how many units the image "
        "activates no other unit of the layer more, relative to their natural maxima; a dash marks chance level. "
        "Right, in layers that see the whole image: the fraction of other units whose top images are less similar to "
        "the image than the unit's own, to another network; one half is chance level."
    )
    return Panel("measures", figure, caption, "Boxes of activations by layer, bars of fractions, boxes of similarity.")


def findings(found, ranks, config):
    """Numbers of each layer, and claims about most units."""
    numbers = []
    for layer, each in found.items():
        numbers += [
            Number(f"median activation reached, natural maximum = 1, {layer}", float(np.median(each["reached"]))),
            Number.mean(f"share of units activated more than by any natural image, {layer}", each["reached"] > 1),
            Number.mean(f"share of images that activate their own unit most, {layer}", each["selective"]),
        ]
    numbers += [Number.mean(f"similarity to the unit's own top images, {layer}", ranks[layer]) for layer in ranks]
    stronger = {layer: each["reached"] > 1 for layer, each in found.items()}
    selective = {layer: each["selective"] for layer, each in found.items()}
    similar = statistics.binomial([rank > 0.5 for each in ranks.values() for rank in each])
    independent = generator_codes.is_independent(config)
    return numbers, [
        units_claim("Most units of every layer are activated more than by any natural image.", stronger),
        units_claim("Most images activate no unit of the layer more than the one they were optimised for.", selective),
        Claim(
            "Preferred inputs show what the unit's top natural images show.",
            "figures of hidden units (the measure is ours)",
            statistics.where(independent, similar, generator_codes.DEPENDENT),
            "units whose own top images are nearer than most other units' in the features of another network",
        ),
    ]


def units_claim(text, layers):
    """A claim about most units of every layer."""
    listed = ", ".join(f"{100 * units.mean():.0f} % in {layer}" for layer, units in layers.items())
    source = "figures of hidden units (the criterion is ours)"
    return Claim(text, source, statistics.all_of([statistics.binomial(units) for units in layers.values()]), listed)


def plan(config: Config) -> list[dry_run.Step]:
    """The search over the whole data set, and the steps of all units of each layer."""
    name = generators.network_of(config.generator)

    def activations(net, x):
        return network.capture(net, x, config.layers)[1]

    calls = dry_run.calls(config.images, config.batch_size)
    steps = [dry_run.forward(name, config.batch_size, calls, activations, name="search")]
    for layer in config.layers:
        count, at = unit(name, layer)
        count = min(count, config.units or count)
        target = targets.neuron(layer, 0, at)
        steps.append(generator_codes.code_steps(config, f"units of {layer}", target, count, config.steps))
    return steps


EXPERIMENT = Experiment[Config](
    name="nguyen2016/hidden",
    title="Preferred inputs of the units of every layer",
    figure="preferred inputs of hidden units",
    paper=papers.NGUYEN2016,
    summary=(
        "Hidden units have preferred inputs, too. For channels of every layer (on maps, for the unit in the middle) "
        "a code is optimised, and the image is compared with the nine natural images that activate the unit "
        "most. Does it activate the unit more, and no other unit as much? Does it show the same to another network?"
    ),
    run=run,
    plan=plan,
    minutes=1.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
