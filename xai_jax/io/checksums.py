"""Files with a checksum, so that a byte that changed on disk is noticed and no figure is made of it."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

SEAL = "sha256"  # the checksum's name in the header


def pack(arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> bytes:
    """A safetensors file of arrays, with text about them and a checksum of both in its header.

    Raises ValueError for dtypes that it cannot hold.
    """
    try:
        return safetensors.numpy.save(dict(arrays), {**about, SEAL: checksum(arrays, about)})
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(f"Expected arrays of numbers that safetensors can hold: {error}") from error


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the text of a safetensors file; others' files have no checksum and are taken as they are.

    Raises FileNotFoundError, and ValueError for damaged files.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise ValueError(f"{path}: damaged safetensors file ({error}).") from error
    seal = about.pop(SEAL, None)
    if seal is not None and seal != checksum(arrays, about):
        raise ValueError(
            f"{path}: damaged file: expected content with the checksum in its header, got other content. Usual causes: "
            "a failing disk, or a file that was edited. Remove it to have it made again."
        )
    return arrays, about


def checksum(arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> str:
    """SHA-256 of the names, shapes, dtypes and values of arrays, and of the text about them, in any order."""
    found = hashlib.sha256()
    for name, text in sorted(about.items()):
        found.update(f"{name!r}: {text!r}\n".encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name!r}: {array.shape} {array.dtype}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a checksum of all that it holds."""
    return {**record, SEAL: _of_json(record)}


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object, read back, holds what it was sealed with; one that was never sealed is taken as it is."""
    return SEAL not in record or record[SEAL] == _of_json({key: record[key] for key in record if key != SEAL})


def _of_json(record):
    return sha256(json.dumps(record, sort_keys=True).encode())
