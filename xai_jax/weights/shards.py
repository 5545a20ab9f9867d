"""Weights in several files, with an index that names the file of each entry: model.safetensors.index.json."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xai_jax.io import checksums
from xai_jax.io.errors import excerpt, reading
from xai_jax.io.files import open_regular

_LARGEST = 64 * 2**20  # bytes of an index
_MOST = 1000  # files


def index(path: str | os.PathLike) -> dict[str, str] | None:
    """The file of each entry, as an index names it; None for files that are no index.

    Raises ValueError for an index that names anything but files beside it.
    """
    with open_regular(path) as file:
        if file.read(64).lstrip()[:1] != b"{" or os.fstat(file.fileno()).st_size > _LARGEST:
            return None
        file.seek(0)
        content = file.read()
    with reading(path, "an index of weights files"):
        try:
            found = json.loads(content)["weight_map"]
        except (ValueError, LookupError, RecursionError):
            return None
        if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
            raise ValueError("Expected a file for each entry in `weight_map`.")
        files = set(found.values())
        if not 0 < len(files) <= _MOST:
            raise ValueError(f"Expected 1 to {_MOST} files in `weight_map`, got {len(files)}.")
        for file in files:
            if file in ("", ".", "..") or file != os.path.basename(file) or "\\" in file or "\0" in file:
                raise ValueError(f"Expected names of files beside the index, got {excerpt(file, 80)!r}.")
        return found


def read(path: str | os.PathLike, files: dict[str, str], read_one: Callable[[Path], dict]) -> dict[str, np.ndarray]:
    """The entries of an index from their files. Raises ValueError for entries that a file lacks."""
    arrays = {}
    for file in sorted(set(files.values())):
        found, names = read_one(Path(path).with_name(file)), [name for name in files if files[name] == file]
        if missing := [name for name in names if name not in found]:
            raise ValueError(
                f"{excerpt(path, 150)}: expected {excerpt(missing[0], 80)} in {excerpt(file, 80)}, got a file without "
                f"it, one of {len(missing)} such entries. Usual cause: files of different downloads."
            )
        arrays |= {name: found[name] for name in names}
    return {name: arrays[name] for name in files}


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a weights file; of an index with all of its files. Raises OSError for absent files.

    >>> digest("/dev/zero")
    Traceback (most recent call last):
    ValueError: /dev/zero: expected a file, got a device, a pipe or a directory.
    """
    own, files = checksums.sha256_of_file(path), index(path)
    if files is None:
        return own
    each = [f"{file} {checksums.sha256_of_file(Path(path).with_name(file))}" for file in sorted(set(files.values()))]
    return checksums.sha256("\n".join([own, *each]).encode(errors="surrogatepass"))
