"""Dependence analysis of jaxprs for `xai_jax.units.receptive_field`.

Equations are interpreted in order, for one axis of the input at a time: each maps the intervals of pixels on which its
inputs depend to those of its outputs. The analysis is structural: zeros in a filter count, too.

>>> import jax
>>> closed = jax.make_jaxpr(lambda x: x[:, 2:5])(np.zeros((1, 9)))
>>> image = Span(1, np.tile(np.arange(9), (2, 1)), np.tile(np.arange(9), (2, 1)) + 1, 1)
>>> (sliced,) = follow(closed, [image])
>>> sliced.start[1].tolist(), sliced.stop[1].tolist()
([2, 3, 4], [3, 4, 5])
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import Literal

_FAR = 1 << 40  # start of an empty interval, and minus its stop

_ELEMENTWISE = frozenset(
    """abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p cos
    cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic
    lt max min mul name ne neg nextafter not or pow reduce_precision rem round rsqrt select_n sign sin sinh sqrt square
    stop_gradient sub tan tanh xor""".split()
)
_CALLS = frozenset(
    """checkpoint closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit pjit remat
    remat2""".split()
)


class Span(NamedTuple):
    """The pixels, along one axis of the input, on which the n positions along `axis` of a value depend.

    `start` and `stop` (2, n) bound intervals: first for maps extended beyond their borders, then for the maps as they
    are. `stride` is the distance between neighbours. With `axis` None all positions depend on the same, and n is 1.
    """

    axis: int | None
    start: np.ndarray
    stop: np.ndarray
    stride: int

    def whole(self) -> "Span":
        """The union over all positions.

        >>> image.whole().stop.tolist()
        [[9], [9]]
        """
        return Span(None, self.start.min(1, keepdims=True), self.stop.max(1, keepdims=True), 0)

    def spread(self, axis: int, n: int) -> "Span":
        """The same interval for `n` positions along `axis`, of a span with `axis` None.

        >>> image.whole().spread(2, 3).stop[0].tolist()
        [9, 9, 9]
        """
        return Span(axis, np.repeat(self.start, n, 1), np.repeat(self.stop, n, 1), self.stride)


class Unknown(NamedTuple):
    """The dependencies of a value are unknown after this operation."""

    operation: str


def follow(closed: Any, spans: Sequence[Span | Unknown | None]) -> list[Span | Unknown | None]:
    """Spans of the outputs of a jaxpr, given those of its inputs; None for no dependence on the image.

    >>> follow(closed, [None])
    [None]
    """
    jaxpr = getattr(closed, "jaxpr", closed)  # newer JAX has only one kind
    known = dict(zip(jaxpr.invars, spans, strict=True))

    def read(atoms):
        return [None if isinstance(atom, Literal) else known.get(atom) for atom in atoms]

    for eqn in jaxpr.eqns:
        inputs = read(eqn.invars)
        if any(span is not None for span in inputs):
            known.update(zip(eqn.outvars, _outputs(eqn, inputs), strict=True))
    return read(jaxpr.outvars)


def _outputs(eqn, spans):
    name = eqn.primitive.name
    if name in _CALLS:
        body = next(value for value in eqn.params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr"))
        return follow(body, spans)
    if name in _SEVERAL:
        return _SEVERAL[name](eqn, spans)
    rule = _MAPS.get(name) or (_reduce_window if name.startswith("reduce_window") else None)
    if rule is None and name not in _ELEMENTWISE:
        spans = [Unknown(name)]
    elif rule is not None and not any(isinstance(span, Unknown) for span in spans):
        first, *rest = spans  # the map, and operands on which all of it depends, such as filters
        moved = first if first is None or first.axis is None else rule(eqn, first)
        spans = [moved, *(span and span.whole() for span in rest)]
    return [_union(spans)] * len(eqn.outvars)


def _union(spans):
    """The intervals that enclose those of values combined position by position."""
    spans = [span for span in spans if span is not None]
    unknown = [span for span in spans if isinstance(span, Unknown)]
    if unknown or not spans:
        return unknown[0] if unknown else None
    axes = {span.axis for span in spans} - {None}
    if len(axes) > 1:
        return _union([span.whole() for span in spans])
    start = functools.reduce(np.minimum, [span.start for span in spans])
    stop = functools.reduce(np.maximum, [span.stop for span in spans])
    apart = start.shape[1] == 1 or np.ptp(start[0]) > 0
    return Span(axes.pop() if axes else None, start, stop, max(span.stride for span in spans) if apart else 0)


def _window(span, axis, n, window=1, stride=1, dilation=1, low=0, base=1):
    """`n` windows along `axis` over the axis of the span, which is dilated by `base` and padded by `low` in front."""
    at = np.arange(n)[:, None] * stride - low + np.arange(window) * dilation
    filled, at = at % base == 0, at // base
    near = np.clip(at, 0, span.start.shape[1] - 1)
    there = np.stack([filled, filled & (at == near)])
    beyond = np.stack([(at - near) * span.stride, np.zeros_like(at)])
    start = np.where(there, span.start[:, near] + beyond, _FAR).min(-1)
    stop = np.where(there, span.stop[:, near] + beyond, -_FAR).max(-1)
    return Span(axis, start, stop, span.stride * stride // base)


def _along(span, axis):
    return span.whole() if axis is None else span._replace(axis=axis)


def _convolution(eqn, span):
    p, out = eqn.params, eqn.outvars[0].aval.shape
    image, kernel, result = p["dimension_numbers"]
    if span.axis == image[1] or p["batch_group_count"] > 1:
        return span.whole()
    if span.axis == image[0]:
        return _along(span, result[0])
    i = image.index(span.axis) - 2
    axis, window = result[i + 2], eqn.invars[1].aval.shape[kernel[i + 2]]
    geometry = p["window_strides"][i], p["rhs_dilation"][i], p["padding"][i][0], p["lhs_dilation"][i]
    return _window(span, axis, out[axis], window, *geometry)


def _reduce_window(eqn, span):
    p, axis = eqn.params, span.axis
    geometry = [p[f"window_{key}"][axis] for key in ("dimensions", "strides", "dilation")]
    n = eqn.outvars[0].aval.shape[axis]
    return _window(span, axis, n, *geometry, p["padding"][axis][0], p["base_dilation"][axis])


def _pad(eqn, span):
    low, _, interior = eqn.params["padding_config"][span.axis]
    return _window(span, span.axis, eqn.outvars[0].aval.shape[span.axis], low=low, base=interior + 1)


def _slice(eqn, span):
    p, axis = eqn.params, span.axis
    stride = p["strides"][axis] if p["strides"] else 1
    return _window(span, axis, eqn.outvars[0].aval.shape[axis], stride=stride, low=-p["start_indices"][axis])


def _dynamic_slice(eqn, span):
    axis = span.axis
    have, n, at = eqn.invars[0].aval.shape[axis], eqn.params["slice_sizes"][axis], eqn.invars[1 + axis]
    if isinstance(at, Literal):
        return _window(span, axis, n, low=-int(np.clip(at.val, 0, have - n)))
    return span if n == have else span.whole()


def _reverse(eqn, span):
    if span.axis not in eqn.params["dimensions"]:
        return span
    return span._replace(start=span.start[:, ::-1], stop=span.stop[:, ::-1], stride=-span.stride)


def _without(eqn, span):
    """Reductions and squeeze remove axes."""
    gone = next(eqn.params[key] for key in ("axes", "dimensions") if key in eqn.params)
    return _along(span, None if span.axis in gone else span.axis - sum(axis < span.axis for axis in gone))


def _broadcast(eqn, span):
    axis = eqn.params["broadcast_dimensions"][span.axis]
    grown = eqn.outvars[0].aval.shape[axis] != eqn.invars[0].aval.shape[span.axis]
    return _along(span, None if grown else axis)


def _reshape(eqn, span):
    """The new axis is the one with as many elements before it; it may consist of blocks of several positions."""
    old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    n = old[span.axis]
    for axis, count in enumerate(new):
        if np.prod(new[:axis]) == np.prod(old[: span.axis]) and (count > 1 or n == 1) and n % count == 0:
            start, stop = (bound.reshape(2, count, -1) for bound in (span.start, span.stop))
            return Span(axis, start.min(-1), stop.max(-1), span.stride * (n // count))
    return span.whole()


def _transpose(eqn, span):
    return _along(span, eqn.params["permutation"].index(span.axis))


_MAPS = {
    "broadcast_in_dim": _broadcast,
    "conv_general_dilated": _convolution,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "transpose": _transpose,
    **dict.fromkeys("argmax argmin reduce squeeze".split(), _without),
    **dict.fromkeys((f"reduce_{kind}" for kind in "and max min or prod sum xor".split()), _without),
}


def _with_axis(move, span):
    """Applies `move` to the axis of a span that has one."""
    return _along(span, move(span.axis)) if isinstance(span, Span) and span.axis is not None else span


def _product(eqn, spans):
    contracted, batched = eqn.params["dimension_numbers"]
    ranks = (len(operand.aval.shape) for operand in eqn.invars)
    free = [[a for a in range(r) if a not in (*c, *b)] for r, c, b in zip(ranks, contracted, batched, strict=True)]
    sides = [*batched[0], *free[0]], [*batched[1], *[None] * len(free[0]), *free[1]]
    moves = ((lambda a, axes=axes: axes.index(a) if a in axes else None) for axes in sides)
    return [_union(map(_with_axis, moves, spans))]


def _concatenate(eqn, spans):
    axis = eqn.params["dimension"]
    along = [span for span in spans if isinstance(span, Span) and span.axis == axis]
    if not along or any(isinstance(span, Unknown) or span and span.axis not in (None, axis) for span in spans):
        return [_union(spans)]
    nothing = Span(None, np.full((2, 1), _FAR), np.full((2, 1), -_FAR), 0)
    parts = [span or nothing for span in spans]
    sizes = (operand.aval.shape[axis] for operand in eqn.invars)
    parts = [part.spread(axis, n) if part.axis is None else part for part, n in zip(parts, sizes, strict=True)]
    start, stop = (np.concatenate(bounds, axis=1) for bounds in zip(*(part[1:3] for part in parts), strict=True))
    return [Span(axis, start, stop, along[0].stride)]


def _split(eqn, spans):
    (span,), sizes = spans, eqn.params["sizes"]
    if isinstance(span, Unknown) or span.axis != eqn.params["axis"]:
        return [span] * len(sizes)
    return [_window(span, span.axis, n, low=n - end) for n, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True)]


def _branches(eqn, spans):
    chosen, *operands = spans
    outputs = zip(*(follow(branch, operands) for branch in eqn.params["branches"]), strict=True)
    return [_union([*output, chosen]) for output in outputs]


def _scan(eqn, spans):
    """Inputs are constants, carry, and scanned arrays; outputs are carry and stacked arrays."""
    body = getattr(eqn.params["jaxpr"], "jaxpr", eqn.params["jaxpr"])
    whole, state = (_same_rank(*pair) for pair in ((eqn.invars, body.invars), (eqn.outvars, body.outvars)))
    constants, moving = spans[: whole - state], spans[whole - state : whole]
    rows = [_with_axis(lambda a: a - 1 if a else None, span) for span in spans[whole:]]
    stacked = [None] * (len(eqn.outvars) - state)
    for _ in range(eqn.params["length"]):
        outputs = follow(body, [*constants, *moving, *rows])
        moving = outputs[:state]
        stacked = [_union(pair) for pair in zip(stacked, outputs[state:], strict=True)]
    return [*moving, *(_with_axis(lambda a: a + 1, span) for span in stacked)]


def _same_rank(outside, inside):
    return sum(a.aval.ndim == b.aval.ndim for a, b in zip(outside, inside, strict=True))


_SEVERAL = {
    "concatenate": _concatenate,
    "cond": _branches,
    "dot_general": _product,
    "optimization_barrier": lambda eqn, spans: spans,
    "scan": _scan,
    "split": _split,
}
