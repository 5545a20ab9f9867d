"""Loops over passes of a network: one program on accelerators; not on CPUs, where convolutions in loops are slow.

>>> fold(lambda total, x, factor: (total + factor * x, total), 0.0, jnp.arange(3.0), 2.0)
(Array(6., dtype=float32), Array([0., 0., 2.], dtype=float32))
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Body = Callable[..., tuple[Any, Any]]


def one_program(*trees: Any) -> bool:
    """Whether a loop is one program: on accelerators, and for arrays that are being traced.

    >>> one_program(jnp.ones(2)) == (jax.default_backend() != "cpu")
    True
    """
    return jax.default_backend() != "cpu" or any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees))


def fold(body: Body, carry: Any, rows: Any, *fixed: Any) -> tuple[Any, Any]:
    """`jax.lax.scan` of `body(carry, row, *fixed) -> (carry, output)`, a function that is defined once.

    Args:
      body: one pass, compiled once for each structure and shape.
      carry: first value, a pytree of arrays.
      rows: pytree of arrays (steps, ...).
      *fixed: pytrees that are the same in each pass, such as a network and its images.

    Returns:
      The last value, and the outputs of all passes, (steps, ...) each.

    Raises:
      TypeError: for a carry that changes its shape or dtype, on accelerators.
    """
    if one_program(carry, rows, fixed):
        return _scan(body, carry, rows, fixed)
    leaves, tree = jax.tree.flatten(rows)
    outputs = []
    for row in zip(*map(list, leaves), strict=True):
        carry, output = _pass(body, carry, jax.tree.unflatten(tree, row), fixed)
        outputs.append(output)
    return carry, jax.tree.map(lambda *each: jnp.stack(each), *outputs)


@functools.partial(jax.jit, static_argnums=0)
def _pass(body, carry, row, fixed):
    return body(carry, row, *fixed)


@functools.partial(jax.jit, static_argnums=0)
def _scan(body, carry, rows, fixed):
    return jax.lax.scan(lambda carry, row: body(carry, row, *fixed), carry, rows)
