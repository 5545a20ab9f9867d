"""The one loop that finds pre-images, preferred inputs and codes: any optax update of any array, step by step.

    result = minimise(objective, x, optax.adam(0.1), steps=300, key=jax.random.key(0))

Problems are solved in batches: axis 0 counts them, their losses are added, so that none sees another's gradient.
"""

import functools
import hashlib
import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from tqdm import tqdm

from xai_jax.core.pytrees import as_partial
from xai_jax.io.files import write_atomically

CHUNK = 25  # steps between two looks at the losses; on accelerators one program
SAVE_EVERY = 10.0  # seconds

Objective = Callable[[Array, Any], Mapping[str, Array]]
Project = Callable[[Any], Any]


class DivergedError(ArithmeticError):
    """A loss that became infinite or NaN; the message names the step, the term and the problem."""


class Result(NamedTuple):
    """`x` after the last step, and each term of the loss before every step: arrays (steps, N)."""

    x: Any
    history: dict[str, np.ndarray]


def joined(results: Sequence[Result]) -> Result:
    """Runs that went on from each other as one: the last images, and all terms in their order."""
    names = results[-1].history
    return Result(results[-1].x, {name: np.concatenate([each.history[name] for each in results]) for name in names})


def numbered(saved: Path | None, number: int) -> Path | None:
    """The file of one of several runs that go on from each other."""
    return saved and saved.with_name(f"{saved.stem}-{number}{saved.suffix}")


class _State(NamedTuple):
    x: Any
    memory: Any
    step: Array


def unchanged(x: Any) -> Any:
    """The projection where everything is allowed."""
    return x


def minimise(
    objective: Objective,
    x: Any,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: Array,
    project: Project = unchanged,
    saved: Path | None = None,
) -> Result:
    """Takes `steps` steps of `optimiser` from `x`, an array or a tree of arrays (N, ...) for N problems.

    `objective(key, x)` gives the terms of the loss by name, (N,) each; their sum falls. Its key is another one at each
    step, for random augmentation. `project` maps x to what is allowed, after each step. Both are `Partial`s where they
    hold arrays; others are compiled in. A schedule of the rate belongs to the optimiser, which is also given the losses
    (N,) as `value`; one optimiser object compiles once. With `saved`, a file, a run that was killed goes on from there
    to the same result. Raises ValueError for terms of another shape and a file of other arrays, DivergedError where a
    term is not finite.
    """
    if steps < 1:
        raise ValueError(f"Expected at least one step, got {steps}.")
    x = jax.tree.map(jnp.array, x)  # a copy: its buffers are given to the steps
    objective, project = as_partial(objective), as_partial(project)
    names = _check(objective, x, key)
    state = _State(x, optimiser.init(x), jnp.zeros((), jnp.int32))

    def chunk(state, count):
        return _chunk(objective, project, optimiser, state, key, count)

    state, history = advance(chunk, state, names, steps, (objective, x, key, project), saved)
    return Result(state.x, history)


def advance(
    chunk: Callable[[Any, int], tuple[Any, dict[str, np.ndarray]]],
    state: Any,
    names: Sequence[str],
    steps: int,
    problem: Any,
    saved: Path | None,
) -> tuple[Any, dict[str, np.ndarray]]:
    """The state after `steps` steps, and the terms by name (steps, N); what `minimise` and `fooling.evolve` share.

    `chunk(state, count)` takes some steps and gives their terms; the state counts them in `step`, and N is the length
    of its field `x`. `problem`, any tree of arrays, says what a saved file must have been written for.
    """
    mark = _fingerprint(problem) if saved is not None else ""
    state, history = _restore(saved, mark, state, names)
    if int(state.step) > steps:
        raise ValueError(f"Expected at most {steps} steps in {saved}, it has gone on for {int(state.step)}.")
    last_saved = time.monotonic()
    with tqdm(total=steps, desc="optimising", delay=2, leave=False) as bar:
        bar.update(int(state.step))
        while (step := int(state.step)) < steps:
            state, terms = chunk(state, min(CHUNK, steps - step))
            _refuse_divergence(terms, step)
            history = {name: np.concatenate([history[name], terms[name]]) for name in names}
            bar.update(int(state.step) - step)
            if saved is not None and (time.monotonic() - last_saved > SAVE_EVERY or int(state.step) == steps):
                _save(saved, mark, state, history)
                last_saved = time.monotonic()
    return state, history


