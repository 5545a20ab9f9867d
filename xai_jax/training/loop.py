"""The training loop of all methods: resumable from checkpoints, over all devices of all processes.

A checkpoint directory holds training.json (what is trained), metrics.jsonl (a line every few steps), checkpoints/ (the
newest states) and, in the end, the weights. Killed at any moment and started again, a run ends with the same weights,
bit for bit: batches and random transforms depend on the seed and the step alone.
"""

import abc
import contextlib
import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from xai_jax.core.arguments import check_amount, check_count
from xai_jax.core.messages import quoted
from xai_jax.data.batches import Transform, batches
from xai_jax.data.dataset_types import check_dataset
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import TrainingError
from xai_jax.io.files import cache_dir
from xai_jax.io.fingerprints import fingerprint, labelled
from xai_jax.training import checkpoints, parallel, preemption
from xai_jax.weights import safetensors_file

LOG_EVERY = 20  # steps

Shares = list[tuple[np.ndarray, np.ndarray]]  # images (n, H, W, C) uint8 and labels (n,) of each share of a batch


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One run of training: its data, and in subclasses its steps. `recipe` has a `batch_size`."""

    data: Dataset
    recipe: Any
    checkpoint_dir: Path
    seed: int
    transform: Transform | None

    weights_name: ClassVar[str]  # of the file with the trained weights
    save_every: ClassVar[int]  # steps

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Number of steps in all."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in the data."""
        return len(self.data) // self.recipe.batch_size

    @property
    def shares(self) -> int:
        """Number of parts of a batch whose gradients are computed one after another."""
        return 1

    def stops(self) -> set[int]:
        """Steps after which the state is saved."""
        return {*range(self.save_every, self.steps, self.save_every), self.steps}

    def check(self) -> None:
        """Raises ValueError for a recipe that does not fit the data and the devices, TypeError for what is no data."""
        check_dataset(self.data, "data")
        check_functions(transform=self.transform)
        _check_recipe(self.recipe)
        size, count, devices = self.recipe.batch_size, len(self.data), jax.device_count()
        if not 0 < size <= count or size % devices or self.steps < 1:
            raise ValueError(
                f"Expected at least one step, and batches of 1 to {count} images that {devices} devices can share "
                f"evenly, got {self.recipe}."
            )

    def description(self) -> dict[str, Any]:
        """What is trained, as JSON: two runs with equal descriptions end with equal weights.

        Raises ValueError where data or functions cannot be distinguished.
        """
        data = {"images": len(self.data), "classes": len(self.data.classes), "data": labelled(self.data)}
        return {"jax": jax.__version__, "seed": self.seed} | data

    @abc.abstractmethod
    def initial(self) -> Any:
        """The state before the first step, a pytree with the number of steps as `step`.

        Raises ValueError where networks and data do not fit.
        """

    @abc.abstractmethod
    def advance(self, state: Any, some: Iterable[Shares]) -> Iterator[tuple[Any, Any]]:
        """The state after each further batch, with measurements that stay on the device."""

    @abc.abstractmethod
    def line(self, step: int, state: Any, measured: Any) -> dict[str, float]:
        """Numbers to log after a step, losses among them."""

    def refuse_failure(self, state: Any) -> None:  # noqa: B027, nothing by default
        """Raises TrainingError where further steps are useless, although all losses are finite."""

    def end_stage(self, state: Any, measured: Any, log: checkpoints.Log) -> Any:
        """Work after each step of `stops`; returns the state to continue with."""
        return state

    @abc.abstractmethod
    def variables(self, state: Any) -> dict[str, Any]:
        """The trained variables."""


def check_functions(**given: Any) -> None:
    """Raises TypeError for an argument that is neither a function nor None.

    >>> check_functions(prepare=abs, transform="crop")
    Traceback (most recent call last):
    TypeError: Expected a function as transform, got 'crop'.
    """
    for name, function in given.items():
        if function is not None and not callable(function):
            raise TypeError(f"Expected a function as {name}, got {quoted(function)}.")


def _check_recipe(recipe):
    for field in dataclasses.fields(recipe):
        value, what = getattr(recipe, field.name), field.name
        if field.type is int:
            check_count(value, what, 0)
        elif field.type is float or (field.type == float | None and value is not None):
            check_amount(value, what)
        elif isinstance(field.default, tuple):
            if not isinstance(value, tuple):
                raise ValueError(f"Expected a tuple as {what}, such as (10, 20) or (10,), got {quoted(value)}.")
            for each in value:
                check_amount(each, what)


