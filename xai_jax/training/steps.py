"""How steps of training reach the devices: one at a time on images from the host, or many at once on resident images.

Images in memory that fit are copied to every device of an accelerator as uint8; the host sends the indices of the
batches, in the order of `data.batches`, and `lax.scan` makes the steps between two visits of the host.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from xai_jax.data.batches import batches, order
from xai_jax.training import parallel

TOGETHER = 100  # steps of one program on an accelerator, at most
RESIDENT = 4  # images stay on devices with at least this many times their bytes: networks need memory, too

Shares = list[tuple[np.ndarray, np.ndarray]]  # images (n, H, W, C) uint8 and labels (n,) of each share of a batch
Advance = Callable[[Any, int, int], tuple[Any, int, Callable[[], list[Any]]]]


def at_once() -> int:
    """Steps of one program on images that stay on the device; the host logs and saves between programs.

    One on a CPU, where XLA runs loops no faster than the host does.
    """
    return 1 if jax.default_backend() == "cpu" else TOGETHER


def advance(task: Any, step: int) -> Advance:
    """A function (state, step, stop) -> (state, step, read) that makes one or more steps from `step` on, up to `stop`.

    `read()` waits for the measurements of each of them. `task` is a `loop.Task`.
    """
    images, most = getattr(task.data, "images", None), at_once()
    resident = most > 1 and task.transform is None and isinstance(images, np.ndarray) and hasattr(task.data, "labels")
    fits = resident and RESIDENT * images.nbytes <= parallel.memory()
    return _resident(task, most) if fits else streamed(task, step)


def streamed(task: Any, step: int) -> Advance:
    """The same for one step at a time, with images that the host reads ahead."""
    setting, constants, some = task.setting, parallel.replicated(task.constants), _batches(task, step)

    def one(state, step, stop):
        shares = next(some)
        for _, labels in shares:
            task.check_labels(labels)
        state, measured = task.step(setting, state, [tuple(map(parallel.split, share)) for share in shares], constants)
        return state, step + 1, lambda: [jax.device_get(measured)]

    return one


def _resident(task, most):
    """The same for up to `most` steps at once, on images that stay on every device.

    Their number divides that between two stops where it can: each number is a program of its own.
    """
    task.check_labels(task.data.labels)
    every = min(task.stops())
    most = next((number for number in range(most, most // 5, -1) if every % number == 0), most)
    setting, constants = task.setting, parallel.replicated(task.constants)
    data = parallel.replicated((task.data.images, task.data.labels))

    def many(state, step, stop):
        end = min(stop, step - step % most + most)
        rows = parallel.split_last(np.stack([_rows(task, number) for number in range(step, end)]))
        state, measured = _scan(task.step, setting, state, rows, data, constants)

        def read():
            found = jax.device_get(measured)
            return [jax.tree.map(lambda array, number=number: array[number], found) for number in range(end - step)]

        return state, end, read

    return many


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _scan(step, setting, state, rows, data, constants):
    """One step for each batch of `rows` (steps, shares, images of a share), indices of `data`."""

    def one(state, rows):
        shares = [tuple(array.at[own].get(mode="promise_in_bounds") for array in data) for own in rows]
        return step(setting, state, shares, constants)

    return jax.lax.scan(one, state, rows)


def _rows(task, step):
    """Indices (shares, images of a share) of the batch of a step, which are those of `_batches`."""
    epoch, done = divmod(step, task.steps_per_epoch)
    size = task.recipe.batch_size
    rows = order(len(task.data), task.seed, epoch)[done * size :][:size]
    return rows.astype(np.int32).reshape(task.shares, -1)


def _batches(task, step) -> Iterator[Shares]:
    """Batches from number `step` on, each as its shares."""
    size, shares = task.recipe.batch_size // task.shares, task.shares
    while True:
        epoch, done = divmod(step, task.steps_per_epoch)
        found = batches(task.data, size, task.seed, epoch, done * shares, task.transform, parallel.part())
        for _ in range(task.steps_per_epoch - done):
            yield list(itertools.islice(found, shares))
            step += 1
