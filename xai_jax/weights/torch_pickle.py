"""Follows the pickles of PyTorch's state dictionaries without unpickling them.

A pickle is a program that may call anything. Here a small interpreter follows the few instructions that state
dictionaries need and keeps records of what they describe; it has no means of calling anything the file names. A name
that is not part of a plain tensor is refused with that name.
"""

import io
import pickletools
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class Storage(NamedTuple):
    """Numbers in a file of the archive: its key, their type, and how many."""

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A view of a storage: where it begins, its shape, and its strides, counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(NamedTuple):
    """Something the pickle refers to by name: looked up in a table here, never imported."""

    name: str


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {*"BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINSTRING SHORT_BINSTRING".split()}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_MOST_INSTRUCTIONS = 2_000_000  # ten times those of a large network; each may cost a hundred bytes
_LONGEST_NAME = 100


def unpickle(stream: io.BytesIO) -> Any:
    """Follows one pickle up to its STOP: containers, numbers and strings as they are, tensors as `Tensor`."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if number == _MOST_INSTRUCTIONS:
            raise ValueError(f"Expected at most {_MOST_INSTRUCTIONS} instructions in a pickle of tensors, got more.")
        if name == "STOP":
            return _only(stack)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(argument)
        elif name in _TUPLES:
            stack.append(_take(stack, _TUPLES[name]))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _STEPS:
            _STEPS[name](stack, argument)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"Expected a pickle of tensors, got the instruction {name}.")
    raise ValueError("Expected a pickle that stops, got one that does not.")


def _only(stack):
    if len(stack) != 1:
        raise ValueError(f"Expected one object in the pickle, got {len(stack)}.")
    return stack[0]


def _take(stack, count):
    if len(stack) < count:
        raise ValueError("Expected more values on the pickle's stack.")
    start = len(stack) - count
    taken = tuple(stack[start:])
    del stack[start:]
    return taken


def _take_marked(stack):
    for count, value in enumerate(reversed(stack)):
        if value is _MARK:
            taken = _take(stack, count)
            stack.pop()
            return taken
    raise ValueError("Expected a mark on the pickle's stack.")


def _append(stack, items):
    if not isinstance(stack[-1], list):
        raise ValueError(f"Expected a list to append to, got {type(stack[-1]).__name__}.")
    stack[-1].extend(items)


def _set_items(stack, items):
    if not isinstance(stack[-1], dict):
        raise ValueError(f"Expected a dictionary to fill, got {type(stack[-1]).__name__}.")
    stack[-1].update(_pairs(items))


def _pairs(items):
    keys, values = items[::2], items[1::2]
    if not all(isinstance(key, str | int) for key in keys):
        raise ValueError("Expected names as keys of a dictionary.")
    return zip(keys, values, strict=True)


def _global(stack, argument):
    """A name that stands for code: kept if tensors need it, refused otherwise."""
    name = argument.replace(" ", ".")[:_LONGEST_NAME]
    if name not in _CALLS and not (name.startswith("torch.") and name.removeprefix("torch.") in _DTYPES):
        raise ValueError(
            f"Refused {name!r}: expected nothing but plain tensors. Usual cause: a whole model was saved, or the file "
            "is malicious; save `model.state_dict()` instead."
        )
    stack.append(Name(name))


def _stack_global(stack, _):
    parts = _take(stack, 2)
    if not all(isinstance(part, str) for part in parts):  # a hostile tuple may be too large to print
        raise ValueError("Expected a module and a name as text.")
    _global(stack, " ".join(part[:_LONGEST_NAME] for part in parts))


def _reduce(stack, _):
    called, arguments = _take(stack, 2)
    if not isinstance(called, Name) or called.name not in _CALLS or not _is_tuple(arguments, 8):
        raise ValueError("Expected a tensor to be built, got another call.")
    stack.append(_CALLS[called.name](*arguments))


def _storage(stack, _):
    described = stack.pop()
    if not _is_tuple(described, 6) or len(described) < 5 or described[0] != "storage":
        raise ValueError("Expected the description of a storage.")
    _, dtype, key, _, size, *view = described
    if not isinstance(dtype, Name) or not isinstance(key, str) or not _are_counts([size]):
        raise ValueError("Expected the type, key and size of a storage.")
    if any(part is not None for part in view):
        raise ValueError("Expected whole storages, got a view of one: a form PyTorch gave up before 1.0.")
    stack.append(Storage(key, _DTYPES[dtype.name.removeprefix("torch.")], size))


def _tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, Storage) or not _is_tuple(shape, 64) or not _is_tuple(strides, 64):
        raise ValueError("Expected the description of a tensor.")
    if len(shape) != len(strides) or not _are_counts([offset, *shape, *strides]):
        raise ValueError("Expected a tensor's offset, shape and strides to be whole numbers >= 0.")
    return Tensor(storage, offset, shape, strides)


def _is_tuple(value, most):
    """Bounded, because a hostile file may name one long tuple a million times."""
    return isinstance(value, tuple) and len(value) <= most


def _are_counts(numbers):
    return all(type(number) is int and 0 <= number < 2**62 for number in numbers)


def _ordered(pairs=()):
    """Files written by Python 2 hand the entries over as one list, used once."""
    if not pairs:
        return {}
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise ValueError("Expected an ordered dictionary of a list of pairs.")
    items = [part for pair in pairs for part in pair]
    pairs.clear()
    return dict(_pairs(items))


_CALLS = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
}
# State set with BUILD is what OrderedDicts carry beside their entries: the versions of modules.
_STEPS = {
    "MARK": lambda stack, _: stack.append(_MARK),
    "TUPLE": lambda stack, _: stack.append(_take_marked(stack)),
    "EMPTY_LIST": lambda stack, _: stack.append([]),
    "EMPTY_DICT": lambda stack, _: stack.append({}),
    "APPEND": lambda stack, _: _append(stack, _take(stack, 1)),
    "APPENDS": lambda stack, _: _append(stack, _take_marked(stack)),
    "SETITEM": lambda stack, _: _set_items(stack, _take(stack, 2)),
    "SETITEMS": lambda stack, _: _set_items(stack, _take_marked(stack)),
    "BUILD": lambda stack, _: stack.pop(),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BINPERSID": _storage,
}
