"""Data, whitening, choice of learning rates and errors of the networks for CIFAR.

Springenberg et al. 2015, section 3; contrast normalisation and ZCA as in Goodfellow et al. 2013 (Maxout networks).
"""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from configs.training import Training
from experiments.lib import dry_run, training_task
from experiments.lib.report import Number
from experiments.lib.runner import Workspace
from xai_jax.data import datasets, preprocessing
from xai_jax.data.datasets import Dataset, InMemory
from xai_jax.data.preprocessing import ZCA
from xai_jax.io.errors import TrainingError
from xai_jax.training import evaluation, parallel, sgd, supervised
from xai_jax.weights import safetensors_file

SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}
UNTRAINED = 0.9  # a network whose error is at least this share of the error of guessing counts as untrained

Augment = Callable[[Array, Array], Array]


class Task(NamedTuple):
    """Images, and `prepare`, which whitens them by `zca` to a network's input.

    `training` is `selection` and `held_out` together: learning rates are chosen by the error on `held_out` after
    training on `selection`.
    """

    training: Dataset
    selection: Dataset
    held_out: Dataset
    test: Dataset
    zca: ZCA
    prepare: Partial


def load(label: str, data: str, config: Training, work: Workspace, canvas: int | None = None) -> Task:
    """A data set prepared for training.

    Args:
      label: of its whitening, which is a stage.
      data: a name of xai_jax.data.datasets.
      config: numbers of images, and their side in pixels.
      work: the workspace.
      canvas: side in pixels that whitened images are enlarged to, if any.
    """
    training, test = (datasets.load(data, split) for split in datasets.splits(data))
    training, test = _part(training, 0, config.images), _part(test, 0, config.tested)
    split = len(training) - config.held_out
    fitted = work.stage(f"whitening-{label}", lambda: fit_zca(training.images, config.side)._asdict())
    zca = ZCA(jnp.asarray(fitted["mean"]), jnp.asarray(fitted["matrix"]))
    selection, held_out = _part(training, 0, split), _part(training, split, len(training))
    return Task(training, selection, held_out, test, zca, Partial(inputs(config.side, canvas), zca))


def _part(data, start, stop):
    images, labels = data.arrays()
    return InMemory(images[start:stop], labels[start:stop], data.classes)


def inputs(side: int, canvas: int | None = None) -> Callable[[ZCA, Array], Array]:
    """The function (zca, uint8 images (N, H, W, C)) -> inputs, whitened at `side` and enlarged to `canvas` pixels."""
    return functools.partial(_whitened, side=side, canvas=canvas)


def _whitened(zca, images, side, canvas):
    x = preprocessing.whiten(zca, contrast(images, side))
    return x if canvas is None else _resized(x, canvas)


def contrast(images: Array, side: int) -> Array:
    """(N, H, W, C) uint8 -> contrast normalised (N, side, side, C).

    With pylearn2's norm of 55 for CIFAR's 3072 values, scaled to other sizes so that the standard deviation of the
    values is the same.
    """
    x = _resized(images.astype(jnp.float32), side)
    return preprocessing.contrast_normalise(x, 55 * math.sqrt(math.prod(x.shape[1:]) / 3072))


def _resized(x, side):
    return jax.image.resize(x, (len(x), side, side, x.shape[-1]), "linear")


def fit_zca(images: np.ndarray, side: int) -> ZCA:
    """Whitening fitted to uint8 training images."""
    normalise, size = jax.jit(functools.partial(contrast, side=side)), preprocessing.CHUNK
    chunks = [normalise(images[start : start + size]) for start in range(0, len(images), size)]
    return preprocessing.fit_zca(np.concatenate(chunks))


def recipe(config: Training, learning_rate: float) -> sgd.Recipe:
    """Section 3: momentum 0.9, and a learning rate that falls to a tenth three times."""
    drops = tuple(config.epochs * share for share in config.drops)
    return sgd.Recipe(
        config.epochs, config.batch_size, learning_rate, drops, decay=config.weight_decay, half=config.half
    )


class Found(NamedTuple):
    """The learning rate chosen for a network, and its test errors in % by seed; NaN for one that stayed untrained."""

    learning_rate: float
    errors: np.ndarray


def errors(
    name: str, module: nn.Module, task: Task, config: Training, work: Workspace, augment: Augment | None = None
) -> Found:
    """Chooses a learning rate for a network and trains it with each seed; each training is a stage of its own.

    The networks that the learning rate is chosen by have a seed of their own.

    Args:
      name: of the stages.
      module: the network.
      task: the data.
      config: candidate learning rates or the chosen one, seeds and the schedule.
      work: the workspace.
      augment: random augmentation of a batch of inputs, if any.
    """

    def trained(label, learning_rate, seed, training, test):
        folder, settings = work.training(f"{name}-{label}"), recipe(config, learning_rate)
        compute = functools.partial(error, module, settings, training, test, task, folder, seed, augment)
        return float(work.stage(f"{name}-{label}", lambda: {"error": compute()})["error"])

    candidates, choosing = candidate_learning_rates(name, config), config.seed + config.seeds
    best = candidates[0]
    if len(candidates) > 1:
        data = task.selection, task.held_out
        calls = [functools.partial(trained, f"rate-{c:g}", c, choosing, *data) for c in candidates]  # lint: keep
        best = lowest(dict(zip(candidates, parallel.independent(calls), strict=True)))
    whole = task.training, task.test
    calls = [functools.partial(trained, f"seed-{s}", best, s, *whole) for s in range(config.seed, choosing)]
    found = parallel.independent(calls)
    folder = work.training(f"{name}-seed-{config.seed}")
    publish(folder, task.zca, work.path(f"training/{name}.safetensors"))
    return Found(best, mask_untrained(np.array(found), len(task.test.classes)))


