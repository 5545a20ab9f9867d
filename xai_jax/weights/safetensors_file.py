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

import itertools
import math
import os
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from xai_jax.io import checksums
from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular, write_atomically
from xai_jax.weights import caffe_file, torch_file

_SHOWN = 5  # problems of each kind in a message
_HEAD = 9  # bytes that identify the format


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Entries of a safetensors, PyTorch .pth/.pt or Caffe .caffemodel file, recognised by content; executes nothing.

    Raises FileNotFoundError, and ValueError for damaged, unknown or malicious files.
    """
    with open_regular(path) as file:
        head = file.read(_HEAD)
    if head[8:] == b"{":  # before it stands a length, which may begin with the bytes of other formats
        return checksums.read(path)[0]
    if head.startswith((torch_file.ZIP_MAGIC, b"\x80")):
        return torch_file.read(path)
    if head.startswith(caffe_file.STARTS):
        return caffe_file.read(path)
    raise ValueError(
        f"{excerpt(path)}: expected safetensors, a PyTorch .pth/.pt or a Caffe .caffemodel file, got one that starts "
        f"with {head!r}. Usual cause: a download that saved an error page or a placeholder."
    )


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

    Raises one ValueError that lists missing, unexpected, wrongly shaped and non-finite entries, a few of each.
    """
    expected = flatten(expected)
    problems = [f"missing: {name} {shape.shape}" for name, shape in expected.items() if name not in arrays]
    problems += [f"unexpected: {name} {arrays[name].shape}" for name in arrays if name not in expected]
    for name in expected.keys() & arrays.keys():
        problems += _problems(name, arrays[name], expected[name].shape)
    if problems:
        lines = "\n  ".join(_listed(sorted(problems)))
        raise ValueError(
            f"Expected the {len(expected)} entries of this network, got {len(arrays)} that differ:\n  {lines}\n"
            "Usual cause: weights of another network, or another number of classes."
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
    for kind, group in itertools.groupby(problems, lambda problem: problem.partition(":")[0]):
        own = list(group)
        yield from (excerpt(problem, 160) for problem in own[:_SHOWN])
        if len(own) > _SHOWN:
            yield f"{kind}: and {len(own) - _SHOWN} more"


def _problems(name, array, shape):
    if array.shape != shape:
        return [f"shape: {name} expected {shape}, got {array.shape}"]
    if not np.issubdtype(array.dtype, np.number) and array.dtype != ml_dtypes.bfloat16:
        return [f"dtype: {name} expected numbers, got {array.dtype}"]
    if not np.isfinite(array.astype(np.float32)).all():
        return [f"not finite: {name} holds NaN or infinity"]
    return []
