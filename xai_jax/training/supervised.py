"""Fault-tolerant supervised training, over all devices of all processes (see `loop`).

Settings of the papers are in `Recipe`: step-wise and cosine learning rates, reductions on plateaus, weight decay and
the limit on the RMS of filters (Zeiler & Fergus 2014, section 3).
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.core.batching import pixels
from xai_jax.core.messages import excerpt, quoted
from xai_jax.core.pytrees import as_partial
from xai_jax.data.batches import Transform, batches, in_order
from xai_jax.data.dataset_types import check_dataset
from xai_jax.data.datasets import Dataset, numbered
from xai_jax.io.errors import TrainingError
from xai_jax.io.files import user_path
from xai_jax.io.fingerprints import labelled
from xai_jax.training import checkpoints, evaluation, loop, parallel, sgd
from xai_jax.training.sgd import Recipe

__all__ = ["Recipe", "TrainingError", "epoch_weights", "first_lines", "fit", "metrics", "share_size", "shared_dir"]

# Images in one gradient on a CPU: of more, XLA's gradient with respect to filters is up to five times slower.
CPU_SHARE = 32


def fit(
    module: nn.Module,
    data: Dataset,
    recipe: Recipe,
    checkpoint_dir: str | Path,
    *,
    seed: int,
    prepare: Callable[[Array], Array] = pixels,
    augment: Callable[[Array, Array], Array] | None = None,
    transform: Transform | None = None,
    validation: Dataset | None = None,
    validation_transform: Callable[[np.ndarray], np.ndarray] | None = None,
    keep_epochs: bool = False,
) -> dict[str, Any]:
    """Trains `module`, resuming where `checkpoint_dir` left off; returns at once where training is complete.

    Args:
      module: network whose `__call__` takes `train`, with parameters alone.
      data: labelled images.
      recipe: schedule of training.
      checkpoint_dir: directory of this run.
      seed: of initialisation, order, augmentation and dropout.
      prepare: uint8 images (N, H, W, C) -> the network's input; compiled.
      augment: (key, x) -> a random change of the network's input; compiled. Bind arrays by `jax.tree_util.Partial`.
      transform: (image, rng) -> an image (H, W, C), such as a crop, while it is read.
      validation: images whose errors are measured after each epoch; their classes, all or some of those of `data`, are
        matched by name.
      validation_transform: image -> an image or several crops (crops, H, W, C), while validation images are read.
      keep_epochs: whether to keep the weights after each epoch, for `epoch_weights`.

    Returns:
      The variables of `module`.

    Raises:
      ValueError, TypeError: for arguments that do not fit.
      TrainingError: where training cannot continue: another run in `checkpoint_dir`, a damaged checkpoint, a full disk,
        a loss that is not finite, a lost process.
    """
    others = prepare, augment, transform, validation, validation_transform, keep_epochs
    return loop.fit(_task(module, data, recipe, checkpoint_dir, seed, *others))


def first_lines(steps: int, *arguments: Any, **options: Any) -> list[dict[str, float]]:
    """What a `fit` with the same other arguments, without `checkpoint_dir`, would log after each of its first steps.

    Example: `first_lines(2, module, data, recipe, seed=0)[0]["loss"]`.
    """
    module, data, recipe = arguments
    return loop.first_lines(_task(module, data, recipe, "", **options), steps)


def shared_dir(name: str, module: nn.Module, data: Dataset, recipe: Recipe, *, seed: int, **options: Any) -> Path:
    """A checkpoint directory in the cache, the same for all that call `fit` with these arguments, and theirs alone.

    Args:
      name: beginning of the directory's name.
      module: as all of the following, an argument of `fit`.
      data: labelled images.
      recipe: schedule of training.
      seed: of initialisation, order, augmentation and dropout.
      **options: others.

    Returns:
      The directory, whose name ends with a digest of all of them.

    Raises:
      ValueError: where data or functions cannot be distinguished after a restart.
    """
    return loop.shared_dir(name, _task(module, data, recipe, "", seed, **options))


def _task(
    module,
    data,
    recipe,
    checkpoint_dir,
    seed,
    prepare=pixels,
    augment=None,
    transform=None,
    validation=None,
    validation_transform=None,
    keep_epochs=False,
):
    if not isinstance(module, nn.Module):
        raise TypeError(f"Expected an instance of a Flax Linen module, got {quoted(module)}.")
    check_dataset(data, "data")
    loop.check_functions(prepare=prepare, augment=augment, validation_transform=validation_transform)
    prepare, augment = as_partial(prepare), augment and as_partial(augment)
    common = data, recipe, user_path(checkpoint_dir), seed, transform
    if validation is not None:
        check_dataset(validation, "validation")
        if not len(validation):
            raise ValueError("Expected at least one validation image, got none.")
        validation = numbered(validation, data.classes)
    return _Task(*common, module, prepare, augment, validation, validation_transform, keep_epochs)


def metrics(checkpoint_dir: str | Path) -> list[dict[str, float]]:
    """Logged lines: step, epoch, loss, learning_rate, images_per_second; after an epoch top1 and top5 error in %.

    Raises FileNotFoundError where there is no such directory.
    """
    path = user_path(checkpoint_dir)
    if not path.is_dir():
        raise FileNotFoundError(
            f"Expected a checkpoint directory of `fit`, got {excerpt(path)}, which is not a folder."
        )
    return checkpoints.read_log(path / "metrics.jsonl")


def epoch_weights(checkpoint_dir: str | Path) -> dict[int, Path]:
    """Files of the weights that `keep_epochs` kept, by the number of epochs trained."""
    return {int(path.stem): path for path in sorted((user_path(checkpoint_dir) / "epochs").glob("*.safetensors"))}


def share_size(batch_size: int) -> int:
    """Images in one gradient: the whole batch on accelerators, on CPUs at most `CPU_SHARE` (or one for each device)."""
    devices = len(parallel.devices())
    if jax.default_backend() != "cpu":
        return batch_size
    sizes = range(devices, max(CPU_SHARE, devices) + 1, devices)
    return max((size for size in sizes if batch_size % size == 0), default=batch_size)


@dataclasses.dataclass(frozen=True)
class _Task(loop.Task):
    module: nn.Module
    prepare: Partial
    augment: Partial | None
    validation: Dataset | None
    validation_transform: Callable[[np.ndarray], np.ndarray] | None
    keep_epochs: bool

    weights_name: ClassVar[str] = "weights.safetensors"
    step: ClassVar[Callable] = staticmethod(sgd.step)

    @property
    def steps(self):
        return round(self.recipe.epochs * self.steps_per_epoch)

    @property
    def shares(self):
        return self.recipe.batch_size // share_size(self.recipe.batch_size)

    @property
    def setting(self):
        return sgd.Setting(self.module, self.recipe, self.steps_per_epoch, self.shares)

    @property
    def constants(self):
        return np.uint32(self.seed), self.prepare, self.augment

    def stops(self):
        ends = range(self.steps_per_epoch, self.steps, self.steps_per_epoch)
        return super().stops().union(ends if self.validation is not None or self.keep_epochs else ())

    def is_logged(self, step):
        return super().is_logged(step) or step % self.steps_per_epoch == 0

    def check(self):
        super().check()
        recipe, taken = self.recipe, inspect.signature(self.module.__call__).parameters.values()
        if not any(each.name == "train" or each.kind == each.VAR_KEYWORD for each in taken):
            raise ValueError(
                f"Expected a module that takes `train`, got {excerpt(type(self.module).__name__)}, which does not. "
                "Usual remedy: def __call__(self, x, train=False)."
            )
        if recipe.learning_rate <= 0 or (recipe.cosine and recipe.drops):
            raise ValueError(f"Expected a positive learning rate, and a cosine or drops but not both: {recipe}.")

    def description(self):
        names = "prepare", "augment", "transform", "validation", "validation_transform"
        others = {name: labelled(getattr(self, name)) for name in names}
        recipe = dataclasses.asdict(self.recipe)
        return super().description() | {"network": labelled(self.module), "recipe": recipe} | others

    def initial(self):
        index, count = parallel.part()
        images, labels = next(batches(self.data, count, self.seed, 0, 0, self.transform, (index, count)))
        init = _init(self.module, parallel.everywhere())
        variables = init(jax.random.key(self.seed), np.asarray(jax.jit(self.prepare)(images[:1])))
        if set(variables) != {"params"}:
            raise ValueError(
                f"Expected a network with parameters alone, got {quoted(sorted(variables))}. Usual cause: batch "
                "normalisation, which has statistics, too."
            )
        net = Partial(self.module.apply, variables)
        evaluation.check_fit(net, self.prepare, images, labels, len(self.data.classes))
        if self.validation is not None:  # now, and not when an epoch is over
            images, labels = next(in_order(self.validation, 1, self.validation_transform))
            evaluation.check_fit(net, self.prepare, images, labels, len(self.validation.classes))
        return jax.jit(sgd.begin, static_argnums=0, out_shardings=parallel.everywhere())(self.setting, variables)

    def check_labels(self, labels):
        evaluation.check_labels(labels, len(self.data.classes))

    def line(self, step, measured):
        loss, learning_rate = map(float, measured)
        return {"epoch": self.epoch(step), "loss": loss, "learning_rate": learning_rate}

    def epoch(self, step):
        """Number of the epoch that a step belongs to, from 1."""
        return math.ceil(step / self.steps_per_epoch)

    def end_stage(self, state, log):
        if self.keep_epochs:
            name = f"{self.epoch(int(state.step)):04d}.safetensors"
            loop.write_weights(self.checkpoint_dir / "epochs" / name, self.variables(state))
        return state if self.validation is None else self.validate(state, log)

    def validate(self, state, log):
        net = Partial(self.module.apply, jax.device_get(self.variables(state)))
        found = evaluation.errors(net, self.validation, self.prepare, self.validation_transform)
        step = int(state.step)
        log.write(step=step, epoch=self.epoch(step), top1=found.top1, top5=found.top5)
        return _after_validation(state, found.top1, self.recipe.patience)

    def variables(self, state):
        return {"params": state.params}


@functools.cache
def _init(module, sharding):
    """The initialisation, cached for other seeds. It runs once, and optimised for a CPU it takes seconds to compile."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(module.init, out_shardings=sharding, compiler_options=options)


def _after_validation(state, error, patience):
    """Lowers the learning rate where the error has not fallen for `patience` epochs; 0 never does."""
    better = error < float(state.best)
    stale = 0 if better else int(state.stale) + 1
    falls = patience > 0 and stale >= patience
    values = float(state.scale) / (10 if falls else 1), min(error, float(state.best)), 0 if falls else stale
    pairs = zip(values, state[3:], strict=True)
    scale, best, stale = (jax.device_put(np.asarray(value, old.dtype), old.sharding) for value, old in pairs)
    return state._replace(scale=scale, best=best, stale=stale)
