"""Every unit of some layers, seen by every method: the sheets of the gallery's explorer, and a sample of them."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.explorer import sprites, unit_panels
from experiments.explorer.plans import plan
from experiments.lib import runner
from experiments.lib.runner import Claim, Number
from experiments.lib.top_activations import search, unit
from xai_jax import models, plots
from xai_jax.data import datasets
from xai_jax.models import generators

BAR = 0.2  # relative error that pre-images rarely exceed (Mahendran & Vedaldi 2015)
COLUMNS = {"patches": 3, "deconvnet": 3, "guided": 3, "preimage": 1, "preferred": 1}  # pictures in the figures
ROWS = 2  # units of each layer there


def run(config: Any, run: runner.Run) -> None:
    """Looks at all units, layer by layer, writes their sheets and then the index, and draws some of them."""
    data, found, entries = datasets.load(config.data, config.split), {}, []
    total = sum(unit(*place.split("/", 1))[0] for place in config.layers)
    for name, layers in unit_panels.networks(config).items():
        model = models.load(name, config.weights)
        own = dataclasses.replace(config, layers=layers)
        top = run.stage(f"{name}-search", partial(search, model, data, own, run))
        areas = run.stage(f"{name}-concepts", partial(unit_panels.concepts, model, data, own))
        limits = unit_panels.bounds(areas["sizes"], total * len(areas["sizes"]))  # the same for all networks
        for layer in run.progress(layers, name):
            parts = looked_at(model, data, top, f"{name}/{layer}", config, run)
            if not parts:  # no image excites any unit
                continue
            each = found[name, layer] = joined(parts, top, areas[layer], layer)
            paths = sprites.write(run, f"{name}-{layer}".replace("/", "-"), parts)
            entry = sprites.described(each, unit_panels.units(model, top, layer, each["channels"]), limits)
            entries.append({"network": name, "layer": layer, "chunk": config.chunk, "sheets": paths} | entry)
    concepts = [*data.classes, *config.textures]
    index = {"concepts": concepts, "classes": len(data.classes), "bounds": limits.tolist(), "layers": entries}
    sprites.write_index(run, index)
    for name in unit_panels.networks(config):
        run.figure(name, *sample(found, name, concepts, limits, config.seed))
    run.figure("measures", *measures(found, len(data.classes)))
    report(run, found, limits, len(data.classes))


def looked_at(model, data, top, place, config, run):
    """What the methods show of the units of a layer that some image excites, one stage for each part of them."""
    layer = place.partition("/")[2]
    alive = np.flatnonzero(top[f"{layer} values"][:, 0] > 0)
    return [
        run.stage(
            f"{place.replace('/', '-')}-{number}",
            partial(
                one, model, data, unit_panels.units(model, top, layer, alive[first : first + config.chunk]), top, config
            ),
        )
        for number, first in enumerate(range(0, len(alive), config.chunk))
    ]


def one(model, data, some, top, config):
    """Pictures of each kind for some units, (n, k, h, w, C) or (n, H, W, C), errors and activations reached (n,)."""
    generator = generators.load(config.generator, config.generator_weights or None, config.weights)
    made = unit_panels.preferred(generator, model, some, config)
    found = unit_panels.projections(model, data, some, config.batch_size) | unit_panels.inverted(
        model, data, some, config
    )
    found["preferred"] = made["preferred"]
    pictures = {kind: unit_panels.smaller(found[kind], config.cell) for kind in sprites.KINDS}
    most = top[f"{some.layer} values"][some.channels, 0]
    return pictures | {"error": found["error"], "reached": made["activation"] / most}


def joined(parts, top, areas, layer):
    """All that is known of a layer's living units, by name."""
    alive = np.flatnonzero(top[f"{layer} values"][:, 0] > 0)
    known = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return known | {
        "channels": alive,
        "count": len(top[f"{layer} values"]),
        "strongest": top[f"{layer} values"][alive, 0],
        "labels": top[f"{layer} labels"][alive],
        "areas": areas[alive],
    }


def sample(found, network, concepts, limits, seed):
    """A few units of each layer of a network, drawn at random, with some pictures of each kind."""
    rng, panels, rows, told = np.random.default_rng(seed), [], [], []
    for layer, each in ((layer, each) for (name, layer), each in found.items() if name == network):
        for n in np.sort(rng.permutation(len(each["channels"]))[:ROWS]):
            panels.append([picture / 255 for kind in sprites.KINDS for picture in chosen(each[kind][n], COLUMNS[kind])])
            rows.append(f"{layer}, unit {each['channels'][n]}")
            best = sprites.nearest(each["areas"][n], limits)[:1]
            told.append(f"{concepts[best[0][0]]}\n{best[0][1]:.2f}" if best else "no concept")
    titles = [f"{kind} {n + 1}" if count > 1 else kind for kind, count in COLUMNS.items() for n in range(count)]
    figure, axes = plots.grid(panels, titles, rows, 0.8)
    for axis, text in zip(axes[:, -1], told, strict=True):
        axis.annotate(text, (1.1, 0.5), xycoords="axes fraction", fontsize=7, va="center")
    for axis in axes[0]:
        axis.title.set_fontsize(7)
    caption = (
        f"Some units of each layer of {network}, drawn at random. Patches: what the unit sees of the three images that "
        "excite it most, white beyond the border. Deconvnet and guided: what in them excites it. Preimage: an image, "
        "found from noise, to which the unit's whole channel answers as to the first image. Preferred: what a "
        "generator draws to excite it; in layers with positions, the unit in the middle. Right: the concept that the "
        "unit tells best from other images, and how often it does; one half is chance."
    )
    return figure, caption, f"Rows of eleven small pictures, two for each layer of {network}."


