"""Checkpoint files of `optimize`: the state of a run, the history of its loss, and a hash of its problem.

>>> import tempfile, types
>>> path = phase_path(Path(tempfile.mkdtemp(), "run.npz"), 0)
>>> path.name
'run-0.npz'
>>> state = types.SimpleNamespace(x=jnp.ones((2, 3)))
>>> restore(path, "mark", state, ["loss"])[1]["loss"].shape  # no file yet
(0, 2)
>>> save(path, "mark", [state.x], {"loss": np.zeros((5, 2))})
>>> path.exists()
True
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xai_jax.io.files import user_path, write_atomically


def phase_path(checkpoint: Path | None, number: int) -> Path | None:
    """The checkpoint of one phase of a run: `run-0.npz` for phase 0 of `run.npz`."""
    if checkpoint is None:
        return None
    path = user_path(checkpoint)
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def save(path: Path, mark: str, state: Any, history: dict[str, np.ndarray]) -> None:
    """Writes a checkpoint atomically, with its folder.

    Args:
      path: the checkpoint file.
      mark: fingerprint of the problem.
      state: tree of arrays, of any shapes.
      history: terms of the loss by name, (steps so far, N).

    Raises:
      OSError: if the file cannot be written.
    """
    leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    buffer = io.BytesIO()
    np.savez(buffer, mark=np.array(mark), **leaves, **{f"history/{name}": v for name, v in history.items()})
    user_path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def restore(path: Path | None, mark: str, state: Any, names: Sequence[str]) -> tuple[Any, dict[str, np.ndarray]]:
    """The saved state and history; the initial ones where there is no file, or a damaged one.

    Args:
      path: the checkpoint file, or None.
      mark: fingerprint of the problem that is being solved.
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
        found = str(arrays["mark"])
        leaves = [arrays[f"leaf{i}"] for i in range(len(jax.tree.leaves(state)))]
        history = {name: arrays[f"history/{name}"] for name in names}
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for damaged files
        logging.getLogger(__name__).warning("%s is damaged (%s): restarting from step 0", path, error)
        return state, empty
    if found != mark:
        raise ValueError(
            f"Expected {path} to be a checkpoint of this problem, got one of other arrays, functions or settings, or "
            "of another version of JAX. Remove it to start again."
        )
    return jax.tree.unflatten(jax.tree.structure(state), map(jnp.asarray, leaves)), history
