"""Weights on disk: reading foreign checkpoints, writing our own, and fitting them to a network.

Own files are safetensors with one entry for each array of the variables, named by its path: "params/conv1/kernel", and
a checksum.

>>> import tempfile
>>> flat = flatten({"params": {"dense": {"bias": np.float32([1, 2])}}})
>>> with tempfile.TemporaryDirectory() as directory:
...     write(f"{directory}/weights.safetensors", flat)
...     arrays = read(f"{directory}/weights.safetensors")
>>> fit(arrays, unflatten(arrays))["params"]["dense"]["bias"].tolist()
[1.0, 2.0]
"""

import difflib
import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import safetensors

from xai_jax.io import checksums
from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular, user_path, write_atomically
from xai_jax.weights import caffe_file, foreign, shards, torch_file

_SHOWN = 5  # most problems of each kind in a message
_LONGEST = 300  # characters of all of them


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Entries of a safetensors, PyTorch .pth/.pt or Caffe .caffemodel file, recognised by content; executes nothing.

    The index of a model in several files (model.safetensors.index.json) stands for all of them. Raises
    FileNotFoundError, and ValueError for damaged, unknown or malicious files.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"Expected the path of a file of weights, got {type(path).__name__}. Save a state dictionary.")
    try:
        files = shards.index(path)
        return _read(path) if files is None else shards.read(path, files, _read)
    except FileNotFoundError as error:
        raise _absent(Path(error.filename or path)) from error


def _read(path):
    """The same of a single file."""
    with open_regular(path) as file:
        head = file.read(foreign.HEAD)
    if head[8:9] == b"{":  # before it stands a length, which may begin with the bytes of other formats
        return checksums.read(path)[0]
    if head.startswith((torch_file.ZIP_MAGIC, b"\x80")):
        return torch_file.read(path)
    if caffe_file.is_caffe(head):
        return caffe_file.read(path)
    kind = foreign.of_content(head, Path(path).name) or f"one that starts with {head[:9]!r}."
    raise ValueError(
        f"{excerpt(path)}: expected safetensors, a PyTorch .pth/.pt or a Caffe .caffemodel file, got {kind}"
    )


def _absent(path):
    """The error for a file that is not there, with the most similar name beside it."""
    try:
        near = difflib.get_close_matches(path.name, itertools.islice(sorted(os.listdir(path.parent)), 1000), n=1)
    except OSError:
        near = []
    hint = f" Did you mean {excerpt(near[0], 80)!r}?" if near else ""
    return FileNotFoundError(f"Expected a file of weights at {excerpt(path, 200)}, found none.{hint}")


def origin(path: str | os.PathLike) -> tuple[str, str]:
    """What a file of weights says of its network: its name in the metadata, and `caffe_file.order`; "" for neither."""
    with open_regular(path) as file:
        head = file.read(foreign.HEAD)
    if caffe_file.is_caffe(head):
        return "", caffe_file.order(path)
    if head[8:9] == b"{":
        with safetensors.safe_open(user_path(path), "numpy") as file:
            return (file.metadata() or {}).get("network", ""), ""
    return "", ""


def write(path: str | os.PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file, whole or not at all. Raises ValueError for dtypes it cannot hold."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_atomically(path, checksums.pack(arrays, metadata or {}))


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Tree of variables -> {"params/conv1/kernel": array}."""
    return flax.traverse_util.flatten_dict(variables, sep="/")


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """{"params/conv1/kernel": array} -> tree of variables."""
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


def fit(arrays: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Flat arrays -> variables in float32, checked against an abstract tree (`jax.eval_shape` of the module's init).

    Raises one short ValueError that lists missing, unexpected, wrongly shaped and non-finite entries, a few of each.
    """
    expected = flatten(expected)
    problems = [f"missing: {name} {shape.shape}" for name, shape in expected.items() if name not in arrays]
    problems += [f"unexpected: {name} {arrays[name].shape}" for name in arrays if name not in expected]
    for name in expected.keys() & arrays.keys():
        problems += _problems(name, arrays[name], expected[name].shape)
    if problems:
        lines = "\n  ".join(_listed(sorted(problems)))
        diverged = all(problem.startswith("not finite") for problem in problems)
        cause = (
            "a training that diverged"
            if diverged
            else "weights of another network, or of one with renamed or missing layers"
        )
        raise ValueError(
            f"Expected the {len(expected)} entries of this network, got {len(arrays)} that differ:\n  {lines}\n"
            f"Usual cause: {cause}."
        )
    return unflatten({name: jnp.asarray(arrays[name], jnp.float32) for name in expected})


def channels_last(matrix: np.ndarray, channels: int) -> np.ndarray:
    """Matrix (outputs, C * S * S) that reads a flattened (C, S, S) map -> one that reads a flattened (S, S, C) map.

    PyTorch and Caffe flatten channels first, the networks here last. A matrix that fits no square map comes back as is.
    """
    side = math.isqrt(matrix.shape[1] // max(channels, 1))
    if side * side * channels != matrix.shape[1]:
        return matrix
    return matrix.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(matrix.shape)


def _listed(problems):
    """The first problems of each kind, which is what stands before the colon, and how many more there are."""
    kinds = [list(group) for _, group in itertools.groupby(problems, lambda problem: problem.partition(":")[0])]
    widths = [(shown, 100) for shown in range(_SHOWN, 0, -1)] + [(1, _LONGEST // len(kinds) - 20)]
    for shown, width in widths:
        lines = []
        for own in kinds:
            lines += [excerpt(problem, width) for problem in own[:shown]]
            if len(own) > shown:
                lines.append(f"{own[0].partition(':')[0]}: and {len(own) - shown} more")
        if sum(map(len, lines)) <= _LONGEST:
            break
    return lines


def _problems(name, array, shape):
    if array.shape != shape:
        return [f"shape: {name} expected {shape}, got {array.shape}"]
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        return [f"dtype: {name} expected numbers, got {array.dtype}"]
    if not np.isfinite(array.astype(np.float32)).all():
        return [f"not finite: {name} holds NaN or infinity"]
    return []
