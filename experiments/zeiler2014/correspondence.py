"""Whether a network relates corresponding parts of objects (Zeiler & Fergus 2014, section 4.3 and Table 1)."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from configs.zeiler2014.correspondence import Config
from experiments.lib import dry_run, figures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, UserError, Workspace, main
from xai_jax import models, network
from xai_jax.core.precision import highest
from xai_jax.data import datasets, heads
from xai_jax.data.decoding import decode
from xai_jax.io import csv_file

SIDE = 224  # pixels of heads
RANDOM, COMMON = "random position in each", "random position, one for all"  # controls
# Table 1: mean and standard deviation in layers 5 and 7.
PAPER = {
    "right eye": ((0.067, 0.007), (0.069, 0.015)),
    "left eye": ((0.069, 0.007), (0.068, 0.013)),
    "nose": ((0.079, 0.017), (0.069, 0.011)),
    RANDOM: ((0.107, 0.017), (0.073, 0.014)),
}


class Parts(NamedTuple):
    """Images (H, W) or (H, W, 3) uint8, and the centres of parts in them: {part: (images, 2)} rows and columns."""

    images: list[np.ndarray]
    centres: dict[str, np.ndarray]


def run(config: Config, work: Workspace) -> Report:
    """Occludes corresponding parts and random positions in sets of images; compares the signs of feature changes."""
    model = models.load(config.network, config.weights)
    parts = loaded(config)
    if len(parts.images) < config.count:
        raise UserError(f"Expected at least {config.count} images of one kind, got {len(parts.images)}.")
    found = work.stage("distances", lambda: measure(model, parts, config, work))
    panels = [images_panel(draw(parts, config, 0), config), distances_panel(found, parts, config)]
    numbers, claims = findings(found, list(parts.centres), config)
    if config.data == "heads" and not config.positions:
        moved = work.stage("moved", lambda: measure(model, from_heads(config, moved=True), config, work))
        numbers += [Number.mean(f"sign distance in {name}, heads moved", values) for name, values in moved.items()]
        claims.append(moved_claim(moved, config.layers[0]))
    return Report(numbers, claims, panels)


def loaded(config: Config) -> Parts:
    """Images and parts: of a CSV file, heads of mammals, or aligned images of a data set."""
    if config.positions:
        return from_file(config.positions)
    return from_heads(config) if config.data == "heads" else from_data(config)


def from_heads(config: Config, moved: bool = False) -> Parts:
    """Heads of mammals with eye, nose and ear: in a common pose, or each moved, resized and mirrored at random."""
    rngs = [np.random.default_rng([config.seed, n]) if moved else None for n in range(len(heads.table()))]
    drawn = [heads.crop(head, SIDE, rng) for head, rng in zip(heads.table(), rngs, strict=True)]
    return Parts([image for image, _ in drawn], {part: np.array([at[part] for _, at in drawn]) for part in heads.PARTS})


def from_data(config: Config) -> Parts:
    """The test images of one class, in which parts have the same position."""
    if not config.parts:
        raise UserError("Expected --config.parts, or a file of them as --config.positions, got none.")
    images, labels = datasets.load(config.data, datasets.splits(config.data)[-1]).arrays()
    images = list(images[labels == config.label])
    shape = np.array(images[0].shape[:2])
    centres = {name: np.tile((row, column) * shape, (len(images), 1)) for name, row, column in config.parts}
    return Parts(images, centres)


def from_file(path: str) -> Parts:
    """Images and parts that a CSV file names; raises UserError where a part of an image is missing."""
    try:
        lines = csv_file.read(path)
        rows = [(each["image"], each["part"], float(each["row"]), float(each["column"])) for each in lines]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"Expected a CSV file with the columns image, part, row and column as --config.positions, got {path}: "
            f"{type(error).__name__}: {error}. The paper's dogs and their eyes and noses are not published."
        ) from error
    at = {(image, part): (row, column) for image, part, row, column in rows}
    names, parts = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    missing = [f"{part} in {name}" for name in names for part in parts if (name, part) not in at]
    if missing or not rows:
        raise UserError(f"Expected every part in every image of {path}, missing: {', '.join(missing) or 'all'}.")
    images = [decode(Path(path).parent / name) for name in names]
    return Parts(images, {part: np.array([at[name, part] for name in names]) for part in parts})


def draw(parts: Parts, config: Config, number: int) -> Parts:
    """One set of images, with random positions beside the parts: one for each image, and one for all.

    No two sets share an image.
    """
    order = np.random.default_rng(config.seed).permutation(len(parts.images))
    chosen = order[number * config.count : (number + 1) * config.count]
    rng = np.random.default_rng([config.seed, number])
    images = [parts.images[i] for i in chosen]
    shapes = np.array([image.shape[:2] for image in images])
    side = config.side * shapes.min(1, keepdims=True)
    shares = {RANDOM: rng.random((config.count, 2)), COMMON: rng.random((1, 2))}
    random = {name: side / 2 + share * (shapes - side) for name, share in shares.items()}
    return Parts(images, {name: centres[chosen] for name, centres in parts.centres.items()} | random)


def hide(image: np.ndarray, centre: np.ndarray, config: Config) -> np.ndarray:
    """The image with a grey square around a position, clipped at the border."""
    side = max(1, round(config.side * min(image.shape[:2])))
    starts = np.round(np.asarray(centre) - side / 2).astype(int)
    top, left = np.maximum(starts, 0)
    bottom, right = np.maximum(starts + side, 0)
    hidden = image.copy()
    hidden[top:bottom, left:right] = config.grey
    return hidden


def measure(model, parts, config, work):
    """Distances (sets,) for each layer and part or control."""
    found, sets = {}, min(config.sets, len(parts.images) // config.count)
    for number in work.progress(range(sets), "sets of images"):
        images, centres = draw(parts, config, number)
        occluded = [hide(i, at, config) for each in centres.values() for i, at in zip(images, each, strict=True)]
        features = _features(model.net, model.preprocess(images + occluded), tuple(config.layers))
        for layer, values in features.items():
            whole, hidden = np.split(np.asarray(values, np.float64), [config.count])
            changes = whole - hidden.reshape(len(centres), *whole.shape)
            for name, change in zip(centres, changes, strict=True):
                found.setdefault(f"{layer} {name}", []).append(distance(change))
    return found


@highest()
@partial(jax.jit, static_argnames="layers")
def _features(net, x, layers):
    return {name: value.reshape(len(x), -1) for name, value in network.capture(net, x, layers)[1].items()}


def distance(changes: np.ndarray) -> float:
    """Section 4.3: the share of features whose sign of change differs, averaged over pairs of images; (N, D).

    The paper sums Hamming distances over pairs; its values are below one, so they are taken for averages. Changes of no
    more than rounding count as none.
    """
    signs = np.sign(np.where(np.abs(changes) > 1e-6 * np.abs(changes).max(), changes, 0))
    pairs = (signs[:, None] != signs).mean(-1)
    return pairs[~np.eye(len(pairs), dtype=bool)].mean()


def images_panel(shown, config):
    """A row for each image of a set: the image, and the same with each part or random position occluded."""
    rows = [
        [image / 255, *(hide(image, centres[n], config) / 255 for centres in shown.centres.values())]
        for n, image in enumerate(shown.images)
    ]
    columns = ["image", *(name.replace(", ", ",\n").replace(" in each", "\nin each") for name in shown.centres)]
    caption = (
        "One set of images with corresponding parts occluded, one at a time, and with the two controls: a random "
        "position in each image, and one random position for all of the set."
    )
    alt = "Rows of heads; in each column a grey square hides the same part."
    return figures.image_panel("images", rows, columns, [""] * len(rows), caption, alt, size=1.5)


def distances_panel(found, parts, config):
    """Distances in two layers, here on the left and the paper's on the right."""
    names = [*parts.centres, RANDOM, COMMON]
    figure, axes = figures.axes(1, 4, (3.2, 0.8 + 0.38 * len(names)))
    here = [
        {name: (found[f"{layer} {name}"].mean(), found[f"{layer} {name}"].std()) for name in names}
        for layer in config.layers
    ]
    paper = [{name: values[i] for name, values in PAPER.items()} for i in range(2)]
    panels = zip((*config.layers, "paper: layer 5", "paper: layer 7"), (*here, *paper), strict=True)
    for axis, (title, rows) in zip(axes[0], panels, strict=True):
        dots(axis, title, rows)
    sets = len(found[f"{config.layers[0]} {RANDOM}"])
    caption = (
        "How often the signs of the features' changes differ between two images in which the same part is occluded; "
        f"mean and standard deviation over {sets} sets of {config.count} images here, over pairs of images in the "
        "paper (Table 1, on dogs). Lower values mean that the network treats the part more similarly in all images."
    )
    return Panel("correspondence", figure, caption, "Dots with bars for each part and control in two layers.")


