"""Every unit of some layers, shown by every method: the sheets of the gallery's explorer, and a sample of them."""

import dataclasses
from functools import partial

import numpy as np

from configs.explorer.units import Config
from experiments.explorer import sprites, unit_panels
from experiments.explorer.plans import plan
from experiments.lib import figures, generator_codes, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import search, unit
from xai_jax import models, plots
from xai_jax.data import datasets
from xai_jax.plots.figure import Figure

HIGH_ERROR = 0.2  # relative error that pre-images rarely exceed (Mahendran & Vedaldi 2015)
COLUMNS = {"patches": 3, "deconvnet": 3, "guided": 3, "preimage": 1, "preferred": 1}  # images in the figures
ROWS = 2  # units of each layer there


def run(config: Config, work: Workspace) -> Report:
    """Computes the images of all units, layer by layer, their sheets and the index, and draws a sample."""
    data, found, entries, files = datasets.load(config.data, config.split), {}, [], {}
    total = sum(unit(*name.split("/", 1))[0] for name in config.layers)
    for network, layers in unit_panels.networks(config).items():
        model = models.load(network, config.weights)
        own = dataclasses.replace(config, layers=layers)
        top = work.stage(f"{network}-search", partial(search, model, data, own, work))
        areas = work.stage(f"{network}-concepts", partial(unit_panels.concepts, model, data, own))
        bounds = unit_panels.bounds(areas["sizes"], total * len(areas["sizes"]))  # the same for all networks
        for layer in work.progress(layers, network):
            parts = layer_parts(model, data, top, network, layer, config, work)
            if not parts:  # no image activates any unit
                continue
            each = found[network, layer] = joined(parts, top, areas[layer], layer)
            paths = sprites.sheet_paths(f"{network}-{layer}".replace("/", "-"), len(parts))
            files |= sprites.sheets(paths, parts)
            entry = sprites.layer_entry(each, unit_panels.units(model, top, layer, each["channels"]), bounds)
            entries.append({"network": network, "layer": layer, "chunk": config.chunk, "sheets": paths} | entry)
    concepts, classes = [*data.classes, *config.textures], len(data.classes)
    index = {"concepts": concepts, "classes": classes, "bounds": bounds.tolist(), "layers": entries}
    files[sprites.INDEX] = sprites.packed_index(index)
    samples = [sample_panel(found, network, concepts, bounds, config.seed) for network in unit_panels.networks(config)]
    return Report(*findings(found, bounds, classes), [*samples, measures_panel(found, classes)], files)


def layer_parts(model, data, top, network, layer, config, work):
    """The images of the units of a layer that some image activates, one stage for each part of them."""
    alive, parts = np.flatnonzero(top[f"{layer} values"][:, 0] > 0), []
    for number, first in enumerate(range(0, len(alive), config.chunk)):
        some = unit_panels.units(model, top, layer, alive[first : first + config.chunk])
        stage = f"{network}-{layer.replace('/', '-')}-{number}"
        parts.append(work.stage(stage, partial(unit_images, model, data, some, top, config)))
    return parts


def unit_images(model, data, some, top, config):
    """Images of each kind, (n, k, h, w, C) or (n, H, W, C), errors and relative activations (n,) of some units."""
    generator = generator_codes.load_generator(config)
    preferred = unit_panels.preferred(generator, model, some, config)
    found = unit_panels.projections(model, data, some, config.batch_size)
    found |= unit_panels.inverted(model, data, some, config)
    found["preferred"] = preferred["preferred"]
    images = {kind: unit_panels.reduced(found[kind], config.cell) for kind in sprites.KINDS}
    natural = top[f"{some.layer} values"][some.channels, 0]
    return images | {"error": found["error"], "reached": preferred["activation"] / natural}


def joined(parts, top, areas, layer):
    """The results for all active units of a layer, by name."""
    alive = np.flatnonzero(top[f"{layer} values"][:, 0] > 0)
    results = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return results | {
        "channels": alive,
        "count": len(top[f"{layer} values"]),
        "strongest": top[f"{layer} values"][alive, 0],
        "labels": top[f"{layer} labels"][alive],
        "areas": areas[alive],
    }


def sample_panel(found, network, concepts, bounds, seed):
    """A few units of each layer of a network, drawn at random, with some images of each kind."""
    rng, panels, rows, notes = np.random.default_rng(seed), [], [], []
    for layer, each in ((layer, each) for (name, layer), each in found.items() if name == network):
        for n in np.sort(rng.permutation(len(each["channels"]))[:ROWS]):
            panels.append([i / 255 for kind in sprites.KINDS for i in first_images(each[kind][n], COLUMNS[kind])])
            rows.append(f"{layer}, unit {each['channels'][n]}")
            best = sprites.nearest(each["areas"][n], bounds)[:1]
            notes.append(f"{concepts[best[0][0]]}\n{best[0][1]:.2f}" if best else "no concept")
    titles = [f"{kind} {n + 1}" if count > 1 else kind for kind, count in COLUMNS.items() for n in range(count)]
    figure, axes = plots.grid(panels, titles, rows, 0.8)
    for axis, text in zip(axes[:, -1], notes, strict=True):
        axis.annotate(text, (1.1, 0.5), xycoords="axes fraction", fontsize=7, va="center")
    for axis in axes[0]:
        axis.title.set_fontsize(7)
    caption = (
        f"Some units of each layer of {network}, drawn at random. Patches: the unit's receptive field in the three "
        "images that activate it most, white beyond the border. Deconvnet and guided: what activates it there; without "
        "max-pooling the deconvnet hardly depends on the image, nor do both in the first layer. "
        "Preimage: an image, optimised from noise, with the activations of the unit's whole channel for the first "
        "image. Preferred: an image of the generator that maximises the activation; in layers with positions, of the "
        "unit in the middle. Right: the concept that the unit detects best, with the area under the ROC curve; one "
        "half is chance level."
    )
    return Panel(network, figure, caption, f"Rows of eleven small images, two for each layer of {network}.")


