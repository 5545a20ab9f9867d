"""The training loop of all methods: resumable from checkpoints, over all devices of all processes.

A checkpoint directory holds training.json (what is trained), metrics.jsonl (a line every few steps), checkpoints/ (the
newest states) and, in the end, the weights. Killed at any moment and started again, a run ends with the same weights,
bit for bit: batches and random transforms depend on the seed and the step alone.

On accelerators, images in memory are copied to the device, where one program makes many steps (see `steps`).
"""

import abc
import bisect
import contextlib
import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from xai_jax.core.arguments import check_amount, check_count
from xai_jax.core.messages import quoted
from xai_jax.data.batches import Transform
from xai_jax.data.dataset_types import check_dataset
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import TrainingError
from xai_jax.io.files import cache_dir
from xai_jax.io.fingerprints import fingerprint, labelled
from xai_jax.training import checkpoints, parallel, preemption, steps
from xai_jax.weights import safetensors_file

LOG_EVERY = 20  # steps
SAVE_EVERY = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One run of training: its data, and in subclasses its steps. `recipe` has a `batch_size`.

    `step`: (setting, state, shares, constants) -> (state, measurements), as `sgd.step`.
    """

    data: Dataset
    recipe: Any
    checkpoint_dir: Path
    seed: int
    transform: Transform | None

    weights_name: ClassVar[str]  # of the file with the trained weights
    step: ClassVar[Callable]

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

    @property
    @abc.abstractmethod
    def setting(self) -> Any:
        """What a step is compiled for; hashable."""

    @property
    @abc.abstractmethod
    def constants(self) -> Any:
        """Arrays and functions that all steps take, a pytree."""

    def stops(self) -> set[int]:
        """Steps after which `end_stage` is called."""
        return {self.steps}

    def is_logged(self, step: int) -> bool:
        """Whether the measurements of a step are logged."""
        return step % LOG_EVERY == 0 or step == 1 or step == self.steps

    def check(self) -> None:
        """Raises ValueError for a recipe that does not fit the data and the devices, TypeError for what is no data."""
        check_dataset(self.data, "data")
        check_functions(transform=self.transform)
        _check_recipe(self.recipe)
        size, count, devices = self.recipe.batch_size, len(self.data), len(parallel.devices())
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

    def check_labels(self, labels: np.ndarray) -> None:  # noqa: B027, nothing by default
        """Raises ValueError for labels that do not fit."""

    @abc.abstractmethod
    def line(self, step: int, measured: Any) -> dict[str, float]:
        """Numbers to log after a step, losses among them."""

    def refuse_failure(self, state: Any) -> None:  # noqa: B027, nothing by default
        """Raises TrainingError where further steps are useless, although all losses are finite."""

    def end_stage(self, state: Any, log: checkpoints.Log) -> Any:
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


def first_lines(task: Task, count: int) -> list[dict[str, float]]:
    """What `fit` would log after each of the first steps, without a checkpoint. Example: `first_lines(task, 2)`."""
    state, advance, lines = task.initial(), steps.streamed(task, 0), []
    for step in range(1, count + 1):
        state, _, measured = advance(state, step - 1, step)
        lines.append(task.line(step, *measured()))
    return lines


def _train(task, start, done):
    store = checkpoints.Checkpoints(task.checkpoint_dir / "checkpoints")
    with preemption.announced() as must_end, contextlib.closing(store), _bar(task) as bar:
        state = store.restore(start)
        step, stops, saved = int(state.step), sorted(task.stops()), time.monotonic()
        parallel.meet(f"training from step {step}")
        log, advance = checkpoints.Log(task.checkpoint_dir / "metrics.jsonl", step), steps.advance(task, step)
        write = _writer(task, log, bar, step)
        bar.update(step)
        for number in itertools.count():
            if step == task.steps:
                break
            before, stop = step, stops[bisect.bisect(stops, step)]
            state, step, measured = advance(state, step, stop)
            bar.update(step - before)
            is_read = write(before, step, measured, state)
            state = task.end_stage(state, log) if step == stop else state
            ends = must_end(number)
            if ends or (is_read and parallel.agreed(time.monotonic() - saved >= SAVE_EVERY)):
                store.save(step, state)
                saved = time.monotonic()
            if ends:
                store.wait()
                parallel.meet("saved")
                raise TrainingError(f"Ended by SIGTERM after step {step}, which is saved: training resumes from there.")
        write_weights(done, task.variables(state))
        parallel.meet("trained")
    if parallel.is_first():  # a finished run needs its weights alone
        shutil.rmtree(task.checkpoint_dir / "checkpoints", ignore_errors=True)


def _bar(task):
    hidden = not parallel.is_first()
    return tqdm(total=task.steps, desc="compiling", unit="step", mininterval=1, disable=hidden, leave=False)


def _writer(task, log, bar, step):
    """A function that logs what was measured in the steps up to `end`; returns whether it read any of them.

    Measurements are read rarely, since reading waits for the device.
    """
    mark, started = step, time.monotonic()

    def write(before, end, measured, state):
        nonlocal mark, started
        logged = [number for number in range(before + 1, end + 1) if task.is_logged(number)]
        if not logged:
            return False
        found = measured()
        speed = (end - mark) * task.recipe.batch_size / (time.monotonic() - started)
        for number in logged:
            values = task.line(number, found[number - before - 1])
            log.write(step=number, **values, images_per_second=speed)
            _refuse_divergence(number, values)
        task.refuse_failure(state)
        bar.set_description("training, " + ", ".join(f"{name} {v:.3g}" for name, v in values.items()), False)
        mark, started = end, time.monotonic()
        return True

    return write


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
