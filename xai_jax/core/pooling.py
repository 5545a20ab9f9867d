"""Max-pooling with explicit switches (Zeiler & Fergus 2014, section 2.1).

A switch is the position of the maximum in its window. `max_pool` keeps switches for its backward pass, which is much
faster on CPU than XLA's own (select-and-scatter); `max_pool_with_switches` returns them. Ties are resolved in favour of
the first element in row-major order, and overlapping windows add, as in XLA and PyTorch.

>>> x = jnp.array([[1.0, 5.0, 2.0, 0.0], [0.0, 3.0, 0.0, 4.0]]).reshape(1, 2, 4, 1)
>>> values, switches = max_pool_with_switches(x, 2)
"""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core.messages import quoted

Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["index"], meta_fields=["size", "window", "strides", "padding"]
)
@dataclasses.dataclass(frozen=True)
class Switches:
    """Positions of the maxima: `index` (N, rows, columns, C) int32 is row-major within each window.

    `size` is the (H, W) of the pooled map; window, strides and padding are pairs. Switches of one image may be applied
    to another: replace `index`, or slice it along N.
    """

    index: Array
    size: Pair
    window: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    def positions(self) -> tuple[Array, Array]:
        """Row and column of every maximum in the pooled map: two (N, rows, columns, C) int32 arrays.

        >>> [each.ravel().tolist() for each in switches.positions()]
        [[0, 1], [1, 3]]
        """
        rows, columns = self.index.shape[1:3]
        row = jnp.arange(rows, dtype=jnp.int32)[:, None, None] * self.strides[0] - self.padding[0][0]
        column = jnp.arange(columns, dtype=jnp.int32)[:, None] * self.strides[1] - self.padding[1][0]
        return row + self.index // self.window[1], column + self.index % self.window[1]


def max_pool(x: Array, window: int | Pair, strides: int | Pair | None = None, padding: Padding = "VALID") -> Array:
    """Max-pooling with a fast backward pass.

    >>> max_pool(x, 2).ravel().tolist()
    [5.0, 4.0]

    Args:
      x: maps (N, H, W, C).
      window: height and width of the window, or one number for both.
      strides: vertical and horizontal stride, or one number for both; None for the window.
      padding: "VALID", "SAME" or ((top, bottom), (left, right)), filled with -infinity.

    Returns:
      Maps (N, rows, columns, C).

    Raises:
      ValueError: the map is smaller than the window, or the padding is not smaller than it.
    """
    window, strides, padding = _geometry(x, window, strides, padding)
    return _max_pool(x, x.shape[1:3], window, strides, padding)


def max_pool_with_switches(
    x: Array, window: int | Pair, strides: int | Pair | None = None, padding: Padding = "VALID"
) -> tuple[Array, Switches]:
    """Max-pooling that also returns its switches.

    >>> max_pool_with_switches(x, 2)[1].index.ravel().tolist()
    [1, 3]

    Args, Returns, Raises: as in `max_pool`; returns values and `Switches`.
    """
    window, strides, padding = _geometry(x, window, strides, padding)
    values, index = _max_and_index(x, window, strides, padding)
    return values, Switches(index.astype(jnp.int32), x.shape[1:3], window, strides, padding)


def unpool(values: Array, switches: Switches) -> Array:
    """Puts values (N, rows, columns, C) at their switches: (N, H, W, C), zero elsewhere, overlapping windows added.

    The transpose of `pool_at`. Raises ValueError if values and switches differ in shape.

    >>> unpool(values, switches)[0, ..., 0].tolist()
    [[0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]]
    """
    if values.shape != switches.index.shape:
        raise ValueError(f"Expected values of the switches' shape {switches.index.shape}, got {values.shape}.")
    return _route(values, switches.index, switches.size, switches.window, switches.strides, switches.padding)


def pool_at(x: Array, switches: Switches) -> Array:
    """Pools maps (N, H, W, C) at given switches, for example those of another image: (N, rows, columns, C).

    >>> pool_at(10 * x, switches).ravel().tolist()
    [50.0, 40.0]
    """
    if (*switches.size, switches.index.shape[-1]) != x.shape[1:]:
        raise ValueError(f"Expected a map of {(*switches.size, switches.index.shape[-1])} behind N, got {x.shape[1:]}.")
    if switches.index.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"Expected switches of one map or of {x.shape[0]}, got those of {switches.index.shape[0]}.")
    row, column = switches.positions()
    row, column = jnp.clip(row, 0, x.shape[1] - 1), jnp.clip(column, 0, x.shape[2] - 1)
    batch = jnp.arange(x.shape[0])[:, None, None, None]
    return x[batch, row, column, jnp.arange(x.shape[3])]