def candidate_learning_rates(name: str, config: Training) -> tuple[float, ...]:
    """Learning rates to choose from; one, where an earlier run chose it."""
    return next(((value,) for network, value in config.chosen if network == name), config.learning_rates)


def error(
    module: nn.Module,
    settings: sgd.Recipe,
    training: Dataset,
    test: Dataset,
    task: Task,
    folder: Path,
    seed: int,
    augment: Augment | None,
) -> float:
    """Trains a network and measures its error.

    Args:
      module: the network.
      settings: the schedule of training.
      training: images to train on.
      test: images to measure the error on.
      task: the preparation of both.
      folder: checkpoints of the training.
      seed: of initialisation, order and augmentation.
      augment: random augmentation of a batch of inputs, if any.

    Returns:
      The error on `test` in %, NaN where training diverges.
    """
    try:
        variables = supervised.fit(module, training, settings, folder, seed=seed, prepare=task.prepare, augment=augment)
    except TrainingError:
        if not diverged(folder):
            raise
        return math.nan
    return evaluation.errors(Partial(module.apply, variables), test, task.prepare).top1


def diverged(folder: Path) -> bool:
    """Whether the last training loss is infinite or NaN; there is none where training failed before its first step."""
    lines = supervised.metrics(folder) if folder.is_dir() else []
    losses = [line["loss"] for line in lines if "loss" in line]
    return bool(losses) and not math.isfinite(losses[-1])


def lowest(held_out: Mapping[float, float]) -> float:
    """The learning rate with the lowest error, the first of equals; one that diverged (NaN) loses to all others."""
    return min(held_out, key=lambda candidate: np.nan_to_num(held_out[candidate], nan=np.inf))


def mask_untrained(found: np.ndarray, classes: int) -> np.ndarray:
    """The errors in %, with NaN for those of untrained networks: near the error of guessing, or diverged."""
    return np.where(found < UNTRAINED * 100 * (1 - 1 / classes), found, np.nan)


def number(name: str, values: np.ndarray, unit: str, note: str, **paper: float | str) -> Number:
    """Mean and standard deviation over seeds, with the number of untrained networks (NaN) in the note.

    Args:
      name: of the number.
      values: one for each seed.
      unit: of the values.
      note: added to the note.
      **paper: `paper` and `paper_tag` of the number.
    """
    note = f" seeds, {int(np.isnan(values).sum()) or 'none'} untrained; {note}"
    return Number.mean(name, values, note, unit=unit, **paper)


def publish(folder: Path, zca: ZCA, path: Path) -> None:
    """Writes the weights in `folder` with the whitening of their inputs; `models.load` reads CIFAR-10's by name."""
    trained = folder / "weights.safetensors"
    if trained.exists() and parallel.is_first():  # none are there where training diverged
        entries = {"preprocess/zca_mean": zca.mean, "preprocess/zca_matrix": zca.matrix}
        safetensors_file.write(path, safetensors_file.read(trained) | entries)


def shape(data: str) -> tuple[int, int, int]:
    """(H, W, C) of the images of a data set; folders are taken for those of CIFAR."""
    return SHAPES.get(data, SHAPES["cifar10"])


def abstract(module: nn.Module, shape: tuple[int, int, int]) -> dict:
    """Variables of a network for images of `shape` (H, W, C), as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))


def parameters(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """Number of parameters of a network for images of `shape` (H, W, C)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract(module, shape)))


def plan(
    name: str,
    title: str,
    module: nn.Module,
    data: str,
    config: Training,
    augment: Augment | None = None,
    canvas: int | None = None,
) -> list[dry_run.Step]:
    """Steps of training for all learning rates and seeds, and of measuring errors, with a `title` for people."""
    candidates, (height, width, channels) = candidate_learning_rates(name, config), shape(data)
    settings = recipe(config, candidates[0])
    setting = sgd.Setting(module, settings, config.images // settings.batch_size)
    see, size = inputs(config.side, canvas), config.side**2 * channels
    zca = ZCA(jax.ShapeDtypeStruct((size,), jnp.float32), jax.ShapeDtypeStruct((size, size), jnp.float32))
    inner = (canvas or config.side,) * 2 + (channels,)
    state = jax.eval_shape(functools.partial(sgd.begin, setting), abstract(module, inner))

    def step(state, zca, images, labels):
        return training_task.step(setting, Partial(see, zca), augment)(state, images, labels)

    def forward(params, zca, images):
        return module.apply({"params": params}, see(zca, images))

    def batch(size):
        return jax.ShapeDtypeStruct((size, height, width, channels), jnp.uint8)

    networks = config.seeds + (len(candidates) if len(candidates) > 1 else 0)
    steps = networks * round(config.epochs * setting.steps_per_epoch)
    labels = jax.ShapeDtypeStruct((settings.batch_size,), jnp.int32)
    tests = networks * -(-config.tested // evaluation.BATCH_SIZE)
    return [
        dry_run.Step(f"step, {title}", step, (state, zca, batch(settings.batch_size), labels), steps, config.images),
        dry_run.Step(f"errors, {title}", forward, (state.params, zca, batch(evaluation.BATCH_SIZE)), tests),
    ]
