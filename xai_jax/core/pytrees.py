"""Pytrees as arguments of jitted functions: dataclasses with static fields, and functions with bound arrays."""

import dataclasses
from collections.abc import Callable

import jax
from jax.tree_util import Partial


def node(cls):
    """Frozen dataclass and pytree: fields marked `static` belong to the tree structure, all others are leaves."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    static = [f.name for f in dataclasses.fields(cls) if f.metadata.get("static")]
    leaves = [f.name for f in dataclasses.fields(cls) if not f.metadata.get("static")]
    return jax.tree_util.register_dataclass(cls, data_fields=leaves, meta_fields=static)


def static(**kwargs):
    """A dataclass field of a `node` that belongs to its tree structure."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


def as_partial(function: Callable) -> Partial:
    """Wraps a function as a pytree, so that jitted functions accept it as an argument.

    Arguments bound by `jax.tree_util.Partial` are traced, as arrays should be; those bound by `functools.partial` are
    static.
    """
    return function if isinstance(function, Partial) else Partial(function)
