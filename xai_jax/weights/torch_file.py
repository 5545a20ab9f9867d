"""Reads the tensors of PyTorch's .pth/.pt files, without torch and without executing what they hold.

Two layouts exist. Since PyTorch 1.6: a zip archive, uncompressed, with `data.pkl` and one member for each storage.
Before: five pickles one after another (magic number, protocol, system, object, storage keys), then the storages.
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from xai_jax.io.errors import reading
from xai_jax.io.files import open_regular
from xai_jax.weights import foreign, wrappers
from xai_jax.weights.torch_pickle import Foreign, Storage, Tensor, Unpickled, unpickle

ZIP_MAGIC = b"PK\x03\x04"
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_TENSORS = ("torch._utils.", "torch._tensor.")  # names of functions that build tensors begin so


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """State dictionary of a .pth/.pt file: names -> arrays; that of a checkpoint is found in it.

    Whatever stands beside the tensors, such as the arguments of the training, is passed over and never called. Raises
    ValueError for damaged files, and for files without named tensors, such as whole models, which are code.
    """
    with open_regular(path) as file, reading(path, "a PyTorch file"):
        return _read_zip(file) if file.read(4) == ZIP_MAGIC else _read_old(file)


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if kind := foreign.of_archive(members):
            raise ValueError(f"Expected a PyTorch file, got {kind}")
        if len(pickles) != 1:
            raise ValueError(f"Expected one data.pkl in the archive, got {len(pickles)}. Is it a PyTorch file?")
        _check_archive(archive.infolist(), os.fstat(file.fileno()).st_size)
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("Expected little-endian tensors, got another byte order.")
        saved = unpickle(io.BytesIO(archive.read(pickles[0])))
        return _arrays(saved, lambda storage: archive.read(f"{root}data/{storage.key}"))


def _check_archive(infos, size):
    """PyTorch stores without compression, so members together never exceed the file: no zip bombs."""
    if len({info.filename for info in infos}) != len(infos):
        raise ValueError("Expected every member of the archive once, got duplicates.")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"Expected uncompressed members, as PyTorch writes them, got {info.filename} compressed.")
    if sum(info.file_size for info in infos) > size:
        raise ValueError("Expected members no larger than the file, got overlapping ones.")


def _read_old(file):
    file.seek(0)
    stream = io.BytesIO(file.read())
    magic, protocol, system = (_plain(unpickle(stream)) for _ in range(3))
    if magic != MAGIC or protocol != PROTOCOL:
        raise ValueError(f"Expected PyTorch's magic number and protocol {PROTOCOL}, got others. Is it a plain pickle?")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("Expected little-endian tensors, got another byte order.")
    saved, keys = unpickle(stream), _plain(unpickle(stream))
    found = saved.storages
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(found):
        raise ValueError("Expected the storages that the tensors name, got others.")
    raw = {key: _read_storage(stream, found[key]) for key in keys}
    return _arrays(saved, lambda storage: raw[storage.key])


def _plain(found: Unpickled) -> Any:
    if found.foreign:
        raise _refusal(found.foreign)
    return found.value


def _refusal(name):
    return ValueError(
        f"Refused {name!r}: expected nothing but plain tensors. Usual cause: a whole model was saved, or the file "
        "is malicious; save `model.state_dict()` instead."
    )


def _read_storage(stream, storage):
    (size,) = struct.unpack("<q", stream.read(8))
    if size != storage.size:
        raise ValueError(f"Expected {storage.size} elements in storage {storage.key}, got {size}.")
    return stream.read(size * storage.dtype.itemsize)


def _arrays(saved: Unpickled, load: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    storages: dict[Storage, bytes] = {}
    state = wrappers.state_dict(saved.value, _is_tensor)
    if not state:
        _plain(saved)
        raise ValueError("Expected a state dictionary, got no named tensors. Save `model.state_dict()`.")

    def array(tensor):
        if isinstance(tensor, Foreign):
            raise ValueError(f"Expected plain tensors, got one by {tensor.name!r}. Is it sparse or quantised?")
        if tensor.storage not in storages:
            storages[tensor.storage] = _checked(tensor.storage, load(tensor.storage))
        return _view(storages[tensor.storage], tensor)

    return {name: array(tensor) for name, tensor in state.items()}


def _is_tensor(value):
    """Tensors, and those of kinds that are not read here: sparse and quantised ones, subclasses."""
    return isinstance(value, Tensor) or (isinstance(value, Foreign) and value.name.startswith(_TENSORS))


def _checked(storage, raw):
    expected = storage.size * storage.dtype.itemsize
    if len(raw) != expected:
        raise ValueError(f"Expected {expected} bytes in storage {storage.key}, got {len(raw)}. Is the file truncated?")
    if storage.dtype == bool:
        return (np.frombuffer(raw, np.uint8) != 0).tobytes()
    return raw


def _view(raw, tensor):
    """Transposed and sliced tensors are views of their storage, as in PyTorch: nothing is copied."""
    storage, offset, shape, strides = tensor
    elements = math.prod(shape)
    reach = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if elements and (reach >= storage.size or elements > storage.size):
        raise ValueError(
            f"Expected a tensor inside its storage of {storage.size} elements, got shape {shape}, strides {strides}, "
            f"offset {offset}."
        )
    if not elements:
        return np.zeros(shape, storage.dtype)
    size = storage.dtype.itemsize
    return np.ndarray(shape, storage.dtype, raw, offset * size, [stride * size for stride in strides])
