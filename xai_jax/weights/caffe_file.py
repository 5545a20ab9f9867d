"""Reads the weights in Caffe's .caffemodel files, without Caffe, without protobuf, without executing what they hold.

Such a file is one protocol buffer, the NetParameter of Caffe's caffe.proto: a row of fields, each a key (8 * number +
wire type, as a varint) and a value (a varint, 4 bytes, 8 bytes, or a length and that many bytes). Only the fields that
lead to the weights are looked at; no message nests deeper than net, layer, blob, shape.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_AXES = 32  # most axes that Caffe's blobs have


class _Layer(NamedTuple):
    name: int
    kind: int
    blobs: int


# The net's field of layers -> fields of a layer; Caffe changed both, and the names of its kinds.
_LAYERS = {2: _Layer(name=4, kind=5, blobs=6), 100: _Layer(name=1, kind=2, blobs=7)}
_KINDS = {15: "LRN", 17: "Pooling"}

# Fields of a blob. The first four are the shape of old files: number, channels, height, width.
_OLD_SHAPE, _FLOATS, _SHAPE, _DOUBLES = (1, 2, 3, 4), 5, 7, 8
_BLOB = dict.fromkeys(_OLD_SHAPE, (_VARINT,)) | {
    _FLOATS: (_BYTES, _FOUR),
    _SHAPE: (_BYTES,),
    _DOUBLES: (_BYTES, _EIGHT),
}

# How a net begins: with its name, or where it has none with a layer of either kind.
STARTS = (b"\x0a", b"\x12", b"\xa2\x06")


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Blobs of all layers as {"conv1.weight": array, "conv1.bias": array, ...} float32 in Caffe's layout.

    Filters are (outputs, inputs, height, width), matrices (outputs, inputs), biases (outputs,). A layer's third blob
    and those after it are named "scale1.blob2". Raises ValueError for damaged files and for files without weights.
    """
    with open_regular(path) as file, _reading(path):
        return _net(memoryview(file.read()))


def order(path: str | os.PathLike) -> str:
    """Kinds of a net's pooling and local response normalisation layers in order, like "LRN Pooling"; raises as `read`.

    Nets may differ in nothing but this.
    """
    with open_regular(path) as file, _reading(path):
        data, kinds = memoryview(file.read()), []
        for field, layer in _fields(data, dict.fromkeys(_LAYERS, (_BYTES,))):
            for _, value in _fields(layer, {_LAYERS[field].kind: (_BYTES, _VARINT)}):
                kinds.append(_KINDS.get(value, "") if isinstance(value, int) else str(value, "utf-8", "replace"))
        return " ".join(kind for kind in kinds if kind in _KINDS.values())


def is_caffe(head: bytes) -> bool:
    """Whether a file may be a Caffe model, which its first 9 bytes decide.

    >>> is_caffe(b"\\x0a\\x07AlexNet"), is_caffe(b'\\x0a\\x07\\0\\0\\0\\0\\0\\0{')
    (True, False)
    """
    return head.startswith(STARTS) and head[8:9] != b"{"


@contextlib.contextmanager
def _reading(path):
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{excerpt(path, 200)}: expected a Caffe model (.caffemodel), got a damaged one or another file: "
            f"{excerpt(error, 200)} Usual cause: an interrupted download, or a page saved in its place."
        ) from error


def _net(data):
    arrays = {}
    for field, layer in _fields(data, dict.fromkeys(_LAYERS, (_BYTES,))):
        for name, array in _layer(layer, _LAYERS[field]).items():
            if name in arrays:
                raise ValueError(f"Expected every layer once, got {name} twice.")
            arrays[name] = array
    if not arrays:
        raise ValueError("Expected layers with weights, got none.")
    return arrays


def _layer(data, numbers):
    name, blobs = "", []
    for field, value in _fields(data, dict.fromkeys((numbers.name, numbers.blobs), (_BYTES,))):
        if field == numbers.name:
            name = str(value, "utf-8")
        else:
            blobs.append(value)
    names = ("weight", "bias", *(f"blob{index}" for index in range(2, len(blobs))))
    return {f"{name}.{leaf}": _blob(blob, f"{name}.{leaf}") for leaf, blob in zip(names, blobs, strict=False)}


def _blob(data, name):
    old_shape, shape, numbers = [0, 0, 0, 0], None, {_FLOATS: bytearray(), _DOUBLES: bytearray()}
    for field, value in _fields(data, _BLOB):
        if field in _OLD_SHAPE:
            old_shape[field - 1] = value
        elif field == _SHAPE:
            shape = _shape(value, shape or [])
        else:
            numbers[field] += value
    array = _numbers(numbers)
    if shape is None:
        shape = _without_ones(old_shape, 2 if name.endswith(".weight") else 1)
    if not array.size or math.prod(shape) != array.size:
        raise ValueError(f"Expected the numbers of shape {shape} in {name:.80}, got {array.size}.")
    return array.reshape(shape)


def _numbers(numbers):
    if not numbers[_DOUBLES]:
        return np.frombuffer(numbers[_FLOATS], "<f4").astype(np.float32, copy=False)
    with np.errstate(all="ignore"):  # too large: infinity, which `weights.fit` reports by name
        return np.frombuffer(numbers[_DOUBLES], "<f8").astype(np.float32)


def _shape(data, sizes):
    """The sizes that a message adds to those already read; a blob has few axes, and may not claim millions."""
    for _, value in _fields(data, {1: (_BYTES, _VARINT)}):
        sizes = [*sizes, *([value] if isinstance(value, int) else _varints(value[: 10 * _AXES + 1]))]
        if len(sizes) > _AXES:
            raise ValueError(f"Expected at most {_AXES} axes of a blob, got more.")
    return sizes


def _without_ones(shape, least):
    """Old files write matrices as (1, 1, outputs, inputs) and biases as (1, 1, 1, outputs)."""
    leading = 4 - least if shape[: 4 - least] == [1] * (4 - least) else 0
    return shape[leading:]


def _fields(data: memoryview, known: Mapping[int, tuple[int, ...]]) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each known field in a message; `known` maps numbers to the wire types that they may have."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0 or wire not in (_VARINT, _EIGHT, _BYTES, _FOUR):
            raise ValueError(f"Expected a field, got number {number} with wire type {wire}.")
        if wire not in known.get(number, (wire,)):
            raise ValueError(f"Expected wire type {known[number]} in field {number}, got {wire}.")
        value, at = _value(data, at, wire)
        if number in known:
            yield number, value


def _value(data, at, wire):
    if wire == _VARINT:
        return _varint(data, at)
    size, at = _varint(data, at) if wire == _BYTES else ({_EIGHT: 8, _FOUR: 4}[wire], at)
    if size > len(data) - at:
        raise ValueError(f"Expected {size} bytes more, got {len(data) - at}.")
    return data[at : at + size], at + size


def _varints(data):
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _varint(data, at):
    """Seven bits in each byte, the lowest first; the last byte is below 128. At most ten bytes, for 64 bits."""
    value = 0
    for index, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    raise ValueError("Expected a number of at most ten bytes, got a longer or unfinished one.")
