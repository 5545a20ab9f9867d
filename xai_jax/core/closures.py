"""Callables as pytrees whose leaves are the arrays that they hold.

Compiled programs are kept for each callable that a jitted function received as a constant, with its weights. With the
weights as leaves a program holds none, and serves every closure of the same code.
"""

import abc
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from xai_jax.core.per_image import PerImage, is_per_image
from xai_jax.core.pytrees import node, static

_DEPTH = 4  # of callables that hold callables; a recursive function closes over itself
_SPECIAL = {"__new__", "__getattribute__", "__getattr__", "__setattr__", "__reduce__", "__reduce_ex__"}
_SPECIAL |= {"__getstate__", "__setstate__", "__del__"}


def as_leaves(function: Callable) -> Partial:
    """The callable as a Partial, in which the floating-point JAX arrays that it holds are leaves.

    Opens closures, defaults, bound methods, `functools.partial` and objects of plain Python classes. Arrays of NumPy
    stay constants of its program: the callable may use NumPy on them.

    >>> weights = jnp.ones(3)
    >>> def make(w):
    ...     return lambda x: w * x
    >>> [leaf.shape for leaf in jax.tree.leaves(as_leaves(make(weights)))]
    [(3,)]
    """
    opened = _opened(function, _DEPTH)
    if opened is None or opened.shell.build is _object and not any(opened.arrays):
        return Partial(function)
    return Partial(opened.shell, opened.arrays)


class _Contents(NamedTuple):
    """How a callable or object is built again: `build(code, parts)`."""

    build: Callable
    code: tuple
    parts: list
    cells: tuple = ()


class _Shell:
    """A callable or object without its arrays; equal for the same code with the same other contents."""

    def __init__(self, contents: _Contents, kept: tuple, trees: tuple):
        self.build, self.code = contents.build, contents.code
        # A cell without arrays stays itself, so that the function may assign to it.
        self.cells = tuple(c if t is None else None for c, t in zip(contents.cells, trees, strict=False))
        self.kept, self.trees = kept, trees

    def __hash__(self):
        return hash((self.build, id(self.code[0])))

    def __eq__(self, other):
        if self is other:
            return True
        same = isinstance(other, _Shell) and self.build is other.build
        same = same and all(a is b for a, b in zip(self.code, other.code, strict=True))
        return same and self.trees == other.trees and _same(self.kept, other.kept)

    def __fingerprint__(self):
        """What `io.fingerprints` describes: the code, and the contents that are no arrays."""
        empty = [types.CellType() for _ in self.cells]
        code = self.build(self.code, [*empty, None, ()]) if self.build is _function else self.code
        return self.build.__name__, code, self.kept

    def __call__(self, arrays, *args, **kwargs):
        return self.filled(arrays)(*args, **kwargs)

    def filled(self, arrays):
        parts = [_join(*part) for part in zip(arrays, self.kept, self.trees, strict=True)]
        kept_cells = dict(enumerate(self.cells))
        return self.build(self.code, [p if kept_cells.get(i) is None else kept_cells[i] for i, p in enumerate(parts)])


@node
class _Opened:
    """A callable or object that holds arrays, among the contents of another."""

    arrays: list
    shell: _Shell = static()


def _contents(value):
    """None for what is not opened."""
    if isinstance(value, types.FunctionType):
        cells = value.__closure__ or ()
        try:
            parts = [cell.cell_contents for cell in cells]
        except ValueError:  # a cell that is still empty
            return None
        parts += _defaults(value)
        return _Contents(_function, (value.__code__, value.__globals__, value.__name__), parts, cells)
    if isinstance(value, types.MethodType):
        return _Contents(_method, (value.__func__,), [value.__self__])
    if isinstance(value, functools.partial):
        return _Contents(_partial, (type(value),), [value.func, value.args, tuple(value.keywords.items())])
    if _is_plain(type(value)):
        return _Contents(_object, (type(value),), [vars(value)])
    return None


def _defaults(function):
    return function.__defaults__, tuple((function.__kwdefaults__ or {}).items())


def _function(code, parts):
    *cells, defaults, keyword_defaults = parts
    cells = tuple(c if isinstance(c, types.CellType) else types.CellType(c) for c in cells)
    function = types.FunctionType(*code, defaults, cells)
    function.__kwdefaults__ = dict(keyword_defaults)
    return function


def _method(code, parts):
    return types.MethodType(*code, *parts)


def _partial(code, parts):
    function, args, keywords = parts
    return code[0](function, *args, **dict(keywords))


def _object(code, parts):
    made = object.__new__(*code)
    vars(made).update(*parts)
    return made


@functools.lru_cache(maxsize=256)
def _is_plain(cls):
    """Whether an object is nothing but its `__dict__`, so that a copy with other contents behaves the same way."""
    if cls is object or type(cls) is not type and not issubclass(type(cls), abc.ABCMeta):
        return False
    if any(_SPECIAL & vars(base).keys() or vars(base).get("__slots__") for base in cls.__mro__[:-1]):
        return False
    try:
        return hasattr(object.__new__(cls), "__dict__")
    except TypeError:  # a class of C, or one with abstract methods
        return False


def _opened(value, depth):
    """An `_Opened`, or None for what cannot be opened."""
    contents = _contents(value) if depth else None
    if contents is None:
        return None
    arrays, kept, trees = zip(*(_split(part, depth - 1) for part in contents.parts), strict=True)
    return _Opened(list(arrays), _Shell(contents, kept, trees))


def _split(part, depth):
    """Its arrays, the rest, and its structure, None where it has no arrays."""
    leaves, tree = jax.tree.flatten(part, is_leaf=is_per_image)
    arrays = [leaf if _is_array(leaf) else _with_arrays(_opened(leaf, depth)) for leaf in leaves]
    if all(a is None for a in arrays):
        return [], part, None
    return arrays, tuple(leaf if a is None else None for leaf, a in zip(leaves, arrays, strict=True)), tree


def _with_arrays(opened):
    return opened if opened is not None and any(opened.arrays) else None


def _join(arrays, kept, tree):
    if tree is None:
        return kept
    arrays = [a.shell.filled(a.arrays) if isinstance(a, _Opened) else a for a in arrays]
    return jax.tree.unflatten(tree, [k if a is None else a for a, k in zip(arrays, kept, strict=True)])


def _is_array(leaf):
    """Integers and scalars may be sizes or indices that Python needs to know."""
    if isinstance(leaf, PerImage):
        return True
    return isinstance(leaf, jax.Array) and leaf.ndim > 0 and jnp.issubdtype(leaf.dtype, jnp.floating)


def _same(a: Any, b: Any) -> bool:
    """Whether two contents are interchangeable: mutable ones only if identical, as a function may write to them."""
    if a is b:
        return True
    if type(a) is not type(b) or type(a).__hash__ is None or isinstance(a, jax.Array):
        return False
    if isinstance(a, types.FunctionType) and not a.__closure__ and not b.__closure__:
        return a.__code__ is b.__code__ and a.__globals__ is b.__globals__ and _same(*map(_defaults, (a, b)))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return (a == b) is True
