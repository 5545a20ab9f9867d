"""Convolutions in the form that each platform runs fast: depthwise, grouped, and over maps of few pixels.

XLA's grouped convolutions are slow on CPU. The form is chosen at lowering time by `jax.lax.platform_dependent`, so a
program exported on a CPU machine for an accelerator contains the grouped form.

>>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

LAYOUT = ("NHWC", "HWIO", "NHWC")
_FACTORS = "lhs_dilation", "rhs_dilation", "feature_group_count", "batch_group_count"
LARGEST_WINDOW = 49  # filter values; programs of more products are long, and slow to compile


def depthwise_convolution(x: Array, kernel: Array, stride: int, padding: str | Pads = "SAME") -> Array:
    """Convolves each channel of `x` (N, H, W, C) with its own filter, `kernel` (k, l, 1, C).

    On CPU it is a sum of k*l shifted products, and so is its gradient with respect to `x`. It has no forward mode.

    >>> depthwise_convolution(x, kernel, 2)[0, ..., 0].tolist()
    [[9.0, 6.0], [6.0, 4.0]]

    Args:
      x, kernel: maps and filters.
      stride: vertical and horizontal stride.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)).

    Returns:
      Maps (N, h, w, C).

    Raises:
      ValueError: the channels do not match.
      TypeError: the dtypes do not match.
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    options = {"stride": stride, "padding": tuple(padding)}
    cpu, default = (functools.partial(form, **options) for form in (_shifted_products, _depthwise))
    jax.eval_shape(default, x, kernel)  # products would broadcast
    return lax.platform_dependent(x, kernel, cpu=cpu, default=default)


def grouped_convolution(x: Array, kernel: Array, *geometry, feature_group_count: int, **options) -> Array:
    """`lax.conv_general_dilated`, on CPU as one convolution for each group, which is 2 to 8 times faster there.

    >>> options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 2}
    >>> grouped_convolution(x, kernel, (1, 1), "VALID", **options).shape
    (1, 2, 2, 2)

    Args:
      x, kernel: maps and filters; their last axis counts the channels.
      *geometry: window strides and padding.
      feature_group_count: number of groups.
      **options: further arguments of `lax.conv_general_dilated`.

    Returns:
      The maps.

    Raises:
      TypeError: the shapes do not match, as in `lax.conv_general_dilated`.
    """

    def grouped(x, kernel):
        return lax.conv_general_dilated(x, kernel, *geometry, feature_group_count=feature_group_count, **options)

    def separate(x, kernel):
        groups = (jnp.split(array, feature_group_count, axis=-1) for array in (x, kernel))
        parts = [lax.conv_general_dilated(*pair, *geometry, **options) for pair in zip(*groups, strict=True)]
        return jnp.concatenate(parts, axis=-1)

    return lax.platform_dependent(x, kernel, cpu=separate, default=grouped)


def convolution(x: Array, kernel: Array, strides: Pair, padding: str | Pads, **options) -> Array:
    """`lax.conv_general_dilated`, on CPU as a product of patches and filters where that is faster: see `is_product`.

    >>> convolution(x, jnp.ones((1, 1, 2, 3)), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (1, 2, 2, 3)

    Args:
      x, kernel: maps (N, H, W, C) and filters (k, l, C, O).
      strides: vertical and horizontal stride.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)).
      **options: further arguments of `lax.conv_general_dilated`.

    Returns:
      Maps (N, h, w, O).

    Raises:
      TypeError: the shapes do not match, as in `lax.conv_general_dilated`.
    """

    def default(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)

    shape = jax.eval_shape(default, x, kernel).shape
    if not (_is_plain(x, kernel, options) and is_product(shape, kernel.shape, strides)):
        return default(x, kernel)
    cpu = functools.partial(_product, strides=strides, padding=padding, precision=options.get("precision"))
    return lax.platform_dependent(x, kernel, cpu=cpu, default=default)


def _is_plain(x, kernel, options):
    """Whether the channels come last, and nothing is dilated, grouped or of another dtype."""
    layouts = (options.get("dimension_numbers"), LAYOUT)
    given, last = (lax.conv_dimension_numbers(x.shape, kernel.shape, layout) for layout in layouts)
    alone = all(set(np.ravel(options.get(name) or 1)) == {1} for name in _FACTORS)
    return given == last and alone and options.get("preferred_element_type") in (None, x.dtype)