def first_images(images, count):
    """The first images of a kind, of which there may be only one."""
    return [images] if images.ndim == 3 else list(images[:count])


def measures_panel(found, classes):
    """By layer: how well units detect their best class and texture, and errors of pre-images."""
    networks = list(dict.fromkeys(name for name, _ in found))
    figure = Figure(figsize=(11, 3.1 * len(networks)), layout="constrained")
    labels = ("best class: area", "best texture or colour: area", "pre-image: error")
    for axes, name in zip(figure.subplots(len(networks), 3, squeeze=False), networks, strict=True):
        layers = {layer: each for (network, layer), each in found.items() if network == name}
        for axis, label in zip(axes, labels, strict=True):
            values = [by_unit(each, classes)[label] for each in layers.values()]
            figures.boxes(axis, dict(zip(layers, values, strict=True)), label)
            axis.axhline(HIGH_ERROR if label == labels[2] else 0.5, c="0.6", lw=0.8)
            axis.set_title(name, fontsize=10)
            axis.tick_params(axis="x", labelrotation=50, labelsize=8)
            figures.hide_spines(axis)
    caption = (
        "By layer, over all units that some image activates. Left and middle: area under the ROC curve of the class, "
        "or of the texture or colour, that the unit detects best; the line is one half, the chance level of a single "
        "concept. Right: "
        f"normalised squared error of the pre-image's activations; the line is at {HIGH_ERROR:g}. Boxes are "
        "quartiles, whiskers reach at most 1.5 times as far, and dots are units beyond."
    )
    return Panel("measures", figure, caption, "Boxes by layer in three panels for each network.")


def by_unit(each, classes):
    """The measures of each unit that the figure shows, (n,)."""
    return {
        "best class: area": each["areas"][:, :classes].max(1),
        "best texture or colour: area": each["areas"][:, classes:].max(1),
        "pre-image: error": each["error"],
    }


def findings(found, bounds, classes):
    """Numbers of each layer, and the papers' claims about layers and errors."""
    numbers = [
        Number("units that some image activates", sum(len(each["channels"]) for each in found.values())),
        Number("units in all", sum(each["count"] for each in found.values())),
    ]
    for (name, layer), each in found.items():
        significant = (each["areas"] > bounds).any(1)
        reached, error = float(np.median(each["reached"])), float(np.median(each["error"]))
        numbers += [
            Number.mean(f"share of units that detect a concept significantly, {name}/{layer}", significant),
            Number.mean(f"area of the class detected best, {name}/{layer}", each["areas"][:, :classes].max(1)),
            Number(f"median error of pre-images, {name}/{layer}", error),
            Number(f"median activation of preferred inputs, natural maximum = 1, {name}/{layer}", reached),
        ]
    return numbers, [class_claim(found, classes), error_claim(found)]


def class_claim(found, classes):
    """That units of the last layer detect classes better than those of the first, in every network."""
    measured, verdicts = [], []
    for name in dict.fromkeys(name for name, _ in found):
        layers = [(n, each["areas"][:, :classes].max(1)) for (own, n), each in found.items() if own == name]
        first, last = layers[0], layers[-1]
        verdicts.append(statistics.mann_whitney(last[1], first[1]))
        measured.append(f"{name}: {first[1].mean():.2f} in {first[0]}, {last[1].mean():.2f} in {last[0]}")
    return Claim(
        "Units of the last layer distinguish classes better than units of the first layer.",
        "Zeiler and Fergus 2014, section 4.1, and Kim et al. 2018 (the measure is ours)",
        statistics.all_of(verdicts),
        f"area of the class detected best, mean over units, {'; '.join(measured)}",
    )


def error_claim(found):
    """That errors of pre-images are low."""
    errors = np.concatenate([each["error"] for each in found.values()])
    worst = max(found, key=lambda name: np.median(found[name]["error"]))
    return Claim(
        f"The error of pre-images rarely exceeds {100 * HIGH_ERROR:.0f} %.",
        "Mahendran and Vedaldi 2015, Fig. 6 and Table 3, there of whole layers",
        statistics.binomial(errors > HIGH_ERROR, 0.1, "less"),
        f'errors of one unit\'s channel each; "rarely" is taken for less than a tenth. Median '
        f"{100 * np.median(errors):.2g} %; in the worst layer, {'/'.join(worst)}, "
        f"{100 * np.median(found[worst]['error']):.2g} %",
    )


EXPERIMENT = Experiment[Config](
    name="explorer/units",
    title="Every unit, seen by every method",
    figure="the unit explorer",
    paper="Zeiler and Fergus 2014; Mahendran and Vedaldi 2015; Springenberg et al. 2015; Nguyen et al. 2016; Kim et "
    "al. 2018: one page for the methods of all five",
    summary=(
        "What does a unit detect? All five methods are applied to every unit of every layer, a unit being a channel "
        "before its ReLU. The page units.html shows the results; below is a random sample. Pre-images invert one "
        "channel, not the layer; a concept is near to a unit if the unit alone separates its images from others."
    ),
    run=run,
    plan=plan,
    minutes=9,
)

if __name__ == "__main__":
    main(EXPERIMENT)
