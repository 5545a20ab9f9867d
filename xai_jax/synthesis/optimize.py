"""The optimisation loop of all synthesis methods: any optax update of any array, with checkpoints.

>>> objective = lambda x: {"distance": ((x - 3.0) ** 2).sum(1)}
>>> first = minimise(objective, jnp.zeros((2, 1)), optax.sgd(0.25), steps=2)
>>> last = minimise(objective, first.x, optax.sgd(0.5), steps=1, project=identity)
>>> concatenate([first, last]).x.tolist(), concatenate([first, last]).history["distance"][:, 0].tolist()
([[3.0], [3.0]], [9.0, 2.25, 0.5625])
>>> state, terms = repeat(lambda state: (state + 1, {"count": state}), jnp.zeros(1), 3)  # a chunk for `advance`
>>> state.tolist(), terms["count"].ravel().tolist()
([3.0], [0.0, 1.0, 2.0])

Problems are solved in batches along axis 0. Their losses are summed, so that no problem sees another's gradient.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.tree_util import Partial
from tqdm import tqdm

from xai_jax.core import devices, finite
from xai_jax.core.arguments import is_integer
from xai_jax.core.messages import quoted
from xai_jax.core.pytrees import as_partial
from xai_jax.synthesis import checkpoints

CHUNK = 25  # steps between two checks for divergence; one compiled program on accelerators
SAVE_EVERY = 10.0  # seconds between two checkpoints

Objective = Callable[..., Mapping[str, Array]]
Projection = Callable[[Any, Array], Any]


class DivergedError(ArithmeticError):
    """A loss that became infinite or NaN; the message names the step, the term and the problem."""


class Result(NamedTuple):
    """`x` after the last step, and each term of the loss before every step: arrays (steps, N)."""

    x: Any
    history: dict[str, np.ndarray]


def concatenate(results: Sequence[Result]) -> Result:
    """Consecutive phases as one run: the last `x`, and the histories along the steps."""
    names = results[-1].history
    return Result(results[-1].x, {name: np.concatenate([each.history[name] for each in results]) for name in names})


class _State(NamedTuple):
    x: Any
    opt_state: Any
    step: Array


def identity(x: Any, step: Array | None = None) -> Any:
    """The projection without constraints, for x of any shape."""
    del step
    return x


def minimise(
    objective: Objective,
    x: Any,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: Array | None = None,
    project: Projection = identity,
    checkpoint: Path | None = None,
) -> Result:
    """Minimises the sum of an objective's terms by projected gradient descent.

    Problems are divided among all devices, if the number of these divides theirs (see `xai_jax.core.devices`).
    Objective and projection are `jax.tree_util.Partial`s where they hold arrays or numbers; what else they close over
    is compiled into the program. One optimiser object of optax compiles once, those of `updates` once for all numbers.

    >>> objective = lambda x: {"distance": ((x - 3.0) ** 2).sum(1)}
    >>> minimise(objective, jnp.zeros((2, 1)), optax.sgd(0.5), steps=1).x.tolist()
    [[3.0], [3.0]]

    Args:
      objective: `objective(x)`, or `objective(key, x)` if a key is given -> terms of the loss by name, (N,) each.
      x: initial array or tree of arrays (N, ...), one row for each of N problems.
      optimiser: an optax transformation, learning-rate schedule included; it also receives the losses (N,) as `value`.
      steps: number of steps, at least 1.
      key: for random augmentation; a fresh key is folded in at each step.
      project: `project(x, step)` -> x within the constraints, after each step, counted from 0.
      checkpoint: file from which an interrupted run resumes, with the same result.

    Returns:
      The last x, and the history of the loss.

    Raises:
      ValueError: for terms that are not of shape (N,), and for a checkpoint of another problem.
      DivergedError: if a term or the last x becomes infinite or NaN.
    """
    if not is_integer(steps) or steps < 1:
        raise ValueError(f"Expected at least one step, got {quoted(steps)}.")
    x = jax.tree.map(jnp.array, x)  # a copy, since the steps donate its buffers
    objective, project, update = as_partial(objective), as_partial(project), _update_of(optimiser)
    names = _check(objective, x, key)
    state = _State(x, optimiser.init(x), jnp.zeros((), jnp.int32))
    arguments = jax.device_put((objective, project, update, key))  # their numbers once, and not at each step
    number = devices.dividing((arguments, x), jax.tree.leaves(x)[0].shape[0])
    arguments = devices.copy(arguments, number)

    def chunk(state, count):
        return _chunk(*arguments, devices.share(state, number), count)

    state, history = advance(chunk, state, names, steps, (objective, x, optimiser, key, project), checkpoint)
    check_result(state.x)
    return Result(state.x, history)


def advance(
    chunk: Callable[[Any, int], tuple[Any, dict[str, np.ndarray]]],
    state: Any,
    names: Sequence[str],
    steps: int,
    problem: Any,
    checkpoint: Path | None,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Runs chunks of steps with checkpoints and a progress bar; shared by `minimise` and `fooling.evolve`.

    Args:
      chunk: `chunk(state, count)` takes `count` steps and returns the state and the terms, (count, N) by name.
      state: a tree with fields `x` (N, ...) and `step`, the number of steps so far.
      names: names of the terms.
      steps: number of steps in all.
      problem: all that the result depends on, which identifies the problem of a checkpoint.
      checkpoint: file to resume from, or None.

    Returns:
      The last state, and the terms by name, (steps, N).

    Raises:
      ValueError: for a checkpoint of another problem or of more steps.
      DivergedError: if a term becomes infinite or NaN.
    """
    mark = None if checkpoint is None else checkpoints.identify(problem)
    state, history = checkpoints.restore(checkpoint, mark, state, names)
    if int(state.step) > steps:
        raise ValueError(f"Expected a checkpoint of at most {steps} steps, got {int(state.step)} in {checkpoint}.")
    last_saved = time.monotonic()
    with tqdm(total=steps, desc="optimising", delay=2, leave=False) as bar:
        bar.update(int(state.step))
        while (step := int(state.step)) < steps:
            state, terms = chunk(state, min(CHUNK, steps - step))
            _check_finite(terms, step)
            history = {name: np.concatenate([history[name], terms[name]]) for name in names}
            bar.update(int(state.step) - step)
            if checkpoint is not None and (time.monotonic() - last_saved > SAVE_EVERY or int(state.step) == steps):
                checkpoints.save(checkpoint, mark, state, history)
                last_saved = time.monotonic()
    return state, history