def shared_dir(name: str, task: Task) -> Path:
    """The directory in the cache of networks that is this task's alone: one for each description."""
    return cache_dir(f"{name}-{fingerprint(task.description())[:16]}")


def fit(task: Task) -> dict[str, Any]:
    """Runs a task, or what is left of it, and returns the trained variables.

    Raises ValueError for a task that does not fit its data, and TrainingError where training cannot continue.
    """
    task.check()
    done = task.checkpoint_dir / task.weights_name
    with checkpoints.locked(task.checkpoint_dir), parallel.losses_explained():
        start = None if done.exists() else task.initial()
        checkpoints.agree(task.checkpoint_dir, task.description())
        if start is not None:
            _train(task, start, done)
        parallel.meet("weights written")
        return jax.tree.map(jnp.asarray, safetensors_file.unflatten(safetensors_file.read(done)))


def first_lines(task: Task, steps: int) -> list[dict[str, float]]:
    """What `fit` would log after each of the first steps, without a checkpoint. Example: `first_lines(task, 2)`."""
    measured = enumerate(task.advance(task.initial(), itertools.islice(_batches(task, 0), steps)), 1)
    return [task.line(step, state, found) for step, (state, found) in measured]


def _train(task, start, done):
    store = checkpoints.Checkpoints(task.checkpoint_dir / "checkpoints")
    with preemption.announced() as must_end, contextlib.closing(store), _bar(task) as bar:
        state = store.restore(start)
        step = int(state.step)
        log = checkpoints.Log(task.checkpoint_dir / "metrics.jsonl", step)
        bar.update(step)
        some = _batches(task, step)
        for stop in sorted(stop for stop in task.stops() if stop > step):
            state, measured, ends = _stage(task, state, itertools.islice(some, stop - step), log, bar, must_end)
            step = int(state.step)
            state = task.end_stage(state, measured, log) if step == stop else state
            store.save(step, state)
            if ends:
                raise TrainingError(f"Ended by SIGTERM after step {step}, which is saved: training resumes from there.")
        write_weights(done, task.variables(state))
        parallel.meet("trained")
    if parallel.is_first():  # a finished run needs its weights alone
        shutil.rmtree(task.checkpoint_dir / "checkpoints")


def _bar(task):
    hidden = not parallel.is_first()
    return tqdm(total=task.steps, desc="compiling", unit="step", mininterval=1, disable=hidden, leave=False)


def _batches(task, step) -> Iterator[Shares]:
    """Batches from number `step` on, each as its shares."""
    size, shares = task.recipe.batch_size // task.shares, task.shares
    while True:
        epoch, done = divmod(step, task.steps_per_epoch)
        found = batches(task.data, size, task.seed, epoch, done * shares, task.transform, parallel.part())
        for _ in range(task.steps_per_epoch - done):
            yield list(itertools.islice(found, shares))
            step += 1


def _stage(task, state, some, log, bar, must_end):
    """The state after a stage, or when the run has to end, the last measurements, and whether the run has to end.

    Measurements are read rarely, since reading waits for the device.
    """
    mark, started, stops = int(state.step), time.monotonic(), task.stops()
    for step, (state, measured) in enumerate(task.advance(state, some), mark + 1):  # noqa: B007, B020
        bar.update()
        if step % LOG_EVERY == 0 or step == 1 or step in stops:
            values = task.line(step, state, measured)
            speed = (step - mark) * task.recipe.batch_size / (time.monotonic() - started)
            log.write(step=step, **values, images_per_second=speed)
            _refuse_divergence(step, values)
            task.refuse_failure(state)
            bar.set_description("training, " + ", ".join(f"{name} {v:.3g}" for name, v in values.items()), False)
            mark, started = step, time.monotonic()
        if ends := must_end(step):
            break
    return state, measured, ends


def _refuse_divergence(step, values):
    if not all(map(math.isfinite, values.values())):
        found = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise TrainingError(f"Expected finite losses, got {found} at step {step}. Usual cause: a high learning rate.")


def write_weights(path: Path, variables: dict[str, Any]) -> None:
    """Writes variables from the first process; raises TrainingError where the disk does not take them."""
    if parallel.is_first():
        with checkpoints.explained(path):
            path.parent.mkdir(exist_ok=True)
            safetensors_file.write(path, safetensors_file.flatten(jax.device_get(variables)))
