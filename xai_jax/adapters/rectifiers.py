"""Finds the rectifiers of a model in its jaxpr, however they are written.

Each value that depends on the images is followed as an elementwise function of the values that it was computed from; a
rectifier is such a function with two gradients at zero. Weights are numbers in general position. What counts is the
value that leaves the elementwise operations: `max(x, 0) + log1p(exp(-abs(x)))` is smooth, and no rectifier.

Statistics are not activations: variances and squared distances, which are clipped against rounding, and values used
only as divisors. Saturating functions (`hard_tanh`, `hard_sigmoid`) have no backward rule, as `tanh` and `sigmoid` have
none; pools and maxout select among activations.

>>> import jax
>>> import jax.numpy as jnp
>>> closed = jax.make_jaxpr(lambda x: jnp.maximum(x, 0) @ jnp.ones((3, 2)))(np.ones((2, 3)))
>>> [found.kind for found in find(closed).values()]
['max(x, 0)']
"""

import functools
import itertools
import weakref
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xai_jax.adapters.inlining import Call, inline
from xai_jax.adapters.jaxpr_parts import (
    OPAQUE,
    body,
    is_gate,
    jaxprs,
    loop_bodies,
    nn_relu,
    open_jaxpr,
)
from xai_jax.adapters.piecewise_linear import (
    PROBES,
    are_proportional,
    evaluate,
    has_rule_of,
    is_bounded,
    is_odd,
    kind,
    saturates,
    sides,
)
from xai_jax.adapters.value_properties import NEUTRAL, SIGNAL, flags, fold, is_elementwise, operation, uniform, use

_MAX_ROOTS = 32
_FOUND = weakref.WeakKeyDictionary()


class Rectifier(NamedTuple):
    """A rectifier of a model.

    `where` is the path of its module and its line of source. `operand` is the position among the inputs of its equation
    of the value that it rectifies as `jax.nn.relu` does, or None.
    """

    kind: str
    shape: tuple[int, ...]
    where: str
    operand: int | None

    @property
    def can_be_covered(self) -> bool:
        """Whether it can be replaced by a ReLU."""
        return self.operand is not None and self.kind != "relu"


class _Curve(NamedTuple):
    """A value as a function of an earlier one, its root, at the probes, and the rectifiers in between."""

    y: np.ndarray
    rectifiers: frozenset[int] = frozenset()


class _Value(NamedTuple):
    """Curves by root of a value that depends on the images, or the number that stands for another."""

    curves: Mapping[int, _Curve]
    number: float
    flags: frozenset[str] = frozenset()


class _Candidate(NamedTuple):
    """A rectifier, counted once a value that contains it leaves the elementwise operations."""

    found: Rectifier
    calls: tuple[int, ...]
    curves: Mapping[int, _Curve]


def find(closed: Any, inputs: int = 0) -> dict[tuple[int, ...], Rectifier]:
    """Rectifiers of a model, `jax.nn.relu` among them, by the identities of the enclosing equations and their own.

    The inputs of the jaxpr are weights, images and `inputs` further arrays.

    >>> len(find(closed))
    1
    """
    jaxpr = open_jaxpr(closed)[0]
    if jaxpr not in _FOUND:
        walk = _Walk()
        keys = [walk.constant() for _ in jaxpr.invars]
        keys[-1 - inputs] = walk.root({"pixels"})
        walk.run(Call(closed, keys))
        ordered = sorted(walk.found.items(), key=lambda found: found[1])
        _FOUND[jaxpr] = {calls: walk.candidates[key].found for calls, key in ordered}
    return _FOUND[jaxpr]


