"""Files with checksums, so that corruption on disk is detected before results are computed from it."""

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from xai_jax.io.errors import excerpt, reading
from xai_jax.io.files import open_regular, user_path

CHECKSUM = "sha256"  # name of the checksum in headers and JSON objects

# Types of safetensors that NumPy lacks, and with it that library.
_FLOAT8 = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of arrays and text metadata, with a checksum of both in its header.

    Raises ValueError for dtypes that safetensors does not support, and for names that the format reserves.

    >>> b'"layer":"conv1"' in pack({"vector": np.ones(3)}, {"layer": "conv1"})
    True
    """
    if "__metadata__" in arrays or CHECKSUM in metadata:
        raise ValueError(f"Expected no array '__metadata__' and no metadata {CHECKSUM!r}: the format uses these names.")
    native = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}
    try:
        return safetensors.numpy.save(native, {**metadata, CHECKSUM: checksum(native, metadata)})
    except (safetensors.SafetensorError, KeyError, UnicodeEncodeError) as error:
        raise ValueError(f"Expected arrays of numbers that safetensors can hold: {excerpt(error)}") from error


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file; files of other programs, without a checksum, are accepted.

    Raises FileNotFoundError, and ValueError for damaged files.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "cav.safetensors")
    ...     _ = path.write_bytes(pack({"vector": np.ones(3)}, {"layer": "conv1"}))
    ...     read(path)
    ({'vector': array([1., 1., 1.])}, {'layer': 'conv1'})
    """
    path = user_path(path)
    open_regular(path).close()
    with reading(path, "a safetensors file"):
        arrays, metadata = _content(path)
    expected = metadata.pop(CHECKSUM, None)
    if expected is not None and expected != checksum(arrays, metadata):
        raise ValueError(
            f"{excerpt(path)}: damaged file: expected content with the checksum in its header, got other content. "
            "Usual causes: a failing disk, or a file that was edited. Remove it to have it made again."
        )
    return arrays, metadata


def _content(path):
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = file.keys()
            return {name: _array(file, name, path) for name in names}, file.metadata() or {}
    except safetensors.SafetensorError as error:
        if found := re.search(r"unknown variant `(\w{1,40})`, expected one of `BOOL`", str(error)):
            raise ValueError(f"Expected numbers of a known type, got {found[1]}. Convert them to float32.") from error
        raise


def _array(file, name, path):
    dtype = str(file.get_slice(name).get_dtype())
    if dtype.startswith(("F4", "F6_")):
        raise ValueError(f"Expected numbers of 8 bits or more in {name:.80}, got {dtype}. Convert them to float16.")
    return _float8(path, name, _FLOAT8[dtype]) if dtype in _FLOAT8 else file.get_tensor(name)


def _float8(path, name, dtype):
    """An entry of a file whose header safetensors has checked."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(size))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        return np.frombuffer(file.read(end - begin), dtype).reshape(entry["shape"])


def checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the names, shapes, dtypes and values of arrays and of their metadata, independent of their order.

    >>> a, b = np.zeros(2), np.ones(3)
    >>> checksum({"a": a, "b": b}, {}) == checksum({"b": b, "a": a}, {})
    True
    """
    found = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        found.update(f"{name!r}: {text!r}\n".encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name!r}: {array.shape} {array.dtype}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal digits.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: str | os.PathLike) -> str:
    """The same of a file's content, which need not fit into memory; raises ValueError as `open_regular`.

    >>> sha256_of_file("/dev/zero")
    Traceback (most recent call last):
    ValueError: /dev/zero: expected a file, got a device, a pipe or a directory.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a checksum of its content.

    >>> list(with_checksum({"title": "Curve"}))
    ['title', 'sha256']
    """
    return {**record, CHECKSUM: _of_json(record)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object agrees with its checksum; True for objects without one.

    >>> is_intact(with_checksum({"title": "Curve"})), is_intact(with_checksum({"title": "Curve"}) | {"title": "Other"})
    (True, False)
    """
    content = {key: value for key, value in record.items() if key != CHECKSUM}
    return CHECKSUM not in record or record[CHECKSUM] == _of_json(content)


def _of_json(record):
    return sha256(json.dumps(record, sort_keys=True).encode())