def _check(objective, x, key):
    """Names of the terms. Raises ValueError where they are not one number for each problem."""
    count = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(x)}
    if len(count) != 1 or 0 in count:
        raise ValueError(f"Expected arrays of one problem or more, counted along axis 0, got lengths {sorted(count)}.")
    terms = jax.eval_shape(_terms, objective, key, x)
    wrong = {name: term.shape for name, term in terms.items() if term.shape != (*count,)}
    if wrong or not terms:
        raise ValueError(f"Expected terms of the loss of shape {(*count,)}, one number for each problem, got {wrong}.")
    return sorted(terms)


@jax.jit
def _terms(objective, key, x):
    """The terms as such; compiled never, but traced once only, which takes as long as some steps of small networks."""
    return dict(objective(key, x))


def _chunk(objective, project, optimiser, state, key, count):
    """The state some steps on, and the terms (count, N) before each of them.

    One program on accelerators; on CPUs, where XLA's convolutions are slow inside of loops, one for each step.
    """
    if jax.default_backend() != "cpu":
        state, terms = _scan(objective, project, optimiser, state, key, count)
        return state, {name: np.asarray(values) for name, values in terms.items()}
    return one_by_one(lambda state: _step(objective, project, optimiser, state, key), state, count)


def one_by_one(step: Callable[[Any], tuple[Any, dict[str, Array]]], state: Any, count: int) -> tuple[Any, dict]:
    """The state after `count` calls of `step`, and the terms of all, which are waited for in the end only."""
    found = []
    for _ in range(count):
        state, terms = step(state)
        found.append(terms)
    return state, {name: np.stack([np.asarray(terms[name]) for terms in found]) for name in found[0]}


def _advance(objective, project, optimiser, state, key):
    def loss(x):
        terms = objective(jax.random.fold_in(key, state.step), x)
        return sum(terms.values()).sum(), dict(terms)

    gradient, terms = jax.grad(loss, has_aux=True)(state.x)
    rule = optax.with_extra_args_support(optimiser)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float rates
        updates, memory = rule.update(gradient, state.memory, state.x, value=sum(terms.values()))
    return _State(project(optax.apply_updates(state.x, updates)), memory, state.step + 1), terms


_step = functools.partial(jax.jit, static_argnums=2, donate_argnums=3)(_advance)


@functools.partial(jax.jit, static_argnums=(2, 5), donate_argnums=3)
def _scan(objective, project, optimiser, state, key, count):
    def one(state, _):
        return _advance(objective, project, optimiser, state, key)

    return lax.scan(one, state, length=count)


def _refuse_divergence(terms, start):
    for name, values in terms.items():
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            step, problem = bad[0]
            raise DivergedError(
                f"The term {name!r} is {values[step, problem]} before step {start + step + 1}, in problem {problem}. "
                "Usual causes: too large a rate, or a network that was given values out of its range."
            )


def _fingerprint(tree):
    """A hash of all arrays in a tree: a file goes on only with the problem that it was written for."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        found.update(f"{array.shape}{array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _save(path, mark, state, history):
    leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    buffer = io.BytesIO()
    np.savez(buffer, mark=np.array(mark), **leaves, **{f"history/{name}": v for name, v in history.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _restore(path, mark, state, names):
    """The saved state and history, or the first ones where there is no file, or a damaged one."""
    count = jax.tree.leaves(state.x)[0].shape[0]
    empty = {name: np.zeros((0, count), np.float32) for name in names}
    if path is None or not path.exists():
        return state, empty
    try:
        with open(path, "rb") as file:
            arrays = dict(np.load(file))
        found = str(arrays["mark"])
        leaves = [arrays[f"leaf{i}"] for i in range(len(jax.tree.leaves(state)))]
        history = {name: arrays[f"history/{name}"] for name in names}
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for damaged files
        logging.getLogger(__name__).warning("%s is damaged (%s): starting anew", path, error)
        return state, empty
    if found != mark:
        raise ValueError(f"Expected {path} to be of this problem, it is of other arrays. Remove it to start anew.")
    return jax.tree.unflatten(jax.tree.structure(state), map(jnp.asarray, leaves)), history