def is_product(shape: Sequence[int], kernel: Sequence[int], strides: Pair) -> bool:
    """Whether a convolution with maps of this shape, (N, h, w, O), is faster on CPU as a product with its patches.

    docs/decisions.md has the measurements: filters of one pixel, and those of 3 x 3 with 256 channels or more, over
    maps of up to 14 x 14 pixels; all but large ones over maps of up to 4 x 4.

    >>> is_product((8, 14, 14, 32), (1, 1, 16, 32), (2, 2)), is_product((8, 14, 14, 32), (3, 3, 16, 32), (1, 1))
    (True, False)
    """
    pixels, window = math.prod(shape[1:3]), math.prod(kernel[:2])
    if window == 1:
        return pixels <= 196
    if window > LARGEST_WINDOW or set(strides) != {1}:
        return False
    return pixels <= (196 if window <= 9 and min(kernel[2:]) >= 256 else 16)


def _product(x, kernel, strides, padding, precision=None):
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = ((n - k) // s * s + 1 for n, k, s in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True))
    patches = [x[:, i : i + rows : strides[0], j : j + columns : strides[1]] for i, j in np.ndindex(kernel.shape[:2])]
    product = functools.partial(jnp.matmul, precision=precision)
    return product(jnp.concatenate(patches, axis=-1), kernel.reshape(-1, kernel.shape[-1]))


def _depthwise(x, kernel, stride, padding):
    options = {"dimension_numbers": LAYOUT, "feature_group_count": x.shape[-1]}
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, **options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted_products(x, kernel, stride, padding):
    return _products(x, kernel, stride, padding)


def _products(x, kernel, stride, padding):
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    size = [(n - k) // stride + 1 for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    return _sum_of_shifts(x, kernel, (0, 0), size, stride)


def _forward(x, kernel, stride, padding):
    return _products(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, kept, gradient):
    x, kernel = kept
    by_filter = jax.vjp(lambda kernel: _products(x, kernel, stride, padding), kernel)[1](gradient)[0]
    return _shifted_gradients(gradient, kernel, x.shape, stride, padding), by_filter


_shifted_products.defvjp(_forward, _backward)


def _shifted_gradients(gradient, kernel, shape, stride, padding):
    """Gradient with respect to the maps: a pixel of each block of stride x stride has every stride-th filter value."""
    (top, _), (left, _) = padding
    blocks = [-(-(shape[1] + top) // stride), -(-(shape[2] + left) // stride)]
    borders = [-(-size // stride) - 1 for size in kernel.shape[:2]]
    around = [(border, b - n, 0) for border, b, n in zip(borders, blocks, gradient.shape[1:3], strict=True)]
    gradient = lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    parts = []
    for i, j in np.ndindex(stride, stride):
        taps = jnp.flip(kernel[i::stride, j::stride], (0, 1))
        start = tuple(border + 1 - count for border, count in zip(borders, taps.shape[:2], strict=True))
        parts.append(_sum_of_shifts(gradient, taps, start, blocks, 1))
    rows = [jnp.stack(parts[i : i + stride], 3) for i in range(0, len(parts), stride)]
    padded = jnp.stack(rows, 2).reshape(shape[0], blocks[0] * stride, blocks[1] * stride, shape[3])
    return padded[:, top : top + shape[1], left : left + shape[2]]


def _sum_of_shifts(x, kernel, start, size, stride):
    """Without barriers XLA computes what comes before and after it again for each of the products."""
    x = lax.optimization_barrier(x)
    n, channels, (rows, columns) = x.shape[0], x.shape[3], ((pixels - 1) * stride + 1 for pixels in size)
    total = jnp.zeros((n, *size, channels), x.dtype)
    for i, j in np.ndindex(kernel.shape[:2]):
        row, column = start[0] + i, start[1] + j
        shifted = lax.slice(x, (0, row, column, 0), (n, row + rows, column + columns, channels), (1, stride, stride, 1))
        total = total + shifted * kernel[i, j, 0]
    return lax.optimization_barrier(total)
