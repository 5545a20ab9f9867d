"""Training networks for ImageNet: images, errors, claims about errors, and tables of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib import dry_run, report, statistics
from xai_jax.core.network import Network
from xai_jax.core.pytrees import as_partial
from xai_jax.data import crops, datasets
from xai_jax.data.datasets import Dataset
from xai_jax.data.squares import centre_squares
from xai_jax.plots.figure import Figure
from xai_jax.training import evaluation, sgd, supervised

BATCH = 32  # images whose errors are counted at a time


class Task(NamedTuple):
    """Training and validation images, and how they become a network's input.

    `known`: the first of the training images, whose errors are measured, too. `crop` is for training, `centre` for
    evaluation.
    """

    training: Dataset
    known: Dataset
    validation: Dataset
    prepare: Callable[[Array], Array]
    crop: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    centre: Callable[[np.ndarray], np.ndarray]


def load(config: Any, crop: Callable, mean: tuple[float, ...], std: tuple[float, ...] = (1.0,)) -> Task:
    """The images of a configuration.

    Args:
      config: has `data`, `images` to train on, `checked` images of each split for errors, `short` and `side`; with
        `squares`, images are resized once.
      crop: function (image, rng, side, short) of xai_jax.data.crops for training.
      mean: pixel, subtracted.
      std: standard deviation of the pixels, which are divided by it.
    """
    training, held_out = (datasets.load(config.data, split) for split in datasets.splits(config.data))
    training = first(training, config.images)
    if getattr(config, "squares", False):
        training, held_out = (centre_squares(each, config.short) for each in (training, held_out))
    sides = {"side": config.side, "short": config.short}
    inputs = partial(prepare, mean=mean, std=std)
    known, validation = first(training, config.checked), first(held_out, config.checked)
    return Task(training, known, validation, inputs, partial(crop, **sides), partial(crops.centre_crop, **sides))


def first(data: Dataset, count: int) -> Dataset:
    """The first `count` images, or all where there are no more."""
    return datasets.select(data, range(min(count, len(data))))


def prepare(images: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """uint8 (N, H, W, C) -> (pixel - mean) / std, both of one value for each channel or for all."""
    return (images.astype(jnp.float32) - jnp.array(mean)) / jnp.array(std)


def fit(
    module: nn.Module, task: Task, recipe: sgd.Recipe, workdir: Path, seed: int, keep_epochs: bool = False
) -> Network:
    """A network trained in `workdir`, or read from there. Errors on plateaus are those of centre crops."""
    validation = {"validation": task.validation, "validation_transform": task.centre} if recipe.patience else {}
    common = {"seed": seed, "prepare": task.prepare, "transform": task.crop, "keep_epochs": keep_epochs}
    return Partial(module.apply, supervised.fit(module, task.training, recipe, workdir, **common, **validation))


def errors(net: Network, data: Dataset, task: Task, transform: Callable) -> evaluation.Errors:
    """Errors in %, of few images at a time: there may be ten crops of each."""
    return evaluation.errors(net, data, task.prepare, transform, batch_size=BATCH)


def plans(modules: Mapping[str, nn.Module], recipe: sgd.Recipe, config: Any, crops: int) -> list[dry_run.Step]:
    """The `plan` of each network, as often as there are seeds."""
    shape = config.side, config.side, len(config.mean)
    steps = [step for name, module in modules.items() for step in plan(name, module, recipe, config, shape, crops)]
    return [step._replace(repeats=step.repeats * config.seeds) for step in steps]


def plan(
    name: str,
    module: nn.Module,
    recipe: sgd.Recipe,
    config: Any,
    shape: tuple[int, int, int],
    crops: int,
    resident: int = 0,
) -> list[dry_run.Step]:
    """The steps of training of one network, and of measuring its errors.

    Args:
      name: of the network in the report.
      module: the network.
      recipe: the schedule of training.
      config: has `images`, `checked` and `batch_size`.
      shape: of an image, (H, W, C).
      crops: of each image whose errors are measured.
      resident: images that stay on the device in training, if they do.

    Returns:
      Two steps of the plan.
    """
    per_epoch = config.images // recipe.batch_size
    setting, inputs = sgd.Setting(module, recipe, per_epoch), partial(prepare, mean=(0.0,), std=(1.0,))
    variables = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    state = jax.eval_shape(partial(sgd.begin, setting), variables)
    images = jax.ShapeDtypeStruct((recipe.batch_size, *shape), jnp.uint8)
    labels = jax.ShapeDtypeStruct((recipe.batch_size,), jnp.int32)
    seen = jax.ShapeDtypeStruct((BATCH * crops, *shape), jnp.uint8)

    def classify(variables, images):
        return module.apply(variables, inputs(images))

    steps, batches = round(recipe.epochs * per_epoch), 2 * -(-config.checked // BATCH)  # of both splits
    return [
        dry_run.Step(f"step, {name}", step(setting, inputs), (state, images, labels), steps, resident),
        dry_run.Step(f"errors, {name}", classify, (variables, seen), batches),
    ]


def step(setting: sgd.Setting, prepare: Callable, augment: Callable | None = None) -> Callable:
    """A step of training as one function of a state, uint8 images (N, H, W, C) and labels (N,), for dry runs."""
    constants = np.uint32(0), as_partial(prepare), augment and as_partial(augment)
    return lambda state, images, labels: sgd.step(setting, state, [(images, labels)], constants)[0]


def error_claim(text: str, source: str, formula: str, terms: Sequence[tuple[float, np.ndarray]]) -> report.Claim:
    """A claim that some errors are lower than others: that `formula`, a weighted sum of mean errors, is below zero."""
    return report.Claim(text, source, statistics.welch(terms), f"claimed below zero, mean over networks: {formula}")


def spreads(values: np.ndarray) -> list[str]:
    """Mean and standard deviation of each column of (networks, kinds of errors), as text."""
    stds = [f" ± {column.std():.1f}" if len(column) > 1 else "" for column in values.T]
    return [f"{mean:.1f}{std}" for mean, std in zip(values.mean(0), stds, strict=True)]


class Line(NamedTuple):
    """A line of a table: its words, and the same kinds of errors as found here (over seeds) and in the paper."""

    title: str
    cells: tuple[str, ...]
    here: Mapping[str, np.ndarray]
    paper: Mapping[str, float]


# Edge and face of the dots, by kind of error.
STYLES = {"training, top-1": ("tab:grey", "none"), "validation, top-1": ("tab:blue", "tab:blue")}
SPAN = 4.0  # points that an axis shows at least, so that half a point looks small


def table(lines: Sequence[Line], columns: Sequence[str], data: str, unit: str = "error (%)") -> Figure:
    """The lines as words on the left, as dots on the right: one for each network here, and beside them the paper's."""
    figure = Figure(figsize=(13, 1.1 + 0.3 * len(lines)), layout="constrained")
    words, here, paper = figure.subplots(1, 3, sharey=True, width_ratios=(2.6 + len(columns), 2.6, 2.6))
    _write(words, lines, columns)
    _draw(here, f"here: {data}", [line.here for line in lines], unit)
    _draw(paper, "paper: ImageNet", [line.paper for line in lines], unit)
    here.set_ylim(len(lines) - 0.5, -0.5)
    dots = {artist.get_label(): artist for artist in here.lines if artist.get_label() in STYLES}
    figure.legend(dots.values(), dots, fontsize=8, frameon=False, loc="outside lower right", ncols=len(STYLES))
    return figure


