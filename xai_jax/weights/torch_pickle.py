"""Follows the pickles of PyTorch's state dictionaries without unpickling them.

A pickle is a program that may call anything. Here a small interpreter follows the few instructions that checkpoints
need and keeps records of what they describe; it has no means of calling anything the file names. Whatever is no plain
data and no plain tensor, such as the arguments of a training beside the weights, is only a `Foreign` with its name.
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
    "storage.UntypedStorage": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    **{name: np.dtype(getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2")},
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


class Foreign(NamedTuple):
    """Any other object, by the name of its class or function, which is neither imported nor called."""

    name: str


class Unpickled(NamedTuple):
    """A pickle's value, all storages that it describes, by key, and the first name that is not part of a tensor."""

    value: Any
    storages: dict[str, Storage]
    foreign: str | None


class _Stack(list):
    """The interpreter's stack, with what it has met."""

    def __init__(self):
        super().__init__()
        self.storages: dict[str, Storage] = {}
        self.foreign: str | None = None


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {*"BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINSTRING".split()}
_VALUES |= {*"SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_MOST_INSTRUCTIONS = 2_000_000  # ten times those of a large network; each may cost a hundred bytes
_LONGEST_NAME = 100


def unpickle(stream: io.BytesIO) -> Unpickled:
    """Follows one pickle up to its STOP: dictionaries, lists, numbers and text as they are, tensors as `Tensor`."""
    stack = _Stack()
    memo: dict[int, Any] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if number == _MOST_INSTRUCTIONS:
            raise ValueError(f"Expected at most {_MOST_INSTRUCTIONS} instructions in a pickle of tensors, got more.")
        if name == "STOP":
            return Unpickled(_only(stack), stack.storages, stack.foreign)
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
    if isinstance(stack[-1], list):
        stack[-1].extend(items)
    elif not isinstance(stack[-1], Foreign):
        raise ValueError(f"Expected a list to append to, got {type(stack[-1]).__name__}.")


def _set_items(stack, items):
    if isinstance(stack[-1], dict):
        stack[-1].update(_pairs(items))
    elif not isinstance(stack[-1], Foreign):
        raise ValueError(f"Expected a dictionary to fill, got {type(stack[-1]).__name__}.")


def _pairs(items):
    """Entries with a plain key; others cannot name a tensor, and a hostile key may be too large to hash."""
    pairs = zip(items[::2], items[1::2], strict=True)
    return [(key, value) for key, value in pairs if isinstance(key, str | int | float | None)]


def _global(stack, argument):
    """A name that stands for code: looked up if tensors need it, else a mere name."""
    name = argument.replace(" ", ".")[:_LONGEST_NAME]
    known = name in _CALLS or (name.startswith("torch.") and name.removeprefix("torch.") in _DTYPES)
    if not known and stack.foreign is None:
        stack.foreign = name
    stack.append(Name(name) if known else Foreign(name))


def _stack_global(stack, _):
    parts = _take(stack, 2)
    if not all(isinstance(part, str) for part in parts):  # a hostile tuple may be too large to print
        raise ValueError("Expected a module and a name as text.")
    _global(stack, " ".join(part[:_LONGEST_NAME] for part in parts))


def _reduce(stack, _):
    called, arguments = _take(stack, 2)
    if not isinstance(called, Foreign):
        if not isinstance(called, Name) or called.name not in _CALLS or not _is_tuple(arguments, 8):
            raise ValueError("Expected a tensor to be built, got another call.")
        called = _CALLS[called.name](*arguments)
    stack.append(called)


def _instance(stack, count):
    """An object of a class, with its arguments."""
    called, *_ = _take(stack, count)
    if not isinstance(called, Foreign):
        raise ValueError("Expected a class that is not part of a tensor, got the instruction NEWOBJ for another.")
    stack.append(called)


def _storage(stack, _):
    described = stack.pop()
    if not _is_tuple(described, 6) or len(described) < 5 or described[0] != "storage":
        raise ValueError("Expected the description of a storage.")
    _, dtype, key, _, size, *view = described
    if isinstance(dtype, Foreign):
        return stack.append(dtype)
    if not isinstance(dtype, Name) or not isinstance(key, str) or not _are_counts([size]):
        raise ValueError("Expected the type, key and size of a storage.")
    if any(part is not None for part in view):
        raise ValueError("Expected whole storages, got a view of one: a form PyTorch gave up before 1.0.")
    stack.storages[key] = Storage(key, _DTYPES[dtype.name.removeprefix("torch.")], size)
    stack.append(stack.storages[key])


def _tensor(storage, offset, shape, strides, *_):
    if isinstance(storage, Foreign):
        return storage
    if not isinstance(storage, Storage) or not _is_tuple(shape, 64) or not _is_tuple(strides, 64):
        raise ValueError("Expected the description of a tensor.")
    if len(shape) != len(strides) or not _are_counts([offset, *shape, *strides]):
        raise ValueError("Expected a tensor's offset, shape and strides to be whole numbers >= 0.")
    return Tensor(storage, offset, shape, strides)


def _typed_tensor(storage, offset, shape, strides, _grad, _hooks, dtype, *_):
    """The form of types without a storage class: bytes, with the type beside them."""
    if isinstance(dtype, Foreign):
        return dtype
    if not isinstance(storage, Storage) or storage.dtype != np.uint8 or not isinstance(dtype, Name):
        raise ValueError("Expected the bytes and the type of a tensor.")
    dtype = _DTYPES[dtype.name.removeprefix("torch.")]
    return _tensor(Storage(storage.key, dtype, storage.size // dtype.itemsize), offset, shape, strides)


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
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
}
# State set with BUILD is what OrderedDicts carry beside their entries, the versions of modules, or of a foreign object.
_STEPS = {
    "MARK": lambda stack, _: stack.append(_MARK),
    "TUPLE": lambda stack, _: stack.append(_take_marked(stack)),
    "POP": lambda stack, _: stack.pop(),
    "POP_MARK": lambda stack, _: _take_marked(stack),
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
    "NEWOBJ": lambda stack, _: _instance(stack, 2),
    "NEWOBJ_EX": lambda stack, _: _instance(stack, 3),
    "EMPTY_SET": lambda stack, _: stack.append(Foreign("set")),
    "ADDITEMS": lambda stack, _: _append(stack, _take_marked(stack)),
    "FROZENSET": lambda stack, _: (_take_marked(stack), stack.append(Foreign("frozenset"))),
    "BINPERSID": _storage,
}
