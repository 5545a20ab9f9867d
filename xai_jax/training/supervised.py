"""Supervised training that survives: checkpoints, metrics, and batches over all devices of all processes.

A run lives in a directory: training.json says what is trained, metrics.jsonl grows by a line every few steps,
checkpoints/ holds the newest states, and weights.safetensors comes last. Killed at any moment and started again, it
ends with the same parameters, bit for bit: batches, crops and dropout masks depend on the seed and their numbers alone.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from tqdm import tqdm

from xai_jax.core.batching import pixels
from xai_jax.core.pytrees import as_partial
from xai_jax.data.batches import Transform, batches
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import TrainingError
from xai_jax.training import checkpoints, evaluation, parallel, sgd
from xai_jax.training.sgd import Recipe
from xai_jax.weights import safetensors_file

__all__ = ["Recipe", "epoch_weights", "fit", "metrics", "share_size"]

LOG_EVERY = 20  # steps
SAVE_EVERY = 1000  # steps; also at the end of each epoch

# Images in one gradient on a CPU: of more, XLA's gradient with respect to filters is up to five times slower.
CPU_SHARE = 32


class _Run(NamedTuple):
    module: nn.Module
    data: Dataset
    recipe: Recipe
    seed: int
    workdir: Path
    prepare: Partial
    augment: Partial | None
    transform: Transform | None

    @property
    def per_epoch(self) -> int:
        return len(self.data) // self.recipe.batch

    @property
    def steps(self) -> int:
        return round(self.recipe.epochs * self.per_epoch)

    @property
    def setting(self) -> sgd.Setting:
        shares = self.recipe.batch // share_size(self.recipe.batch)
        return sgd.Setting(self.module, self.recipe, self.per_epoch, shares)

    def epoch(self, step: int) -> int:
        """Number of the epoch that a step belongs to, from 1."""
        return math.ceil(step / self.per_epoch)


def fit(
    module: nn.Module,
    data: Dataset,
    recipe: Recipe,
    workdir: str | Path,
    *,
    seed: int,
    prepare: Callable[[Array], Array] = pixels,
    augment: Callable[[Array, Array], Array] | None = None,
    transform: Transform | None = None,
    check: Dataset | None = None,
    check_transform: Callable[[np.ndarray], np.ndarray] | None = None,
    keep_epochs: bool = False,
) -> dict[str, Any]:
    """Trains `module` and returns its variables; goes on, or returns at once, where `workdir` got that far before.

    `prepare` takes uint8 images (N, H, W, C) to the network's input, `augment(key, x)` changes that at random; both run
    inside the jitted step, `jax.tree_util.Partial` binds arrays to them and `functools.partial` what is static.
    `transform(image, rng)` brings images to one size while they are read. `check` gives the errors at the end of each
    epoch, of images that `check_transform` brings to one size. `keep_epochs` keeps weights after each epoch, see
    `epoch_weights`. Raises ValueError for arguments that do not fit, and TrainingError where the run cannot go on:
    something else in `workdir`, a damaged checkpoint, a full disk, a loss that is not finite, a process that was lost.
    """
    prepare, augment = as_partial(prepare), augment and as_partial(augment)
    run = _Run(module, data, recipe, seed, Path(workdir), prepare, augment, transform)
    _check(run)
    done = run.workdir / "weights.safetensors"
    with checkpoints.locked(run.workdir), parallel.losses_explained():
        checkpoints.agree(run.workdir, _described(run))
        if not done.exists():
            _train(run, check, check_transform, keep_epochs)
        parallel.meet("weights written")
        return jax.tree.map(jnp.asarray, safetensors_file.unflatten(safetensors_file.read(done)))


def metrics(workdir: str | Path) -> list[dict[str, float]]:
    """Lines of metrics.jsonl: step, epoch, loss, rate, images_per_second; after an epoch its errors top1, top5 in %."""
    return checkpoints.read_log(Path(workdir) / "metrics.jsonl")


def epoch_weights(workdir: str | Path) -> dict[int, Path]:
    """Weights that `keep_epochs` kept, by the number of epochs trained."""
    return {int(path.stem): path for path in sorted((Path(workdir) / "epochs").glob("*.safetensors"))}


def share_size(batch: int) -> int:
    """Images in one gradient: the whole batch on accelerators, on CPUs at most `CPU_SHARE` (or one for each device)."""
    devices = jax.device_count()
    if jax.default_backend() != "cpu":
        return batch
    sizes = range(devices, max(CPU_SHARE, devices) + 1, devices)
    return max((size for size in sizes if batch % size == 0), default=batch)


def _check(run):
    recipe, count, devices = run.recipe, len(run.data), jax.device_count()
    if not 0 < recipe.batch <= count or recipe.batch % devices:
        raise ValueError(
            f"Expected batches of 1 to {count} images that {devices} devices can share evenly, got {recipe.batch}."
        )
    if run.steps < 1 or recipe.rate <= 0 or (recipe.cosine and recipe.drops):
        raise ValueError(f"Expected at least one step, a positive rate, and a cosine or drops but not both: {recipe}.")


def _described(run):
    fields = {field.name: getattr(run.module, field.name) for field in dataclasses.fields(run.module)}
    settings = ", ".join(f"{name}={value!r}" for name, value in fields.items() if name not in ("parent", "name"))
    functions = {name: _name(getattr(run, name)) for name in ("prepare", "augment", "transform")}
    network = f"{type(run.module).__name__}({settings})"
    data = {"images": len(run.data), "classes": len(run.data.classes)}
    return {"network": network, "recipe": dataclasses.asdict(run.recipe), "seed": run.seed} | data | functions


def _name(function):
    """The name of a function inside any number of partials; jax has a name of its own for the attribute."""
    while inner := getattr(function, "func", None) or getattr(function, "fun", None):
        function = inner
    return getattr(function, "__qualname__", None)


def _train(run, check, check_transform, keep_epochs):
    """From the newest checkpoint, if there is one, to weights.safetensors."""
    start = _initial(run)
    store = checkpoints.Checkpoints(run.workdir / "checkpoints")
    with contextlib.closing(store), _bar(run) as bar:
        state = store.restore(start)
        step = int(state.step)
        log = checkpoints.Log(run.workdir / "metrics.jsonl", step)
        batches = _batches(run, step)
        bar.update(step)
        for stop in _stops(run, step):
            state = _advance(run, state, itertools.islice(batches, stop - step), log, bar)
            step = stop
            if step % run.per_epoch == 0 or step == run.steps:
                state = _end_epoch(run, state, log, check, check_transform, keep_epochs)
            store.save(step, state)
        _write_weights(run.workdir / "weights.safetensors", state)
        parallel.meet("trained")
    if parallel.is_first():  # weights are all that is wanted of a finished run
        shutil.rmtree(run.workdir / "checkpoints")


def _initial(run):
    """The state before the first step; raises ValueError where network and data do not fit."""
    index, count = parallel.part()
    images, labels = next(batches(run.data, count, run.seed, 0, 0, run.transform, (index, count)))
    x = np.asarray(jax.jit(run.prepare)(images[:1]))
    variables = _start(run.module)(jax.random.key(run.seed), x)
    if set(variables) != {"params"}:
        raise ValueError(
            f"Expected a network with parameters alone, got {sorted(variables)}, which are not trained here."
        )
    evaluation.check_fit(Partial(run.module.apply, variables), run.prepare, images, labels, len(run.data.classes))
    return jax.jit(sgd.begin, static_argnums=0, out_shardings=parallel.everywhere())(run.setting, variables)


@functools.cache
def _start(module):
    """The initialisation, kept for other seeds. It runs once, and optimised for a CPU it takes seconds to compile."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(module.init, out_shardings=parallel.everywhere(), compiler_options=options)


