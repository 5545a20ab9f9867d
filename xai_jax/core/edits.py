"""Edits of an activation by `xai_jax.core.network`, which refuse what cannot be meant.

>>> activation = jnp.ones((1, 2))
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import indices
from xai_jax.core.arguments import broadcasts
from xai_jax.core.messages import quoted


def numbers(value: Any) -> Array:
    """Validates the value of an edit; anything that NumPy makes an array of real numbers of.

    >>> numbers([1, 2])
    array([1, 2])
    """
    array = value if isinstance(value, jax.Array | np.ndarray) else np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise ValueError(f"Expected numbers in place of an activation, got {array.dtype} {quoted(value)}.")
    return array


def replaced(activation: Array, value: Array) -> Array:
    """The value, of the activation's shape, in its dtype.

    >>> replaced(activation, np.zeros((1, 2))).tolist()
    [[0.0, 0.0]]
    """
    value = jnp.asarray(value).astype(activation.dtype)
    if activation.shape != value.shape:
        raise ValueError(f"Expected an activation of shape {activation.shape}, got {value.shape}.")
    return value


def added(activation: Array, delta: Array) -> Array:
    """Activation plus `delta`, which broadcasts to it.

    >>> added(activation, np.array([1, 2])).tolist()
    [[2.0, 3.0]]
    """
    delta = jnp.asarray(delta).astype(activation.dtype)
    if not broadcasts(delta.shape, activation.shape):
        raise ValueError(f"Expected a perturbation that broadcasts to {activation.shape}, got {delta.shape}.")
    return activation + delta


def zeroed(activation: Array, channels: Array) -> Array:
    """Activation with some channels set to zero; all NaN for channels out of range that are known to the device only.

    >>> zeroed(activation, np.array([1])).tolist()
    [[1.0, 0.0]]
    """
    check_channels(activation.shape, channels)
    edited = activation.at[..., channels].set(0)
    if not isinstance(channels, jax.core.Tracer):
        return edited
    within = ((channels >= 0) & (channels < activation.shape[-1])).all()
    return jnp.where(within, edited, jnp.asarray(jnp.nan, activation.dtype))


def check_channels(shape: tuple[int, ...], channels: Array) -> None:
    """Raises ValueError for channels that an activation of that shape does not have, as far as they are known.

    >>> check_channels((1, 8), np.array([99]))
    Traceback (most recent call last):
    ValueError: Expected a channel between 0 and 7, got 99. The layer has 8 channels.
    """
    if shape and channels.size:
        indices.check_index("channel", channels, len(channels), shape[-1], "The layer has {} channels.")


def channel_indices(channels: Iterable[int] | int) -> Array:
    """Validates channels, one or several, and converts them to int32 (n,).

    >>> channel_indices(range(2))
    array([0, 1], dtype=int32)
    """
    if not isinstance(channels, jax.Array | np.ndarray | str) and hasattr(channels, "__iter__"):
        channels = list(channels)
    if not isinstance(channels, jax.core.Tracer) and np.size(channels) == 0:
        return np.zeros(0, np.int32)
    found = indices.integers(channels, "channel")
    return found.reshape(1) if found.ndim == 0 else found
