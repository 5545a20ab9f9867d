"""Indices of classes, channels and positions: one for all images, or one for each image, (N,)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core.messages import quoted


def integers(value: Any, name: str) -> Array:
    """Validates an index or (N,) indices and converts them to int32.

    >>> integers([2, 3], "class").dtype
    dtype('int32')
    """
    if isinstance(value, jax.core.Tracer):
        return value
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim > 1:
        raise ValueError(f"Expected a {name} index, an int or an (N,) array of ints, got {quoted(value)}.")
    return array.astype(np.int32)


def pick(values: Array, index: Array) -> Array:
    """Entry `index` of the last axis, one for all rows or one for each.

    >>> pick(jnp.arange(6.0).reshape(2, 3), jnp.array([0, 2])).tolist()
    [0.0, 5.0]
    """
    index = jnp.asarray(index).astype(jnp.int32)
    if index.ndim == 0:
        return jax.lax.dynamic_index_in_dim(values, index, axis=-1, keepdims=False)
    index = index.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.take_along_axis(values, index, axis=-1)[..., 0]


def rows(index: Array, selection: slice) -> Array:
    """The indices of some images; an index for all images stays as it is.

    >>> rows(np.array([4, 5, 6]), slice(1, 3)).tolist()
    [5, 6]
    """
    return index if index.ndim == 0 else index[selection]


def check_index(name: str, index: Array, n: int, size: int, has: str) -> None:
    """Raises ValueError for an index out of range.

    >>> check_index("class", np.array(9), 1, 5, "The network has {} classes.")
    Traceback (most recent call last):
    ValueError: Expected a class between 0 and 4, got 9. The network has 5 classes.

    Args:
      name: what is indexed.
      index: an index, or one for each image, (N,).
      n: number of images.
      size: number of valid indices.
      has: a sentence about the size, with {} for it.

    Raises:
      ValueError: an index is out of range, or their number is not N.
    """
    if index.ndim == 1 and index.shape[0] != n:
        raise ValueError(f"Expected one {name} for all or one for each of {n} images, got {index.shape[0]}.")
    if isinstance(index, jax.core.Tracer):
        return
    wrong = np.atleast_1d(index)[(np.atleast_1d(index) < 0) | (np.atleast_1d(index) >= size)]
    if wrong.size and size == 1:
        raise ValueError(f"Expected {name} 0, the only one, got {wrong[0]}.")
    if wrong.size:
        raise ValueError(f"Expected a {name} between 0 and {size - 1}, got {wrong[0]}. {has.replace('{}', str(size))}")
