"""What a run of training leaves in its directory: what is trained, checkpoints by orbax, and lines of metrics."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from xai_jax.io.errors import TrainingError, first_line
from xai_jax.io.files import clear_partial, write_atomically
from xai_jax.io.logs import quiet
from xai_jax.training import parallel

KEPT = 2  # checkpoints: if the newest is damaged, the one before serves


class Checkpoints:
    """The newest states in one directory, each whole or not there; all processes make the same calls."""

    def __init__(self, directory: Path):
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        with explained(self.directory):
            self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Writes one checkpoint, then removes the oldest. Raises TrainingError where the disk does not take it."""
        with explained(self.directory), quiet():  # orbax logs an error in each of its threads, too
            self._manager.save(step, args=ocp.args.StandardSave({"state": state, "checksum": _checksum(state)}))

    def restore(self, state: Any) -> Any:
        """The newest checkpoint, laid out like `state`; `state` itself where there is none.

        Raises TrainingError for a damaged checkpoint, and for one of another network.
        """
        step = self._manager.latest_step()
        if step is None:
            return state
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, {"state": state, "checksum": _checksum(state)})
        try:
            with quiet():
                found = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
            if (found["checksum"] != _checksum(found["state"])).any():
                raise ValueError("its checksum differs")
            return found["state"]
        except Exception as error:  # of many classes: json, tensorstore and orbax each have their own
            raise TrainingError(
                f"Expected a whole checkpoint of this network in {self.directory / str(step)}, got one that cannot be "
                f"read ({first_line(error)}). Usual cause: a truncated copy. Remove that folder and start again: "
                "training goes on from the checkpoint before it, or anew."
            ) from error

    def close(self) -> None:
        self._manager.close()


def _checksum(state):
    """SHA-256 (32,) uint8 of all arrays, since not every byte that orbax writes has a checksum of its own."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        found.update(np.asarray(leaf).tobytes())
    return jax.device_put(np.frombuffer(found.digest(), np.uint8), parallel.everywhere())


class Log:
    """Lines of JSON. Those after `step` are dropped first: training goes on from a checkpoint before them."""

    def __init__(self, path: Path, step: int):
        self._path = path
        kept = [line for line in read_log(path) if line["step"] <= step]
        if parallel.is_first():
            with explained(path):
                write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, **values: float) -> None:
        if parallel.is_first():
            with explained(self._path), open(self._path, "a") as file:
                file.write(json.dumps(values) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """All whole lines; the last may be cut short by a kill. Raises TrainingError for a damaged file."""
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
            raise ValueError("a line without a step")
    except (ValueError, RecursionError) as error:
        raise TrainingError(
            f"Expected lines of metrics in {path}, got a damaged file ({error}). Remove it: training goes on without "
            "the lines before."
        ) from error
    return lines


def agree(workdir: Path, described: Mapping[str, Any]) -> None:
    """Writes down what is trained in `workdir`; raises TrainingError where something else is."""
    path = workdir / "training.json"
    if path.exists():
        found = _read_description(path)
        wanted = json.loads(json.dumps(described))
        differ = [
            f"{k}: {found.get(k)} there, {wanted.get(k)} now" for k in found | wanted if found.get(k) != wanted.get(k)
        ]
        if differ:
            what = "; ".join(differ).encode(errors="backslashreplace").decode()  # half characters cannot be printed
            raise TrainingError(
                f"Expected an empty directory or one where the same is trained, {workdir} has something else "
                f"({what}). Choose another directory, or remove this one."
            )
    elif parallel.is_first():
        with explained(workdir):
            workdir.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(described, indent=2) + "\n").encode())


def _read_description(path):
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}")
        return found
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path} is damaged ({error}). Remove {path.parent} and start again.") from error


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Waits until no other run works in the directory; the lock goes with the process, however it ends."""
    if not parallel.is_first():
        yield
        return
    with explained(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / ".training.lock", "w")  # noqa: SIM115, closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.warning("Another run is training in %s; waiting until it is done.", workdir)
            fcntl.flock(file, fcntl.LOCK_EX)
        clear_partial(workdir)
        yield


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Says of an error in writing which file it is about, and that earlier ones are as they were."""
    try:
        yield
    except jax.errors.JaxRuntimeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # orbax and tensorstore have no classes of their own
        full = os.strerror(errno.ENOSPC)
        reason = full if full in str(error) else first_line(error)
        raise TrainingError(
            f"Could not write {path}: {reason}. Usual causes: a full disk, or no right to write there. What was "
            "written before is as it was; start again once there is room, and training goes on."
        ) from error