class _Walk:
    """Interprets jaxprs; values have keys, those of the roots and rectifiers are the values' own."""

    def __init__(self):
        self.keys = itertools.count()
        self.values, self.uses = {}, defaultdict(int)
        self.candidates, self.found = {}, {}

    def add(self, curves, number=np.nan, flags=frozenset(), key=None):
        key = next(self.keys) if key is None else key
        self.values[key] = _Value(curves, number, frozenset(flags))
        return key

    def constant(self, value=None, key=None, fixed=False):
        """A literal, or a number in general position between 0 and 1, as the gradients of leaky ReLUs."""
        key = next(self.keys) if key is None else key
        number = uniform(value)
        if number is None:
            return self.add({}, 0.3 + 0.618034 * key % 0.6, NEUTRAL | {"fixed"} if fixed else NEUTRAL, key)
        return self.add({}, number, NEUTRAL | ({"fixed", "positive"} if number >= 0 else {"fixed"}), key)

    def root(self, flags=frozenset(), key=None, curves=()):
        key = next(self.keys) if key is None else key
        y = np.where(PROBES < 0, np.nan, PROBES) if "positive" in flags else PROBES
        recent = list(dict(curves).items())[1 - _MAX_ROOTS :]
        return self.add(dict(recent) | {key: _Curve(y)}, np.nan, flags, key)

    def run(self, call):
        steps, outputs = inline(call, self.constant)
        self.uses.update(dict.fromkeys(outputs, SIGNAL))
        for step in reversed(steps):
            for position, key in enumerate(step.inputs):
                self.uses[key] = max(self.uses[key], use(step.eqn, position, self.use(step)))
        for step in steps:
            self.interpret(step)
        for key in outputs:
            self.leave(self.values[key], self.values[key].curves)
        return outputs

    def use(self, step):
        return max((self.uses[key] for key in step.outputs), default=0)

    def flags(self, step, values):
        known, images = [v.flags for v in values], [bool(v.curves) for v in values]
        return flags(step.eqn, known, images)

    def interpret(self, step):
        values, eqn = [self.values[key] for key in step.inputs], step.eqn
        name, relu = eqn.primitive.name, nn_relu(eqn)
        if not any(v.curves for v in values):
            self.fold(step, values)
        elif relu:
            self.elementwise(step, values, lambda x: evaluate("clamp", 0.0, x, 6.0 if relu == "relu6" else np.inf))
        elif is_elementwise(eqn) or is_gate(eqn):
            self.elementwise(step, values, functools.partial(evaluate, operation(eqn)))
        elif name in OPAQUE:
            self.custom(step, values)
        else:
            self.leave_all(step, values, {})
            depends = self.nested(step, values) if jaxprs(eqn) else [True] * len(step.outputs)
            for key, dependent in zip(step.outputs, depends, strict=True):
                self.root(self.flags(step, values), key) if dependent else self.constant(key=key)

    def fold(self, step, values):
        """Outputs that do not depend on the images."""
        number = fold(step.eqn, [v.number for v in values])
        fixed = all("fixed" in v.flags for v in values)
        for key in step.outputs:
            if number is None:
                self.constant(None, key, fixed)
            else:
                self.add({}, number, self.flags(step, values) | NEUTRAL, key)

    def elementwise(self, step, values, function):
        images = [v for v in values if v.curves]
        passing = [v for i, v in enumerate(values) if v.curves and use(step.eqn, i, SIGNAL)]
        curves = {}
        for root in images[0].curves:
            if all(root in v.curves for v in images):
                y = function(*(v.curves[root].y if v.curves else v.number for v in values))
                between = frozenset().union(*(v.curves[root].rectifiers for v in passing))
                curves[root] = _Curve(np.broadcast_to(y, PROBES.shape), between)
        self.finish(step, values, step.outputs[0], curves)

    def custom(self, step, values):
        """A function with a derivative of its own, in which rectifiers count for their effect on its outputs."""
        found, known = dict(self.found), set(self.candidates)
        outputs = self.run(Call(body(step.eqn), [self.add(*v) for v in values], step.calls))
        self.found = found
        for inner, key in zip(outputs, step.outputs, strict=True):
            roots = {root for v in values for root in v.curves}
            curves = {root: c for root, c in self.values[inner].curves.items() if root in roots}
            curves = {root: _Curve(c.y, c.rectifiers & known) for root, c in curves.items()}
            self.finish(step, values, key, curves)

    def finish(self, step, values, key, curves):
        """Adds an output that is a function of all inputs in some roots, and a rectifier if it is one."""
        self.leave_all(step, values, curves)
        candidate = self.candidate(step, values, curves)
        if candidate is not None:
            self.candidates[key] = candidate
            curves = {r: _Curve(c.y, frozenset([key, *c.rectifiers & curves.keys()])) for r, c in curves.items()}
        self.root(self.flags(step, values), key, curves)

    def candidate(self, step, values, curves):
        relu, shape = nn_relu(step.eqn), step.eqn.outvars[0].aval.shape
        where = " at ".join(filter(None, [step.path, step.line]))
        if relu:
            self.found[step.calls] = step.outputs[0]
            return _Candidate(Rectifier("relu", shape, where, 0), step.calls, curves)
        images = [v for v in values if v.curves]
        if any("moment" in v.flags for v in images) or all("flat" in v.flags for v in images):
            return None
        for root in reversed(curves):
            y, parts = curves[root].y, [self.candidates[key] for key in curves[root].rectifiers if key not in curves]
            if sides(y) is None or any(root in v.curves and are_proportional(v.curves[root].y, y) for v in images):
                continue
            if len(parts) < len(curves[root].rectifiers):  # a function of another rectifier's value alone
                continue
            if len(parts) == 1 and has_rule_of(parts[0].curves[root].y, y):
                return None
            return _Candidate(Rectifier(kind(y), shape, where, _operand(step, curves)), step.calls, curves)
        return None

    def leave(self, value, roots):
        """Counts the rectifiers of a value that enters an operation which is not elementwise in these roots."""
        if any(saturates(c.y) for c in value.curves.values()):
            return
        for root in roots:
            y, rectifiers = value.curves[root]
            if "pixels" in self.values[root].flags and is_bounded(y):
                continue
            for key in rectifiers:
                found, calls, _ = self.candidates[key]
                alone = key in value.curves and found.kind != "abs(x)"
                if self.uses[key] == SIGNAL and (alone or sides(y)):
                    self.found[calls] = key

    def leave_all(self, step, values, kept):
        if any(is_odd(c.y) for c in kept.values()):  # all of it makes a line, or a function such as soft thresholding
            return
        for position, value in enumerate(values):
            if value.curves and use(step.eqn, position, self.use(step)):
                lost = value.curves.keys() - kept.keys()
                self.leave(value, [root for root in lost if not self.is_smooth(value, root, kept)])

    def is_smooth(self, value, root, kept):
        """Whether a value is, by way of a root, a smooth function of a kept one: min(exp(x) - 1, 0) + max(x, 0)."""
        curves = self.values[root].curves
        ways = ((curves[key].y, value.curves[root].y) for key in curves.keys() & kept.keys())
        return any(np.isnan(y).all() for way in ways for y in way)

    def nested(self, step, values):
        """Walks loops and branches; returns whether each output depends on the images."""
        bodies, start, fixed, carried = loop_bodies(step.eqn)
        reached = [step.eqn.primitive.name == "cond" and bool(values[0].curves)] * len(step.outputs)
        for jaxpr in bodies:
            depends, before = [bool(v.curves) for v in values[start:]], None
            if len(open_jaxpr(jaxpr)[0].invars) != len(depends):
                return [True] * len(step.outputs)
            while depends != before:
                before, inputs = depends, [self.root() if d else self.constant() for d in depends]
                for i in range(fixed):
                    inputs[i] = inputs[i] if depends[i] else step.inputs[start + i]
                outputs = [bool(self.values[key].curves) for key in self.run(Call(jaxpr, inputs, *step[1:3]))]
                state = [*map(max, depends[fixed : fixed + carried], outputs[:carried])]
                depends = [*depends[:fixed], *state, *depends[fixed + carried :]]
            reached = list(map(max, reached, outputs))
        return reached


def _operand(step, curves):
    """The position of the input of which the output is the ReLU, up to an upper bound that is another input."""
    relu, name = np.maximum(PROBES, 0), step.eqn.primitive.name
    for position, key in enumerate(step.inputs):
        near = slice(2, 7) if name == "clamp" and position == 1 else slice(None)
        if name not in ("add", "sub") and key in curves and (curves[key].y == relu)[near].all():
            return position
    return None
