"""Pytrees as arguments of jitted functions: dataclasses with static fields, and functions with bound arrays."""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial


def node(cls):
    """Frozen dataclass and pytree: fields marked `static` belong to the tree structure, all others are leaves.

    >>> @node
    ... class Scaled:
    ...     factor: float
    ...     layer: str = static()
    >>> jax.tree.leaves(Scaled(2.0, "relu1"))
    [2.0]
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    static = [f.name for f in dataclasses.fields(cls) if f.metadata.get("static")]
    leaves = [f.name for f in dataclasses.fields(cls) if not f.metadata.get("static")]
    return jax.tree_util.register_dataclass(cls, data_fields=leaves, meta_fields=static)


def static(**kwargs):
    """A dataclass field of a `node` that belongs to its tree structure, such as a name."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


def as_partial(function: Callable) -> Partial:
    """Wraps a function as a pytree, so that jitted functions accept it as an argument.

    Arguments bound by `jax.tree_util.Partial` are traced, as arrays should be; those bound by `functools.partial` are
    static.

    >>> jax.jit(lambda f, x: f(x))(as_partial(abs), -1.0).item()
    1.0
    """
    return function if isinstance(function, Partial) else Partial(function)


@dataclasses.dataclass(frozen=True)
class _Bound:
    function: Callable
    arguments: tuple
    keywords: tuple

    def __call__(self, *arguments, **keywords):
        return self.function(*self.arguments, *arguments, **dict(self.keywords) | keywords)


def hashable(function: Callable) -> Callable:
    """A `functools.partial` as a function that equals another one of equal arguments, for static arguments of a jit.

    Others, and those that bind arrays, are returned unchanged.

    >>> first, second = (hashable(functools.partial(int, base=2)) for _ in range(2))
    >>> first == second, first("101")
    (True, 5)
    """
    if type(function) is not functools.partial:
        return function
    bound = _Bound(function.func, function.args, tuple(sorted(function.keywords.items())))
    try:
        hash(bound)
    except TypeError:
        return function
    return bound


def is_module_level(function: Callable) -> bool:
    """Whether a function, or what `hashable` binds, is defined in a module: it is the same object in each call.

    >>> is_module_level(jnp.exp), is_module_level(lambda x: x)
    (True, False)
    """
    function = function.function if isinstance(function, _Bound) else function
    return "<" not in getattr(function, "__qualname__", "<") and not isinstance(function, types.MethodType)


def require_arrays(tree: Any) -> None:
    """Raises ValueError if an array of the pytree was deleted.

    >>> array = jnp.ones((2, 3))
    >>> array.delete()
    >>> require_arrays({"kernel": array})
    Traceback (most recent call last):
    ValueError: Expected a network with its arrays, got one whose array of shape (2, 3) was deleted. Usual cause: a ...
    """
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.is_deleted():
            raise ValueError(
                f"Expected a network with its arrays, got one whose array of shape {leaf.shape} was deleted. Usual "
                "cause: a training step that donates its state (donate_argnums). Make the network from the new state."
            )


def shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of a leaf of a pytree, as JAX takes it (not float64).

    >>> shape_and_dtype(np.ones((2, 3)))
    ((2, 3), dtype('float32'))
    """
    # Quickly, as each call of a method needs this of each weight.
    if isinstance(leaf, jax.Array):
        return leaf.shape, leaf.dtype
    if isinstance(leaf, np.ndarray):
        return leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)
    return jnp.shape(leaf), jnp.result_type(leaf)


def to_numpy(leaf: Any) -> np.ndarray:
    """A leaf of a pytree as an array on the host; of a random key its data.

    >>> to_numpy(jax.random.key(3)).tolist()
    [0, 3]
    """
    is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
