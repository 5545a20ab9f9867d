"""The working directory of a running experiment: finished stages, which a later start reads back, and progress bars."""

import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from tqdm import tqdm

from experiments.lib import manifest
from xai_jax.io import checksums
from xai_jax.io.files import write_atomically
from xai_jax.training import parallel

_BAR = {"delay": 2, "file": sys.stderr, "leave": False, "dynamic_ncols": True}


class Workspace:
    """The working directory of one experiment while it runs: finished stages and progress bars."""

    def __init__(self, directory: Path, fingerprint: str):
        self.directory, self.fingerprint = directory, fingerprint
        self.arrays: dict[str, np.ndarray] = {}
        self.seconds = 0.0
        self._lock = threading.Lock()  # trainings on several devices finish their stages at any time

    def stage(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, np.ndarray]:
        """Arrays of one stage: computed, or read back if an earlier run got that far with the same configuration."""
        path = self.path(f"stages/{name}.npz")
        arrays = _read_stage(path, self.fingerprint)
        if arrays is None:
            started = time.monotonic()
            arrays = {key: np.asarray(value) for key, value in compute().items()}
            seconds = np.float64(time.monotonic() - started)
            if parallel.is_first():
                _write_stage(path, arrays | {"_fingerprint": np.array(self.fingerprint), "_seconds": seconds})
        else:
            seconds = arrays.pop("_seconds")
        with self._lock:
            self.seconds += float(seconds)
            self.arrays |= {f"{name}/{key}": value for key, value in arrays.items()}
        return arrays

    def path(self, name: str) -> Path:
        """Path of a file of the experiment's own, which --overwrite removes; its directory is made."""
        with self._lock:
            manifest.add(self.directory, name)
        path = self.directory / name
        if parallel.is_first():
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def training(self, name: str) -> Path:
        """The directory `training/NAME` for `xai_jax.training`, under the same rule."""
        return self.path(f"training/{name}/")

    def progress(self, items: Iterable, description: str) -> Iterable:
        """The items, behind a progress bar; it stays quiet for the first two seconds."""
        return tqdm(items, description, **_BAR)

    def bar(self, total: int, description: str) -> tqdm:
        """The same for work that reports its own progress by `update()`; a context manager."""
        return tqdm(total=total, desc=description, **_BAR)


def exact(number: float) -> str:
    """A number as part of a stage's name: two numbers never share one.

    >>> exact(0.5), exact(1.0), exact(0.1 + 0.2)
    ('0.5', '1', '0.30000000000000004')
    """
    return repr(float(number)).removesuffix(".0")


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the content of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _write_stage(path, arrays):
    """With a checksum of all arrays together: a zip archive has one of each, but not of which there are."""
    write_atomically(path, packed(arrays | {"_checksum": np.array(checksums.checksum(arrays, {}))}))


def _read_stage(path, fingerprint):
    """A finished stage, or None if it has to be computed: not there, damaged, or of another configuration."""
    try:
        with open(path, "rb") as file:
            arrays = dict(np.load(file))
        if str(arrays.pop("_checksum")) != checksums.checksum(arrays, {}):
            raise ValueError("its checksum differs")
        return arrays if str(arrays.pop("_fingerprint")) == fingerprint else None
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for damaged files
        logging.warning("%s is damaged (%s) and will be computed again", path, error)
        return None