def _bar(run):
    hidden = not parallel.is_first()
    return tqdm(total=run.steps, desc="compiling", unit="step", mininterval=1, disable=hidden, leave=False)


def _stops(run, step):
    """Numbers of the steps after which the state is saved: regularly, and at the end of each epoch."""
    stops = {*range(0, run.steps, SAVE_EVERY), *range(0, run.steps, run.per_epoch), run.steps}
    return sorted(stop for stop in stops if stop > step)


def _batches(run, step) -> Iterator[list[tuple[Array, Array]]]:
    """Batches from number `step` on, each as shares that are gone through one by one."""
    shares, size = run.setting.shares, run.recipe.batch // run.setting.shares
    while step < run.steps:
        epoch, done = divmod(step, run.per_epoch)
        found = batches(run.data, size, run.seed, epoch, done * shares, run.transform, parallel.part())
        for _ in range(min(run.per_epoch - done, run.steps - step)):
            taken = list(itertools.islice(found, shares))
            for _, labels in taken:
                evaluation.check_labels(labels, len(run.data.classes))
            yield [(parallel.split(images), parallel.split(labels)) for images, labels in taken]
            step += 1


def _advance(run, state, steps, log, bar):
    """The state after some more steps. The loss is looked at now and then only: looking waits for the device."""
    setting = run.setting
    # Laid out as `update` leaves it, or the first step would be compiled for itself.
    gradient = jax.jit(sgd.zeros, out_shardings=parallel.everywhere())(state.params)
    first = mark = int(state.step)
    started = time.monotonic()
    for step, shares in enumerate(steps, first + 1):
        for number, share in enumerate(shares):
            seeds = np.uint32(run.seed), np.int32((step - 1) * len(shares) + number)
            gradient = sgd.add_gradient(setting, gradient, state.params, share, seeds, run.prepare, run.augment)
        state, gradient, measured = sgd.update(setting, state, gradient)
        bar.update()
        if step % LOG_EVERY == 0 or step in (1, run.steps) or step % run.per_epoch == 0:
            loss, rate = (float(value) for value in measured)
            speed = (step - mark) * run.recipe.batch / (time.monotonic() - started)
            log.write(step=step, epoch=run.epoch(step), loss=loss, rate=rate, images_per_second=speed)
            _refuse_divergence(loss, step, rate)
            bar.set_description(f"training, loss {loss:.3f}", refresh=False)
            mark, started = step, time.monotonic()
    return state