def _geometry(x, window, strides, padding):
    window = _pair(window, "window")
    strides = window if strides is None else _pair(strides, "strides")
    if x.ndim != 4:
        raise ValueError(f"Expected maps (N, H, W, C), got shape {x.shape}.")
    if not isinstance(padding, str):
        padding = tuple((int(low), int(high)) for low, high in padding)
    elif padding in ("SAME", "VALID"):
        padding = tuple(lax.padtype_to_pads(x.shape[1:3], window, strides, padding))
    else:
        raise ValueError(f"Expected padding 'VALID', 'SAME' or two pairs, got {quoted(padding)}.")
    if any(n + sum(p) < w for n, p, w in zip(x.shape[1:3], padding, window, strict=True)):
        raise ValueError(
            f"Expected a map at least as large as the window {window}, got {x.shape[1:3]} with {padding=}."
        )
    if any(min(p) < 0 or max(p) >= w for p, w in zip(padding, window, strict=True)):
        raise ValueError(f"Expected padding between 0 and less than the window {window}, got {padding}.")
    return window, strides, padding


def _pair(value: Any, name: str) -> Pair:
    pair = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"Expected {name} to be one or two positive integers, got {quoted(value)}.")
    return int(pair[0]), int(pair[1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(x, size, window, strides, padding):
    del size
    return _max_and_index(x, window, strides, padding)[0]


def _forward(x, size, window, strides, padding):
    del size
    return _max_and_index(x, window, strides, padding)


def _backward(size, window, strides, padding, index, gradient):
    return (_route(gradient, index, size, window, strides, padding),)


_max_pool.defvjp(_forward, _backward)


_UNROLL = 64  # unrolling larger windows gives programs that take minutes to compile


def _max_and_index(x, window, strides, padding):
    by = _by_slices if window[0] * window[1] <= _UNROLL else _by_reduction
    return by(x, window, strides, padding)


def _by_slices(x, window, strides, padding):
    """Maximum and its position by comparing the window's strided slices in turn: one fused loop, no reduction."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    rows, columns = ((n - w) // s + 1 for n, w, s in zip(x.shape[1:3], window, strides, strict=True))
    values = index = None
    for position in range(window[0] * window[1]):
        i, j = divmod(position, window[1])
        stop = (x.shape[0], i + (rows - 1) * strides[0] + 1, j + (columns - 1) * strides[1] + 1, x.shape[3])
        candidate = lax.slice(x, (0, i, j, 0), stop, (1, *strides, 1))
        if values is None:
            values, index = candidate, jnp.zeros(candidate.shape, jnp.int16)
        else:
            index = jnp.where(candidate > values, jnp.int16(position), index)
            values = jnp.maximum(values, candidate)
    return values, index


def _by_reduction(x, window, strides, padding):
    """Maximum and its position by a reduction over pairs (value, position in the map)."""
    n, height, width, channels = x.shape
    position = jnp.broadcast_to(jnp.arange(height * width, dtype=jnp.int32).reshape(height, width, 1), x.shape)

    def larger(a, b):
        first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    lowest = jnp.array(-jnp.inf, x.dtype), jnp.array(height * width, jnp.int32)
    pads = ((0, 0), *padding, (0, 0))
    values, position = lax.reduce_window((x, position), lowest, larger, (1, *window, 1), (1, *strides, 1), pads)
    row = position // width + padding[0][0] - jnp.arange(values.shape[1], dtype=jnp.int32)[:, None, None] * strides[0]
    column = position % width + padding[1][0] - jnp.arange(values.shape[2], dtype=jnp.int32)[:, None] * strides[1]
    return values, row * window[1] + column


def _route(values, index, size, window, strides, padding):
    """Adds values at their switches by elementwise operations only, without a scatter.

    The map is tiled by blocks of stride x stride pixels. A window covers ceil(window / stride) blocks along each axis,
    so a block receives values from that many windows along each axis: one shifted, broadcast comparison for each.
    """
    (s, t), (deep, wide) = strides, (-(-window[0] // strides[0]), -(-window[1] // strides[1]))
    n, rows, columns, channels = values.shape
    border = ((0, 0), (deep - 1, deep - 1), (wide - 1, wide - 1), (0, 0))
    values, index = jnp.pad(values, border), jnp.pad(index, border, constant_values=-1).astype(jnp.int32)
    rows, columns = rows + deep - 1, columns + wide - 1
    total = jnp.zeros((n, rows, s, columns, t, channels), values.dtype)
    for a, b in itertools.product(range(deep), range(wide)):
        i = a * s + jnp.arange(s, dtype=jnp.int32)[:, None, None, None]
        j = b * t + jnp.arange(t, dtype=jnp.int32)[:, None]
        position = jnp.where((i < window[0]) & (j < window[1]), i * window[1] + j, -2)
        start = (0, deep - 1 - a, wide - 1 - b, 0)
        shifted = [lax.slice(v, start, (n, start[1] + rows, start[2] + columns, channels)) for v in (values, index)]
        value, at = (v[:, :, None, :, None, :] for v in shifted)
        total = total + jnp.where(at == position, value, 0)
    return _fit(total.reshape(n, rows * s, columns * t, channels), size, padding)


def _fit(padded, size, padding):
    """Removes the padding; where a stride skips the last pixels, they are filled with zeros."""
    missing = [max(0, p[0] + n - have) for p, n, have in zip(padding, size, padded.shape[1:3], strict=True)]
    padded = jnp.pad(padded, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    top, left = padding[0][0], padding[1][0]
    return padded[:, top : top + size[0], left : left + size[1]]
