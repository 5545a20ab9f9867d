"""Checkpoint files of `optimize`: the state of a run, the history of its loss, and what identifies its problem.

Inputs are identified exactly, but for the values of floating-point JAX arrays: what was computed on an accelerator is
rounded otherwise in the next process. Of these arrays a few random projections are compared, up to `ROUNDING`.

>>> import tempfile, types
>>> path = phase_path(Path(tempfile.mkdtemp(), "run.npz"), 0)
>>> path.name
'run-0.npz'
>>> state = types.SimpleNamespace(x=jnp.ones((2, 3)))
>>> mark = identify(("a problem", state.x))
>>> restore(path, mark, state, ["loss"])[1]["loss"].shape  # no file yet
(0, 2)
>>> save(path, mark, [state.x], {"loss": np.zeros((5, 2))})
>>> path.exists()
True
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xai_jax.io.files import user_path, write_atomically
from xai_jax.io.fingerprints import fingerprint

ROUNDING = 1e-3  # largest difference of two projections that belong to one array, as a share of its norm
PROJECTIONS, PERIOD = 8, 65_537


class Mark(NamedTuple):
    """What identifies a problem: a digest, and norm and projections of each rounded array, (arrays, 1 + 8)."""

    digest: str
    projections: np.ndarray

    def matches(self, other: "Mark") -> bool:
        """Whether two marks may belong to one problem."""
        if self.digest != other.digest:
            return False
        limit = ROUNDING * self.projections[:, :1]
        return bool((np.abs(self.projections - other.projections) <= limit).all())


def identify(problem: Any) -> Mark:
    """The mark of a problem, a tree of arrays, settings and functions, for this version of JAX.

    >>> first, second, third = (identify(jnp.arange(5.0) * factor) for factor in (1, 1 + 1e-5, 1.1))
    >>> first.matches(second), first.matches(third)
    (True, False)
    """
    leaves, tree = jax.tree.flatten(problem)
    rounded = [isinstance(leaf, jax.Array) and _is_rounded(leaf) for leaf in leaves]
    exact = [(leaf.dtype.name, leaf.shape) if r else leaf for leaf, r in zip(leaves, rounded, strict=True)]
    found = [_projections(np.asarray(leaf)) for leaf, r in zip(leaves, rounded, strict=True) if r]
    digest = fingerprint((jax.tree.unflatten(tree, exact), jax.__version__))
    return Mark(digest, np.array(found).reshape(-1, 1 + PROJECTIONS))


def _is_rounded(array):
    """Whether an array may be a result of a device; single numbers are settings."""
    return array.ndim > 0 and jnp.issubdtype(array.dtype, jnp.floating) and bool(jnp.isfinite(array).all())


def _projections(array):
    """Norm, and inner products with fixed random vectors of a period that no image's side divides."""
    rng, flat = np.random.default_rng(0), array.ravel().astype(np.float32)
    weights, signs = rng.normal(size=(PROJECTIONS, -(-flat.size // PERIOD))), rng.choice([-1.0, 1.0], PERIOD)
    total, square = np.zeros(PROJECTIONS), 0.0
    for column, start in zip(weights.T, range(0, flat.size, PERIOD), strict=True):
        part = flat[start : start + PERIOD].astype(np.float64)
        total, square = total + column * (part @ signs[: part.size]), square + part @ part
    return np.array([np.sqrt(square), *total])


def phase_path(checkpoint: Path | None, number: int) -> Path | None:
    """The checkpoint of one phase of a run: `run-0.npz` for phase 0 of `run.npz`."""
    if checkpoint is None:
        return None
    path = user_path(checkpoint)
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def save(path: Path, mark: Mark, state: Any, history: dict[str, np.ndarray]) -> None:
    """Writes a checkpoint atomically, with its folder.

    Args:
      path: the checkpoint file.
      mark: of the problem.
      state: tree of arrays, of any shapes.
      history: terms of the loss by name, (steps so far, N).

    Raises:
      OSError: if the file cannot be written.
    """
    leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    buffer = io.BytesIO()
    marks = {"mark": np.array(mark.digest), "projections": mark.projections}
    np.savez(buffer, **marks, **leaves, **{f"history/{name}": v for name, v in history.items()})
    user_path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def restore(
    path: Path | None, mark: Mark | None, state: Any, names: Sequence[str]
) -> tuple[Any, dict[str, np.ndarray]]:
    """The saved state and history; the initial ones where there is no file, or a damaged one.

    Args:
      path: the checkpoint file, or None.
      mark: of the problem that is being solved; None without a path.
      state: the initial state; a field `x` has the problems along axis 0.
      names: terms of the loss.

    Returns:
      The state, and the terms of the loss by name, (steps so far, N).

    Raises:
      ValueError: if the file belongs to another problem.
    """
    count = jax.tree.leaves(state.x)[0].shape[0]
    empty = {name: np.zeros((0, count), np.float32) for name in names}
    if path is None or not user_path(path).exists():
        return state, empty
    try:
        with open(user_path(path), "rb") as file:
            arrays = dict(np.load(file))
        found = Mark(str(arrays["mark"]), arrays["projections"])
        leaves = [arrays[f"leaf{i}"] for i in range(len(jax.tree.leaves(state)))]
        history = {name: arrays[f"history/{name}"] for name in names}
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for damaged files
        logging.getLogger(__name__).warning("%s is damaged (%s): restarting from step 0", path, error)
        return state, empty
    if not mark.matches(found):
        raise ValueError(
            f"Expected {path} to be a checkpoint of this problem, got one of other arrays, functions or settings, or "
            "of another version of JAX. Remove it to start again."
        )
    return jax.tree.unflatten(jax.tree.structure(state), map(jnp.asarray, leaves)), history