def dots(axis, title, rows):
    """Mean and standard deviation of each row as a dot with a bar and as text; the controls are grey."""
    for y, (name, (mean, std)) in enumerate(rows.items()):
        colour = "0.55" if name in (RANDOM, COMMON) else "tab:blue"
        axis.errorbar(mean, y, xerr=std, fmt="o", color=colour, ms=5, capsize=3)
        axis.annotate(f"{mean:.3f} ± {std:.3f}", (mean, y), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_ylim(len(rows) - 0.5, -0.7)
    figures.label(axis, title, "sign distance")
    axis.set_xlim(0, 1.25 * max(mean + std for mean, std in rows.values()))
    figures.hide_spines(axis)


def findings(found, parts, config):
    """Numbers, and whether parts have lower distances than random positions, above all in the lower layer."""
    numbers, means, gaps = [], {}, {}
    for layer, (paper, _) in zip(config.layers, PAPER[RANDOM], strict=True):
        for name in (*parts, RANDOM, COMMON):
            tagged = {"paper": paper, "paper_tag": "V:ZF"} if name == RANDOM else {}
            numbers.append(Number.mean(f"sign distance in {layer}, {name}", found[f"{layer} {name}"], **tagged))
        means[layer] = np.mean([found[f"{layer} {name}"] for name in parts], axis=0)
        gaps[layer] = found[f"{layer} {RANDOM}"] - means[layer]
    lower, upper = config.layers
    return numbers, [parts_claim(found, means[lower], lower), layers_claim(gaps, lower, upper)]


def moved_claim(found, layer):
    """The same as `parts_claim` where parts do not share a position."""
    parts, random = np.mean([found[f"{layer} {part}"] for part in heads.PARTS], axis=0), found[f"{layer} {RANDOM}"]
    return Claim(
        "So it does where the parts do not share a position in the images.",
        "not in the paper, whose dogs are in frontal pose",
        statistics.t_test(random, parts),
        f"heads moved, resized and mirrored at random: in {layer} {parts.mean():.3f} for parts, {random.mean():.3f} "
        "for random positions",
    )


def parts_claim(found, parts, layer):
    """That parts have lower distances than random positions, beside the control of one random position for all."""
    random, common = (found[f"{layer} {name}"] for name in (RANDOM, COMMON))
    return Claim(
        "Occluding corresponding parts changes layer 5 more similarly in all images than occluding random regions.",
        "section 4.3 and Table 1",
        statistics.t_test(random, parts),
        f"in {layer} the distance is {parts.mean():.3f} for parts, {random.mean():.3f} for random positions. For "
        f"random positions common to all images of a set it is {common.mean():.3f} (parts lower: "
        f"{statistics.t_test(common, parts).text}): what parts share is due to their position as well",
    )


def layers_claim(gaps, lower, upper):
    """That the difference between parts and random positions shrinks from the lower to the upper layer."""
    return Claim(
        "In layer 7 parts and random regions differ less than in layer 5.",
        "section 4.3 and Table 1",
        statistics.t_test(gaps[lower], gaps[upper]),
        f"random positions minus parts: {gaps[lower].mean():.3f} in {lower}, {gaps[upper].mean():.3f} in {upper}",
    )


def plan(config: Config) -> list[dry_run.Step]:
    """One forward pass of each set: its images as they are, and with three parts and two random positions occluded."""
    compute = partial(_features, layers=tuple(config.layers))
    return [dry_run.forward(config.network, 6 * config.count, config.sets, compute, name="images with parts hidden")]


EXPERIMENT = Experiment[Config](
    name="zeiler2014/correspondence",
    title="Correspondence between parts of objects",
    figure="Table 1",
    paper=papers.ZEILER2014,
    summary=(
        "Does a network relate corresponding parts of objects implicitly? Then occluding them should change its "
        "features similarly in all images. The paper occludes eyes and noses of five dogs, which are not published; "
        "here eyes, noses and ears of 45 mammals in a common pose. Controls occlude one random position in each "
        "image, or in all, or move the heads."
    ),
    run=run,
    plan=plan,
    minutes=0.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
