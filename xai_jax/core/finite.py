"""Checks for NaN and infinity, image by image, with one look at the device. Values that are being traced pass."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def first_bad(tree: Any) -> int | None:
    """Index of the first image for which an array (N, ...) of a pytree has NaN or infinity, None if there is none.

    >>> first_bad([jnp.ones((3, 2)), jnp.array([1.0, jnp.inf, jnp.nan])])
    1
    """
    leaves = _inexact(tree)
    if not leaves or any(isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct) for leaf in leaves):
        return None
    on_host = all(isinstance(leaf, np.ndarray) for leaf in leaves)
    with jax.ensure_compile_time_eval():  # also of images that a function under jit closes over
        bad = np.asarray(bad_rows(leaves, lambda leaf: ~np.isfinite(leaf)) if on_host else _bad_rows(leaves))
    return int(bad.argmax()) if bad.any() else None


def not_finite(array: Array) -> Array:
    """Where an array is NaN or infinite, of the same shape.

    >>> not_finite(jnp.array([1.0, jnp.inf])).tolist()
    [False, True]
    """
    return ~jnp.isfinite(array)


def bad_rows(tree: Any, is_bad: Callable[[Array], Array] = not_finite) -> Array:
    """For each image whether an array (N, ...) of a pytree has NaN or infinity, or `is_bad` values.

    >>> bad_rows(jnp.array([[1.0, 2.0], [jnp.inf, 0.0]])).tolist()
    [False, True]
    """
    rows = [is_bad(leaf).reshape(leaf.shape[0], -1).any(1) for leaf in _inexact(tree)]
    return functools.reduce(operator.or_, rows) if rows else np.zeros((), bool)


_bad_rows = jax.jit(bad_rows)


def _inexact(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
