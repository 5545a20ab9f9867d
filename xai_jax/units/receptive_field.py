"""Exact receptive fields of the units of any Network, by dependence analysis of its jaxpr.

They are the image patches beside the projections of Zeiler & Fergus 2014 (Fig. 2). Nothing is computed, and the result
does not depend on the weights (see `xai_jax.units.jaxpr_dependence`).

>>> from xai_jax.core.pooling import max_pool
>>> def net(x, relu=jax.nn.relu, tap=network.keep):
...     return tap("pool1", max_pool(tap("relu1", relu(x)), 3, 2)).sum((1, 2))
>>> x = jnp.zeros((1, 9, 7, 3))
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import network, targets
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.pooling import Pair
from xai_jax.units.jaxpr_dependence import Span, Unknown, follow


class ReceptiveField(NamedTuple):
    """Receptive fields of the units of a layer; pairs are (vertical, horizontal), in pixels.

    That of the unit in row r and column c consists of `size` pixels from `offset + stride * (r, c)`, partly outside the
    image where the network pads. `rows` (h, 2) and `columns` (w, 2) are the intervals [start, stop) inside the image,
    for each row and column of units; both have length 1 for layers (N, C). Where units differ in size, as after reflect
    padding, `size` is the maximum, and `offset` belongs to the middle of the layer.
    """

    size: Pair
    stride: Pair
    offset: Pair
    rows: np.ndarray
    columns: np.ndarray

    def boxes(self, rows: Any, columns: Any) -> np.ndarray:
        """Receptive fields of units (n,), clipped to the image: (n, 4) top, left, bottom, right.

        >>> receptive_field(net, "pool1", x).boxes([0, 1], [2, 0]).tolist()
        [[0, 4, 3, 7], [2, 0, 5, 3]]
        """
        (top, bottom), (left, right) = self.rows[rows].T, self.columns[columns].T
        return np.stack([top, left, bottom, right], axis=-1)


def receptive_field(net: Network, layer: str, x: Array | jax.ShapeDtypeStruct) -> ReceptiveField:
    """Size, stride, offset and extent of the receptive fields of `layer`, (N, h, w, C) or (N, C).

    `x` is shaped like the network's input; its values are not used. Units that depend on every pixel, as after global
    average pooling or a fully connected layer, have stride 0. Raises ValueError for an unknown layer, and
    NotImplementedError, with the name of the operation, for layers after one with unknown dependencies.

    >>> receptive_field(net, "pool1", x)[:3]
    ((3, 3), (2, 2), (0, 0))
    """
    targets.check(net, x, targets.neuron(layer, 0))
    if len(shape := network.layer_names(net, x)[layer].shape) == 3:
        raise ValueError(f"Expected layer {quoted(layer)} to be (N, C) or (N, h, w, C), it is {shape}.")
    leaves, tree = jax.tree.flatten(network.as_network(net))
    shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    shape, spans = _layers(tree, shapes, jax.ShapeDtypeStruct(x.shape, jnp.result_type(x)))[layer]
    for span in spans:
        if isinstance(span, Unknown):
            raise NotImplementedError(
                f"Expected operations with known dependencies before layer {quoted(layer)}, got {span.operation!r}."
            )
    size, stride, offset, inside = zip(*map(_geometry, spans, (1, 2), (*shape[1:-1], 1, 1)[:2]), strict=True)
    return ReceptiveField(size, stride, offset, *inside)


@functools.lru_cache(maxsize=64)
def _layers(tree, leaves, x):
    """{layer: (shape, (span along the rows of the image, along its columns))}"""
    names = []

    def activations(net, x):
        kept = network.capture(net, x)[1]
        names.extend(kept)
        return list(kept.values())

    net = jax.tree.unflatten(tree, leaves)
    closed, shapes = jax.make_jaxpr(activations, return_shape=True)(net, x)
    spans = []
    for axis in (1, 2):
        pixels = np.tile(np.arange(x.shape[axis]), (2, 1))
        spans.append(follow(closed, [None] * len(leaves) + [Span(axis, pixels, pixels + 1, 1)]))
    pairs = zip(*spans, strict=True)
    return {name: (shape.shape, pair) for name, shape, pair in zip(names, shapes, pairs, strict=True)}


def _geometry(span, axis, units):
    """Size, stride, offset, and intervals inside the image, of units along `axis` of a layer."""
    if span is None:  # the layer does not depend on the image
        return 0, 0, 0, np.zeros((units, 2), np.int64)
    span = span if span.axis == axis and span.start.shape[1] == units else span.whole().spread(axis, units)
    middle, (start, stop) = units // 2, (span.start[1], span.stop[1])
    inside = np.where((start < stop)[:, None], np.stack([start, stop], axis=-1), 0)
    offset = span.start[0, middle] - middle * span.stride
    return int((span.stop[0] - span.start[0]).max()), span.stride, int(offset), inside
