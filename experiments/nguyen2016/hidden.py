"""Preferred inputs of the units of every layer, beside the images that excite them most (Nguyen et al. 2016)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from experiments.lib import dry_run, evaluation_networks, generator_codes, runner
from experiments.lib.runner import Claim, Number
from experiments.lib.top_activations import as_input, search, tile, unit
from xai_jax import deconvnet, models, network, plots, targets
from xai_jax.data import datasets
from xai_jax.models import generators
from xai_jax.synthesis.dgn_am import DGN


def run(config: Any, run: runner.Run) -> None:
    """Searches the data set for all units, then finds codes for all units of one layer after the other."""
    (generator, model), data = generator_codes.load(config), datasets.load(config.data, config.split)
    natural = run.stage("natural", lambda: search(model, data, config, run))
    found = {}
    for layer in run.progress(config.layers, "layers"):
        made = run.stage(layer, partial(synthesised, generator, model, layer, config))
        shown = run.stage(f"{layer}-shown", partial(panels, model, data, layer, made, natural, config))
        run.figure(layer, *pictures(shown, layer, config))
        found[layer] = measures(made["activations"], natural[f"{layer} values"][:, 0])
    whole = [layer for layer in config.layers if unit(generator.network, layer)[1] is None]
    kin = run.stage("kin", partial(kinship, model, data, natural, run.arrays, whole, config))
    run.figure("measures", *summary(found, kin))
    report(run, found, kin, config)


def synthesised(generator, model, layer, config):
    """Pictures (C, H, W, channels) for the C units of a layer, and how much each excites all units, (C, C)."""
    count, at = unit(generator.network, layer)
    starts = generator_codes.initial_codes(generator, count, config.seed)
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    target = targets.neuron(layer, np.arange(count), at)
    images = generator_codes.maximise(generator, model, target, starts, form, config.batch_size)["images"]
    maps = [network.call(network.features(model.net, layer), images[n : n + 1])[0] for n in range(count)]
    return {"images": images, "activations": np.stack([m if at is None else m[at] for m in maps])}


def measures(activations: np.ndarray, most: np.ndarray) -> dict[str, np.ndarray]:
    """For each living unit, activations (C, C) as shares of `most` (C,), the largest that a natural image reaches.

    "reached": that of the unit in its own picture; "selective": whether no other unit's is larger there.
    """
    alive = most > 0
    shares = activations[np.ix_(alive, alive)] / most[alive]
    return {"reached": np.diag(shares), "selective": shares.argmax(1) == np.arange(len(shares))}


def panels(model, data, layer, made, natural, config):
    """Some living units: their pictures, what the unit sees of them, and patches (units, k) of natural images."""
    most = natural[f"{layer} values"][:, 0]
    rng = np.random.default_rng([config.seed, config.layers.index(layer)])
    chosen = np.sort(rng.permutation(np.flatnonzero(most > 0))[: config.shown])
    field = deconvnet.receptive_field(model.net, layer, made["images"])
    middle = [len(field.rows) // 2, len(field.columns) // 2]
    patches = [
        [
            tile(model.to_pixels(as_input(model, data[int(i)][0])[None])[0] / 255, field, r, c, 1.0)
            for i, r, c in zip(*(natural[f"{layer} {name}"][n] for name in ("images", "rows", "columns")), strict=True)
        ]
        for n in chosen
    ]
    pixels = model.to_pixels(made["images"][chosen]) / 255
    return {
        "channels": chosen,
        "images": pixels.astype(np.float32),
        "seen": np.stack([tile(image, field, *middle, 1.0) for image in pixels]).astype(np.float32),
        "patches": np.stack(patches).astype(np.float32),
        "reached": made["activations"][chosen, chosen] / most[chosen],
    }


def pictures(shown, layer, config):
    """A row for each unit: its picture, what it sees of that where it is not all, and the natural patches."""
    part = shown["seen"].shape != shown["images"].shape
    rows = [
        [image, *([seen] if part else []), *patches]
        for image, seen, patches in zip(shown["images"], shown["seen"], shown["patches"], strict=True)
    ]
    titles = ["made", *(["seen of it"] if part else []), *(f"natural {n + 1}" for n in range(config.k))]
    fig, axes = plots.grid(rows, titles, [f"unit {n}" for n in shown["channels"]], 0.9)
    for axis, share in zip(axes[:, 0], shown["reached"], strict=True):
        axis.set_xlabel(f"{share:.2f} of natural 1", fontsize=6, labelpad=2)
    seen = "then the part of it that the unit sees, which is in the middle; " if part else ""
    caption = (
        f"Left, a picture made to excite one unit of {layer}, and how far it does, as a share of the largest "
        f"activation in natural images; {seen}right, the natural {'patches' if part else 'images'} that excite the "
        "unit most, the strongest first."
    )
    return fig, caption, f"Rows of a made picture for a unit of {layer} and of the natural ones that excite it most."


def kinship(model, data, natural, arrays, layers, config):
    """For each living unit of layers that see whole images, how like its picture is to the images that excite it most.

    The share of the layer's other units whose top images lie farther from the picture, by the means of their features
    in another network.
    """
    judge, found = models.load(config.evaluation_network, config.evaluation_weights), {}
    represent = network.features(judge.net, config.evaluation_layer)
    for layer in layers:
        alive = natural[f"{layer} values"][:, 0] > 0
        rows = natural[f"{layer} images"][alive]
        top = evaluation_networks.features(
            represent, np.stack([as_input(judge, data[int(i)][0]) for i in rows.ravel()])
        )
        pixels = list(model.to_pixels(arrays[f"{layer}/images"][alive]))
        found[layer] = closer(
            evaluation_networks.features(represent, judge.preprocess(pixels)), top.reshape(*rows.shape, -1).mean(1)
        )
    return found


def closer(shown: np.ndarray, top: np.ndarray) -> np.ndarray:
    """For each row of `shown` (N, D), the share of rows of `top` (N, D) that are farther away than its own, (N,)."""
    apart = np.stack([np.linalg.norm(top - one, axis=1) for one in shown])
    return (apart > np.diag(apart)[:, None]).sum(1) / max(1, len(shown) - 1)


def summary(found, kin):
    """How far units are excited, for how many none is more, and how like their top images the pictures are."""
    figure, layers = Figure(figsize=(10, 3), layout="constrained"), list(found)
    reached, selective, like = figure.subplots(1, 3)
    reached.boxplot([found[layer]["reached"] for layer in layers], tick_labels=layers, showfliers=False)
    reached.axhline(1, c="0.6", lw=0.8)
    reached.set_ylabel("activation, natural maximum = 1", fontsize=9)
    selective.bar(layers, [found[layer]["selective"].mean() for layer in layers], color="tab:blue")
    selective.plot(layers, [1 / len(found[layer]["selective"]) for layer in layers], "k_", ms=14)
    selective.set_ylabel("share most exciting for their own unit", fontsize=9)
    like.boxplot([kin[layer] for layer in kin], tick_labels=list(kin), showfliers=False)
    like.axhline(0.5, c="0.6", lw=0.8)
    like.set_ylabel("others' top images farther away", fontsize=9)
    for axis in (reached, selective, like):
        axis.tick_params(axis="x", labelrotation=50)
        axis.set_ylim(0, None)
        axis.spines[["top", "right"]].set_visible(False)
    caption = (
        "By layer, over all living units. Left, how far a unit is excited by the picture made for it (cut at zero: "
        "units that fire at the border only stay silent). Middle, for how many units the picture excites no other unit "
        "of the layer more, against their natural maxima; a dash marks chance. Right, in layers that see the whole "
        "image: the share of other units whose top images are less like the picture than the unit's own are, to "
        "another network; one half is chance."
    )
    return figure, caption, "Boxes of activations by layer, bars of shares above chance, boxes of likeness."


def report(run, found, kin, config):
    """Numbers of each layer, and what most units do."""
    for layer, each in found.items():
        run.numbers += [
            Number(f"median activation reached, natural maximum = 1, {layer}", float(np.median(each["reached"]))),
            Number.mean(f"share of units excited more than by any natural image, {layer}", each["reached"] > 1),
            Number.mean(f"share of pictures most exciting for their own unit, {layer}", each["selective"]),
        ]
    run.numbers += [Number.mean(f"likeness to the unit's own top images, {layer}", kin[layer]) for layer in kin]
    stronger = {layer: float((each["reached"] > 1).mean()) for layer, each in found.items()}
    selective = {layer: float(each["selective"].mean()) for layer, each in found.items()}
    held, count = generator_codes.mostly(np.concatenate([kin[layer] > 0.5 for layer in kin]))
    run.claims += [
        most_units("Most units of every layer are excited more than by any natural image.", stronger),
        most_units("Most pictures excite no unit of the layer more than the one they were made for.", selective),
        Claim(
            "Pictures show what the unit's top natural images show.",
            "figures of hidden units (how this is measured is ours)",
            held if generator_codes.is_independent(config) else None,
            f"to another network, the unit's own top images are nearer than most other units' for {count}",
        ),
    ]


def most_units(claim, shares):
    """A claim that holds where it does for more than half of the units in every layer."""
    listed = ", ".join(f"{100 * share:.0f} % in {layer}" for layer, share in shares.items())
    return Claim(
        claim,
        "figures of hidden units (what is asked is ours)",
        min(shares.values()) > 0.5,
        f"{listed}; more than half is asked for in each",
    )


def plan(config: Any) -> list[dry_run.Step]:
    """The search over the whole data set, and the steps of all units of each layer."""
    name = generators.network_of(config.generator)
    module, variables, shape = models.abstract(name)

    def activations(variables, x):
        return network.capture(Partial(module.apply, variables), x, config.layers)[1]

    x = jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)
    steps = [dry_run.Step("search", activations, (variables, x), -(-config.images // config.batch_size))]
    for layer in config.layers:
        count, at = unit(name, layer)
        steps.append(
            generator_codes.code_steps(config, f"units of {layer}", targets.neuron(layer, 0, at), count, config.steps)
        )
    return steps


EXPERIMENT = runner.Experiment(
    name="nguyen2016/hidden",
    title="Preferred inputs of the units of every layer",
    figure="preferred inputs of hidden units",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304",
    summary=(
        "Not only classes have preferred inputs: each unit inside the network has one. Here one is made for every "
        "channel of every layer, all units of a layer at once; on maps, for the unit in the middle. Beside it stand "
        "the nine natural images that excite the unit most. Does the picture excite the unit more than any natural "
        "image? Does it excite this unit only? And does it show what these images show? The last is asked of a "
        "network that was trained by itself. The generator was made for whole images, so units of lower layers, which "
        "see a few pixels, or only fire at the border, are the hardest for it."
    ),
    run=run,
    plan=plan,
    minutes=3.5,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