def chosen(pictures, count):
    """The first pictures of a kind, in which there may be one alone."""
    return [pictures] if pictures.ndim == 3 else list(pictures[:count])


def measures(found, classes):
    """By layer: how well units tell the class and the texture that they tell best, and errors of pre-images."""
    networks = list(dict.fromkeys(name for name, _ in found))
    figure = Figure(figsize=(11, 3.1 * len(networks)), layout="constrained")
    labels = ("best class: area", "best texture: area", "pre-image: error")
    for axes, name in zip(figure.subplots(len(networks), 3, squeeze=False), networks, strict=True):
        layers = {layer: each for (network, layer), each in found.items() if network == name}
        for axis, label in zip(axes, labels, strict=True):
            values = [by_unit(each, classes)[label] for each in layers.values()]
            axis.boxplot(values, tick_labels=list(layers), showfliers=False)
            axis.axhline(BAR if label == labels[2] else 0.5, c="0.6", lw=0.8)
            axis.set_ylabel(label, fontsize=9)
            axis.tick_params(axis="x", labelrotation=50, labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        axes[1].set_title(name, fontsize=10)
    caption = (
        "By layer, over all units that some image excites. Left and middle: how often a unit answers an image of the "
        "class, or of the texture, that it tells best more than another image; the line is one half, where a single "
        "concept would be by chance. Right: how far the answer to the pre-image is from the wanted one, as a share of "
        f"its square; the line is at {BAR:g}."
    )
    return figure, caption, "Boxes by layer in three panels for each network."


def by_unit(each, classes):
    """The measures of each unit that the figure shows, (n,)."""
    return {
        "best class: area": each["areas"][:, :classes].max(1),
        "best texture: area": each["areas"][:, classes:].max(1),
        "pre-image: error": each["error"],
    }


def report(run, found, limits, classes):
    """Numbers of each layer, and what the papers say of layers and of errors."""
    run.numbers.append(Number("units that some image excites", sum(len(each["channels"]) for each in found.values())))
    run.numbers.append(Number("units in all", sum(each["count"] for each in found.values())))
    for (name, layer), each in found.items():
        near = (each["areas"] > limits).any(1)
        run.numbers += [
            Number.mean(f"share of units that tell some concept above chance, {name}/{layer}", near),
            Number.mean(f"area of the class told best, {name}/{layer}", each["areas"][:, :classes].max(1)),
            Number(f"median error of pre-images, {name}/{layer}", float(np.median(each["error"]))),
            Number(f"median activation of preferred inputs, natural maximum = 1, {name}/{layer}", middle(each)),
        ]
    run.claims += [class_claim(found, classes), error_claim(found)]


def middle(each):
    return float(np.median(each["reached"]))


def class_claim(found, classes):
    """Whether units of the last layer tell classes better than those of the first, in every network."""
    measured, higher, lower = [], [], []
    for name in dict.fromkeys(name for name, _ in found):
        layers = [(n, each["areas"][:, :classes].max(1)) for (own, n), each in found.items() if own == name]
        first, last = layers[0], layers[-1]
        tests = (stats.mannwhitneyu(last[1], first[1], alternative=side).pvalue for side in ("greater", "less"))
        for decided, p in zip((higher, lower), tests, strict=True):
            decided.append(p < runner.LEVEL)
        measured.append(f"{name}: {first[1].mean():.2f} in {first[0]}, {last[1].mean():.2f} in {last[0]}")
    return Claim(
        "Units of the last layer tell classes apart better than units of the first layer.",
        "Zeiler and Fergus 2014, section 4.1, and Kim et al. 2018 (how this is measured is ours)",
        True if all(higher) else False if any(lower) else None,
        f"area of the class told best, mean over units, {'; '.join(measured)}; one-sided Mann-Whitney tests",
    )


def error_claim(found):
    """Whether pre-images give the units' answers back."""
    errors = np.concatenate([each["error"] for each in found.values()])
    above, worst = float((errors > BAR).mean()), max(found, key=lambda place: np.median(found[place]["error"]))
    return Claim(
        f"The error of pre-images rarely exceeds {100 * BAR:.0f} %.",
        "Mahendran and Vedaldi 2015, Fig. 6 and Table 3, there of whole layers",
        above < 0.1,
        f"{100 * above:.1f} % of {len(errors)} errors, each of one unit's channel, are above; rarely is taken for less "
        f"than a tenth. Median {100 * np.median(errors):.2g} %; in the worst layer, {'/'.join(worst)}, "
        f"{100 * np.median(found[worst]['error']):.2g} %",
    )


EXPERIMENT = runner.Experiment(
    name="explorer/units",
    title="Every unit, seen by every method",
    figure="the unit explorer",
    paper="Zeiler and Fergus 2014; Mahendran and Vedaldi 2015; Springenberg et al. 2015; Nguyen et al. 2016; Kim et "
    "al. 2018: one page for the methods of all five",
    summary=(
        "Each method answers the same question in its own way: what does one unit look for? Here all of them are asked "
        "about every unit of every layer. The page units.html beside this gallery shows the answers side by side; "
        "below are some of them, drawn at random. A unit is a channel before it is rectified. Pre-images keep the "
        "answer of this one channel, not of the layer, so they show what a single unit has kept. How much smoothness "
        "counts in them was chosen after trials, where less of it gave noise. A concept is near to a unit if the unit "
        "alone tells its images from others: TCAV's question, asked of the direction of a single channel in place of a "
        "learnt one."
    ),
    run=run,
    plan=plan,
    minutes=23,
    order=7,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