def _refuse_divergence(loss, step, rate):
    if not math.isfinite(loss):
        raise TrainingError(f"The loss is {loss} at step {step}, with rate {rate:g}. Usual cause: a rate too high.")


def _end_epoch(run, state, log, check, check_transform, keep_epochs):
    """Counts errors, keeps weights; the state with what plateaus change in it."""
    epoch = run.epoch(int(state.step))
    if keep_epochs:
        _write_weights(run.workdir / "epochs" / f"{epoch:04d}.safetensors", state)
    if check is None:
        return state
    net = Partial(run.module.apply, {"params": jax.device_get(state.params)})
    found = evaluation.errors(net, check, run.prepare, check_transform)
    log.write(step=int(state.step), epoch=epoch, top1=found.top1, top5=found.top5)
    return _after_check(state, found.top1, run.recipe.patience)


def _after_check(state, error, patience):
    """Lowers the rate where the error has not fallen for `patience` epochs; 0 never does."""
    better = error < float(state.best)
    stale = 0 if better else int(state.stale) + 1
    falls = patience > 0 and stale >= patience
    values = float(state.scale) / (10 if falls else 1), min(error, float(state.best)), 0 if falls else stale
    scale, best, stale = (
        jax.device_put(np.asarray(value, old.dtype), old.sharding) for value, old in zip(values, state[3:], strict=True)
    )
    return state._replace(scale=scale, best=best, stale=stale)


def _write_weights(path, state):
    if parallel.is_first():
        with checkpoints.explained(path):
            path.parent.mkdir(exist_ok=True)
            safetensors_file.write(path, safetensors_file.flatten({"params": jax.device_get(state.params)}))