def _check(objective, x, key):
    """Names of the terms. Raises ValueError where they are not one number for each problem."""
    count = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(x)}
    if len(count) != 1 or 0 in count:
        raise ValueError(f"Expected arrays of one problem or more, counted along axis 0, got lengths {sorted(count)}.")
    terms = jax.eval_shape(_cached_terms, objective, key, x)
    wrong = {name: term.shape for name, term in terms.items() if term.shape != (*count,)}
    if wrong or not terms:
        raise ValueError(f"Expected terms of the loss of shape {(*count,)}, one number for each problem, got {wrong}.")
    return sorted(terms)


def _terms(objective, key, x):
    return dict(objective(x) if key is None else objective(key, x))


_cached_terms = jax.jit(_terms)  # traced once, which takes as long as some steps of small networks


def _update_of(optimiser):
    """The update of an optax transformation as an argument of compiled programs, called with the losses as `value`."""
    update = as_partial(optimiser.update)
    takes_value = isinstance(optimiser, optax.GradientTransformationExtraArgs)
    return update if takes_value else Partial(_without_value, update)


def _without_value(update, gradient, opt_state, x, value):
    del value
    return update(gradient, opt_state, x)


def _chunk(objective, project, update, key, state, count):
    """The state after `count` steps, and the terms (count, N) before each of them.

    One program on accelerators; on CPUs, where XLA's convolutions are slow inside loops, and for the last steps, whose
    number varies, one for each step.
    """
    if jax.default_backend() != "cpu" and count == CHUNK:
        state, terms = _scan(objective, project, update, state, key, count)
        return state, {name: np.asarray(values) for name, values in terms.items()}
    return repeat(lambda state: _step(objective, project, update, state, key), state, count)


def repeat(step: Callable[[Any], tuple[Any, dict[str, Array]]], state: Any, count: int) -> tuple[Any, dict]:
    """The state after `count` calls of `step`, and the stacked terms; waits for the device at the end only."""
    collected = []
    for _ in range(count):
        state, terms = step(state)
        collected.append(terms)
    return state, {name: np.stack([np.asarray(terms[name]) for terms in collected]) for name in collected[0]}


def _advance(objective, project, update, state, key):
    def loss(x):
        terms = _terms(objective, None if key is None else jax.random.fold_in(key, state.step), x)
        return sum(terms.values()).sum(), terms

    gradient, terms = jax.grad(loss, has_aux=True)(state.x)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float learning rates
        updates, opt_state = update(gradient, state.opt_state, state.x, value=sum(terms.values()))
    x = project(optax.apply_updates(state.x, updates), state.step)
    return _State(x, opt_state, state.step + 1), terms


_step = functools.partial(jax.jit, donate_argnums=3)(_advance)


@functools.partial(jax.jit, static_argnums=5, donate_argnums=3)
def _scan(objective, project, update, state, key, count):
    def one(state, _):
        return _advance(objective, project, update, state, key)

    return lax.scan(one, state, length=count)


def check_result(x: Any) -> None:
    """Raises DivergedError for NaN or infinity in arrays (N, ...) after the last step, whose terms nobody computes.

    >>> check_result(jnp.ones((2, 3)))
    """
    if (bad := finite.first_bad(x)) is not None:
        raise DivergedError(
            f"Problem {bad} has NaN or infinity after the last step. Usual causes: too large a learning rate, or a "
            "derivative that does not exist, such as that of a square root or a norm at 0."
        )


def _check_finite(terms, start):
    for name, values in terms.items():
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            step, problem = bad[0]
            raise DivergedError(
                f"The term {quoted(name)} is {values[step, problem]} before step {start + step + 1}, in problem "
                f"{problem}. Usual causes: too large a learning rate, or a network that was given values out of its "
                "range."
            )
