"""The equations of a jaxpr in one list, calls inlined, for `xai_jax.adapters.rectifiers`.

>>> import jax
>>> import jax.numpy as jnp
>>> closed = jax.make_jaxpr(lambda x: jnp.clip(x, 0, 1))(1.0)
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import JaxprEqn, Literal

from xai_jax.adapters.jaxpr_parts import INLINED, body, is_gate, module_path, open_jaxpr

_JAX = os.path.join(os.path.dirname(jax.__file__), "")


class Step(NamedTuple):
    """An equation with the keys of its inputs and outputs.

    `calls` are the identities of the enclosing equations and its own, `path` that of its module, `line` its source.
    """

    eqn: JaxprEqn
    calls: tuple[int, ...]
    path: str
    line: str
    inputs: list[int]
    outputs: list[int]


class Call(NamedTuple):
    """A jaxpr with the keys of its inputs, the enclosing equations, and the line of its caller if it is JAX's own."""

    closed: Any
    inputs: list[int]
    calls: tuple[int, ...] = ()
    path: str = ""
    line: str = ""


def inline(call: Call, add: Callable[[Any], int]) -> tuple[list[Step], list[int]]:
    """Equations of a jaxpr, calls inlined, and keys of its outputs; `add` returns a new key for a constant or None.

    Gates and functions with a derivative of their own are not inlined.

    >>> keys = iter(range(9))
    >>> steps, outputs = inline(Call(closed, [next(keys)]), lambda value: next(keys))
    >>> [step.eqn.primitive.name for step in steps]
    ['convert_element_type', 'max', 'convert_element_type', 'min']
    """
    jaxpr, consts = open_jaxpr(call.closed)
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(add, consts), *call.inputs], strict=True))
    steps = []

    def read(atom):
        return add(atom.val) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        module, own = "/".join(filter(None, [call.path, module_path(eqn)])), call.line or _source(eqn)
        arguments, inner = list(map(read, eqn.invars)), (*call.calls, id(eqn))
        if eqn.primitive.name in INLINED and not is_gate(eqn):
            caller = own if _is_from_jax(body(eqn)) else call.line
            below, outputs = inline(Call(body(eqn), arguments, inner, module, caller), add)
            steps += below
        else:
            outputs = [add(None) for _ in eqn.outvars]
            steps.append(Step(eqn, inner, module, own, arguments, outputs))
        env.update(zip(eqn.outvars, outputs, strict=True))
    return steps, list(map(read, jaxpr.outvars))


def _source(eqn):
    """File and line of an equation outside JAX, "" if unknown."""
    frames = getattr(eqn.source_info.traceback, "frames", ())
    outside = (frame for frame in frames if not frame.file_name.startswith(_JAX))
    return next((f"{os.path.basename(frame.file_name)}:{frame.line_num}" for frame in outside), "")


def _is_from_jax(jaxpr):
    """Whether a jaxpr is of one of JAX's own functions, which are traced once for all callers."""
    return _JAX in str(open_jaxpr(jaxpr)[0].debug_info.func_src_info)