def _write(axis, lines, columns):
    positions = np.linspace(0.44, 0.96, len(columns))
    axis.axis("off")
    for x, text in zip(positions, columns, strict=True):
        axis.text(x, -0.7, text, fontsize=8, ha="center", va="bottom", weight="bold")
    for y, line in enumerate(lines):
        axis.text(0, y, line.title, fontsize=8.5, va="center")
        for x, cell in zip(positions, line.cells, strict=True):
            axis.text(x, y, cell, fontsize=8.5, va="center", ha="center")


def _draw(axis, title, errors, unit):
    for y, kinds in enumerate(errors):
        for kind, values in kinds.items():
            (edge, face), values = STYLES[kind], np.atleast_1d(values)
            axis.plot(values, np.full(len(values), y), "o", mfc=face, mec=edge, ms=5, label=kind)
            if len(values) > 1:
                axis.plot([values.mean()] * 2, [y - 0.32, y + 0.32], color=edge, lw=1.2)
    low, high = axis.get_xlim()
    margin = max(0, SPAN - (high - low)) / 2
    axis.set_xlim(low - margin, high + margin)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(unit, fontsize=8)
    axis.grid(axis="y", color="0.92")
    axis.tick_params(labelsize=8, left=False, labelleft=False)
    axis.spines[["top", "right", "left"]].set_visible(False)
