"""What the experiments that train networks for CIFAR share: images, whitening, the choice of rates, errors.

Springenberg et al. 2015, section 3; contrast normalisation and ZCA as in Goodfellow et al. 2013 (Maxout networks).
"""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib import dry_run, runner
from xai_jax.data import datasets, preprocessing
from xai_jax.data.datasets import Dataset, InMemory
from xai_jax.data.preprocessing import ZCA
from xai_jax.io.errors import TrainingError
from xai_jax.training import evaluation, parallel, sgd, supervised
from xai_jax.weights import safetensors_file

SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}
CHANCE = 0.9  # a network whose error is at least this share of a guess's has not learnt

Augment = Callable[[Array, Array], Array]


class Task(NamedTuple):
    """Images, and what brings them to a network's input: `prepare`, which whitens by `zca`.

    `training` is `learnt` and `held_out` together: rates are chosen by the error on `held_out` after training on
    `learnt`.
    """

    training: Dataset
    learnt: Dataset
    held_out: Dataset
    test: Dataset
    zca: ZCA
    prepare: Partial


def load(label: str, data: str, config: Any, run: runner.Run, canvas: int | None = None) -> Task:
    """A data set as `config`, a `configs.training.Training`, wants it; `label` names its whitening."""
    training, test = (datasets.load(data, split) for split in datasets.SPLITS[data])
    training, test = _part(training, 0, config.images), _part(test, 0, config.tested)
    split = len(training) - config.held_out
    fitted = run.stage(f"whitening-{label}", lambda: fit_zca(training.images, config.side)._asdict())
    zca = ZCA(jnp.asarray(fitted["mean"]), jnp.asarray(fitted["matrix"]))
    learnt, held_out = _part(training, 0, split), _part(training, split, len(training))
    return Task(training, learnt, held_out, test, zca, Partial(inputs(config.side, canvas), zca))


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

    With pylearn2's norm of 55 for CIFAR's 3072 values, and for other sizes the one that gives a value the same
    deviation.
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


def recipe(config: Any, rate: float) -> sgd.Recipe:
    """Section 3: momentum 0.9, and a rate that falls to a tenth three times."""
    drops = tuple(config.epochs * share for share in config.drops)
    return sgd.Recipe(epochs=config.epochs, batch=config.batch, rate=rate, drops=drops, decay=config.decay)


class Found(NamedTuple):
    """The rate chosen for a network, and its test errors in %, one for each seed; NaN for one that learnt nothing."""

    rate: float
    errors: np.ndarray


def errors(
    name: str, module: nn.Module, task: Task, config: Any, run: runner.Run, augment: Augment | None = None
) -> Found:
    """Chooses a rate for a network, and trains it with each seed; each training is a stage of its own.

    The networks that the rate is chosen by have a seed of their own. A single rate needs no choice.
    """

    def trained(label, rate, seed, training, test):
        folder, settings = run.workdir / "training" / f"{name}-{label}", recipe(config, rate)
        compute = functools.partial(error, module, settings, training, test, task, folder, seed, augment)
        return float(run.stage(f"{name}-{label}", lambda: {"error": compute()})["error"])

    rate, choosing = config.rates[0], config.seed + config.seeds
    if len(config.rates) > 1:
        rate = best({r: trained(f"rate-{r:g}", r, choosing, task.learnt, task.held_out) for r in config.rates})
    found = [trained(f"seed-{s}", rate, s, task.training, task.test) for s in range(config.seed, choosing)]
    folder = run.workdir / "training"
    publish(folder / f"{name}-seed-{config.seed}", task.zca, folder / f"{name}.safetensors")
    return Found(rate, untrained_left_out(np.array(found), len(task.test.classes)))


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
    """Trains a network in `folder`; its error on `test` in %, NaN where training diverges."""
    try:
        variables = supervised.fit(module, training, settings, folder, seed=seed, prepare=task.prepare, augment=augment)
    except TrainingError:
        if not diverged(folder):
            raise
        return math.nan
    return evaluation.errors(Partial(module.apply, variables), test, task.prepare).top1


def diverged(folder: Path) -> bool:
    """Whether the last loss of a run of training is infinite or NaN."""
    losses = [line["loss"] for line in supervised.metrics(folder) if "loss" in line]
    return bool(losses) and not math.isfinite(losses[-1])


def best(held_out: Mapping[float, float]) -> float:
    """The rate with the lowest error, the first of equals; one that diverged (NaN) loses to all others."""
    return min(held_out, key=lambda rate: np.nan_to_num(held_out[rate], nan=np.inf))


def untrained_left_out(found: np.ndarray, classes: int) -> np.ndarray:
    """The errors in %, with NaN for those of networks that learnt nothing: near a guess's, or diverged."""
    return np.where(found < CHANCE * 100 * (1 - 1 / classes), found, np.nan)


def publish(folder: Path, zca: ZCA, path: Path) -> None:
    """Writes the weights in `folder` with the whitening that they expect; `models.load` reads CIFAR-10's by name."""
    trained = folder / "weights.safetensors"
    if trained.exists() and parallel.is_first():  # none are there where training diverged
        entries = {"preprocess/zca_mean": zca.mean, "preprocess/zca_matrix": zca.matrix}
        safetensors_file.write(path, safetensors_file.read(trained) | entries)


def abstract(module: nn.Module, shape: tuple[int, int, int]) -> Any:
    """Variables of a network for images of `shape` (H, W, C), as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))


def parameters(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """How many numbers a network for images of `shape` (H, W, C) learns."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract(module, shape)))


def plan(
    name: str,
    module: nn.Module,
    data: str,
    config: Any,
    augment: Augment | None = None,
    canvas: int | None = None,
) -> list[dry_run.Step]:
    """The steps of training, for all rates and seeds, and the errors."""
    settings, (height, width, channels) = recipe(config, config.rates[0]), SHAPES[data]
    setting = sgd.Setting(module, settings, config.images // settings.batch)
    see, size = inputs(config.side, canvas), config.side**2 * channels
    zca = ZCA(jax.ShapeDtypeStruct((size,), jnp.float32), jax.ShapeDtypeStruct((size, size), jnp.float32))
    inner = (canvas or config.side,) * 2 + (channels,)
    state = jax.eval_shape(functools.partial(sgd.begin, setting), abstract(module, inner))

    def step(state, zca, images, labels):
        return sgd.step(setting, Partial(see, zca), augment)(state, images, labels)

    def forward(params, zca, images):
        return module.apply({"params": params}, see(zca, images))

    def batch(size):
        return jax.ShapeDtypeStruct((size, height, width, channels), jnp.uint8)

    networks = config.seeds + (len(config.rates) if len(config.rates) > 1 else 0)
    steps = networks * round(config.epochs * setting.per_epoch)
    labels = jax.ShapeDtypeStruct((settings.batch,), jnp.int32)
    tests = networks * -(-config.tested // evaluation.BATCH)
    return [
        dry_run.Step(f"step, {name}", step, (state, zca, batch(settings.batch), labels), steps),
        dry_run.Step(f"errors, {name}", forward, (state.params, zca, batch(evaluation.BATCH)), tests),
    ]
