"""Plain functions as pytrees whose leaves are the arrays that they close over.

Compiled programs are kept for each function that a jitted function received as a constant, with its weights. With the
weights as leaves a program holds none, and serves every closure of the same code.
"""

import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

_DEPTH = 4  # of functions that close over functions; a recursive function closes over itself


def as_leaves(function: Callable) -> Partial:
    """The function as a Partial, in which floating-point JAX arrays of its closure and defaults are leaves.

    Arrays of NumPy stay constants of its program: a function may use NumPy on them.

    >>> weights = jnp.ones(3)
    >>> def make(w):
    ...     return lambda x: w * x
    >>> [leaf.shape for leaf in jax.tree.leaves(as_leaves(make(weights)))]
    [(3,)]
    """
    parts = _parts(function)
    if parts is None:
        return Partial(function)
    arrays, kept, trees = _split(parts, _DEPTH)
    return Partial(_Code(function, kept, trees), arrays)


class _Code:
    """A function without its arrays; equal for the same code with the same other contents."""

    def __init__(self, function: Callable, kept: tuple, trees: tuple):
        self.code, self.globals, self.name = function.__code__, function.__globals__, function.__name__
        # a cell without arrays stays itself, so that the function may assign to it
        cells = function.__closure__ or ()
        self.cells = tuple(c if t is None else None for c, t in zip(cells, trees[: len(cells)], strict=True))
        self.kept, self.trees = kept, trees

    def __hash__(self):
        return hash(self.code)

    def __eq__(self, other):
        if self is other:
            return True
        same = isinstance(other, _Code) and self.code is other.code and self.globals is other.globals
        return same and self.trees == other.trees and _same(self.kept, other.kept)

    def __fingerprint__(self):
        """What `io.fingerprints` describes: the function without contents, and those that are no arrays."""
        empty = tuple(types.CellType() for _ in self.cells)
        return types.FunctionType(self.code, self.globals, self.name, None, empty), self.kept

    def __call__(self, arrays, *args, **kwargs):
        parts = [_join(*part) for part in zip(arrays, self.kept, self.trees, strict=True)]
        cells = tuple(types.CellType(p) if c is None else c for c, p in zip(self.cells, parts[:-2], strict=True))
        function = types.FunctionType(self.code, self.globals, self.name, parts[-2], cells)
        function.__kwdefaults__ = parts[-1]
        return function(*args, **kwargs)


def _parts(function):
    """Contents of the cells, then the defaults; None for what is no plain function with a closure or defaults."""
    if not isinstance(function, types.FunctionType) or not (function.__closure__ or function.__defaults__):
        return None
    try:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        return None
    return [*cells, function.__defaults__, function.__kwdefaults__]


def _split(parts, depth):
    """For each part its arrays, the rest, and its structure, None where it has no arrays."""
    split = []
    for part in parts:
        leaves, tree = jax.tree.flatten(part)
        leaves = [_nested(leaf, depth) for leaf in leaves]
        arrays = [leaf if _is_dynamic(leaf) else None for leaf in leaves]
        rest = tuple(None if _is_dynamic(leaf) else leaf for leaf in leaves)
        split.append((arrays, rest, tree) if any(a is not None for a in arrays) else ([], part, None))
    arrays, kept, trees = zip(*split, strict=True)
    return list(arrays), kept, trees


def _nested(leaf, depth):
    parts = _parts(leaf) if depth else None
    if parts is None:
        return leaf
    arrays, kept, trees = _split(parts, depth - 1)
    return leaf if not any(arrays) else Partial(_Code(leaf, kept, trees), arrays)


def _join(arrays, kept, tree):
    if tree is None:
        return kept
    return jax.tree.unflatten(tree, [k if a is None else a for a, k in zip(arrays, kept, strict=True)])


def _is_dynamic(leaf):
    """Integers and scalars may be sizes or indices that Python needs to know."""
    if isinstance(leaf, Partial):
        return True
    return isinstance(leaf, jax.Array) and leaf.ndim > 0 and jnp.issubdtype(leaf.dtype, jnp.floating)


def _same(a: Any, b: Any) -> bool:
    """Whether two contents are interchangeable: mutable ones only if identical, as a function may write to them."""
    if a is b:
        return True
    if type(a) is not type(b) or type(a).__hash__ is None or isinstance(a, jax.Array):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return (a == b) is True
