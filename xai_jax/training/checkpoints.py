"""Files of a checkpoint directory: the description of the run, checkpoints, and the metrics log."""

import concurrent.futures
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from xai_jax.io import checksums, locks
from xai_jax.io.errors import TrainingError, differences, excerpt, first_line
from xai_jax.io.files import clear_partial, write_atomically
from xai_jax.training import parallel

BEFORE_WORK = ("training.json", ".training.lock", "metrics.jsonl")  # files of a run without its first checkpoint
KEPT = 2  # checkpoints: if the newest is damaged, training resumes from the previous one


class Checkpoints:
    """The newest states in one directory, each a file that is whole or absent; process 0 writes for all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     store = Checkpoints(Path(directory))
    ...     store.save(3, {"x": jax.numpy.ones(2)})
    ...     store.close()
    ...     Checkpoints(Path(directory)).restore({"x": jax.numpy.zeros(2)})["x"].tolist()
    [1.0, 1.0]
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._written = concurrent.futures.Future()
        self._written.set_result(None)

    def save(self, step: int, state: Any) -> None:
        """Copies a state on the device, for a thread to write while training continues; then the oldest is removed.

        Waits for the write before, and raises TrainingError where that failed.
        """
        self.wait()
        if parallel.is_first():
            copy = _copy(jax.tree.map(lambda array: array.addressable_data(0), state))
            self._written = self._thread.submit(self._write, step, copy)

    def _write(self, step, state):
        with explained(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            arrays = {name: np.asarray(array, order="C") for name, array in _named(state).items()}
            write_atomically(self.directory / f"{step:09d}.safetensors", checksums.pack(arrays, {}))
            for path in self._paths()[:-KEPT]:
                path.unlink()

    def _paths(self):
        return sorted(self.directory.glob("*.safetensors"))

    def restore(self, state: Any) -> Any:
        """The newest checkpoint, with the structure and sharding of `state`; `state` itself where there is none.

        Raises TrainingError for a damaged checkpoint, and for one of another network.
        """
        if not (paths := self._paths()):
            return state
        try:
            arrays, _ = checksums.read(paths[-1])
            expected = _named(state)
            if {n: (a.shape, a.dtype) for n, a in arrays.items()} != {
                n: (a.shape, a.dtype) for n, a in expected.items()
            }:
                raise ValueError("arrays of another network")
        except (ValueError, OSError) as error:
            raise TrainingError(
                f"Expected a whole checkpoint of this network in {paths[-1]}, got one that cannot be read "
                f"({first_line(error)}). Usual cause: a truncated copy. Remove that file and start again: training "
                "resumes from the previous checkpoint, or restarts."
            ) from error
        leaves = [jax.device_put(arrays[name], leaf.sharding) for name, leaf in expected.items()]
        return jax.tree.unflatten(jax.tree.structure(state), leaves)

    def wait(self) -> None:
        """Waits for the last write, and raises TrainingError where that failed."""
        self._written.result()

    def close(self) -> None:
        """The same, and releases the thread."""
        self._thread.shutdown()
        self.wait()


@jax.jit
def _copy(state):
    """On the device, since the next step takes the buffers of the state."""
    return jax.tree.map(jnp.copy, state)


def _named(state):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


class Log:
    """A file of JSON lines. Those after `step` are dropped first, since training resumes from an earlier checkpoint.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / "metrics.jsonl"
    ...     Log(path, step=0).write(step=20, loss=0.5)
    ...     Log(path, step=20).write(step=40, loss=0.25)
    ...     [line["loss"] for line in read_log(path)]
    [0.5, 0.25]
    """

    def __init__(self, path: Path, step: int):
        self._path = path
        kept = [line for line in read_log(path) if line["step"] <= step]
        if parallel.is_first():
            with explained(path):
                write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, **values: float) -> None:
        """Appends a line, in the first process alone; raises TrainingError where it cannot be written."""
        if parallel.is_first():
            with explained(self._path), open(self._path, "a") as file:
                file.write(json.dumps(values) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """All complete lines; the last may be cut short by a kill. Raises TrainingError for a damaged file."""
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
            raise ValueError("a line without a step")
    except (ValueError, RecursionError) as error:
        raise TrainingError(
            f"Expected lines of metrics in {path}, got a damaged file ({error}). Remove it: training resumes without "
            "the earlier lines."
        ) from error
    return lines


def agree(checkpoint_dir: Path, described: Mapping[str, Any]) -> None:
    """Writes what is trained in a directory to training.json; raises TrainingError where something else is.

    A run that failed before its first checkpoint does not count: with the mistake corrected, the directory is used.
    """
    path = checkpoint_dir / "training.json"
    what = differences(_read_description(path), json.loads(json.dumps(described))) if path.exists() else ""
    if what and has_work(checkpoint_dir):
        raise TrainingError(
            f"Expected an empty directory or one where the same is trained, {excerpt(checkpoint_dir, 120)} has "
            f"something else ({what}). Choose another directory, or remove this one."
        )
    if (what or not path.exists()) and parallel.is_first():
        with explained(checkpoint_dir):
            checkpoint_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(described, indent=2) + "\n").encode())


def has_work(checkpoint_dir: Path) -> bool:
    """Whether a directory has weights, checkpoints or samples, or files of others.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     agree(Path(directory), {"seed": 0})
    ...     has_work(Path(directory))
    False
    """
    return any(path.is_file() and path.name not in BEFORE_WORK for path in checkpoint_dir.rglob("*"))


def _read_description(path):
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}")
        return found
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path} is damaged ({error}). Remove {path.parent} and start again.") from error


@contextlib.contextmanager
def locked(checkpoint_dir: Path) -> Iterator[None]:
    """Waits until no other run uses the directory; the lock is released with the process, however it ends."""
    if not parallel.is_first():
        yield
        return
    with explained(checkpoint_dir):
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
        file = open(checkpoint_dir / ".training.lock", "w")  # noqa: SIM115, closed below
    with file:
        try:
            if not locks.acquire(file):
                logging.warning("Another run is training in %s; waiting until it is done.", checkpoint_dir)
                locks.acquire(file, wait=True)
        except OSError as error:
            raise TrainingError(f"{error.strerror}, not {excerpt(checkpoint_dir)}.") from error
        clear_partial(checkpoint_dir, "epochs", "checkpoints")
        yield


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns errors in writing `path` into a TrainingError that says so, and that earlier files are intact."""
    try:
        yield
    except jax.errors.JaxRuntimeError:
        raise
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise TrainingError(
                f"Expected a directory at {excerpt(path)}, got a file there, or above it. Choose another directory."
            ) from error
        raise TrainingError(
            f"Could not write {path}: {first_line(error)}. Usual causes: a full disk, or missing permissions. Earlier "
            "files are intact; start again once there is room, and training resumes."
        ) from error
