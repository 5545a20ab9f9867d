"""Parts of jaxprs: bodies of calls, the ReLUs of `jax.nn`, and the module of an equation.

>>> import jax
>>> import jax.numpy as jnp
>>> (eqn,) = jax.make_jaxpr(jax.nn.relu)(1.0).eqns
"""

import re
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

INLINED = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint")
OPAQUE = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


def is_jaxpr(value: Any) -> bool:
    """Whether a parameter of an equation is a jaxpr.

    >>> is_jaxpr(body(eqn)), is_jaxpr("relu")
    (True, False)
    """
    return isinstance(value, Jaxpr | ClosedJaxpr)


def open_jaxpr(jaxpr: Any) -> tuple[Any, Any]:
    """Jaxpr and constants of an open or closed jaxpr; recent versions of JAX have only one kind.

    >>> open_jaxpr(jax.make_jaxpr(jax.nn.relu)(1.0))[0].eqns[0].primitive.name
    'custom_jvp_call'
    """
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def body(eqn: JaxprEqn) -> Any:
    """The first jaxpr among the parameters of an equation.

    >>> open_jaxpr(body(eqn))[0].eqns[0].params["name"]
    'relu'
    """
    return next(value for value in eqn.params.values() if is_jaxpr(value))


def jaxprs(eqn: JaxprEqn) -> list[Any]:
    """The jaxprs among the parameters of an equation.

    >>> len(jaxprs(eqn))
    1
    """
    values = (value if isinstance(value, tuple | list) else (value,) for value in eqn.params.values())
    return [jaxpr for value in values for jaxpr in value if is_jaxpr(jaxpr)]


def loop_bodies(eqn: JaxprEqn) -> tuple[list[Any], int, int, int]:
    """Bodies of a loop or of branches, the position of their first input, and how many are constants and carried.

    >>> (loop,) = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (2 * c, c), x, None, 3))(1.0).eqns
    >>> loop_bodies(loop)[1:]
    (0, 0, 1)
    """
    p = eqn.params
    if eqn.primitive.name == "while":
        return [p["body_jaxpr"]], p["cond_nconsts"], p["body_nconsts"], len(eqn.outvars)
    if eqn.primitive.name != "scan":
        return jaxprs(eqn), int(eqn.primitive.name == "cond"), 0, 0
    # Versions of JAX describe the inputs differently; scanned arrays have one axis more outside than inside.
    inner = open_jaxpr(body(eqn))[0]
    whole, carried = (
        sum(a.aval.ndim == b.aval.ndim for a, b in zip(outside, inside, strict=True))
        for outside, inside in ((eqn.invars, inner.invars), (eqn.outvars, inner.outvars))
    )
    return jaxprs(eqn), 0, whole - carried, carried


def all_equations(eqn: JaxprEqn) -> Iterator[JaxprEqn]:
    """The equations in the jaxprs of an equation's parameters, at any depth.

    >>> [e.primitive.name for e in all_equations(eqn)][-1]
    'max'
    """
    for jaxpr in jaxprs(eqn):
        for inner in open_jaxpr(jaxpr)[0].eqns:
            yield inner
            yield from all_equations(inner)


def nn_relu(eqn: JaxprEqn) -> str | None:
    """ "relu" or "relu6" for `jax.nn.relu` and `jax.nn.relu6`, which have custom derivatives.

    >>> nn_relu(eqn)
    'relu'
    """
    if eqn.primitive.name != "custom_jvp_call":
        return None
    inner = open_jaxpr(eqn.params["call_jaxpr"])[0].eqns
    name = inner[0].params.get("name") if len(inner) == 1 else None
    return name if name in ("relu", "relu6") else None


def is_gate(eqn: JaxprEqn) -> bool:
    """`hard_sigmoid`, and `hard_swish` based on it, use ReLU6 as a gate between 0 and 1, not as a rectifier.

    >>> is_gate(jax.make_jaxpr(jax.nn.hard_sigmoid)(1.0).eqns[0])
    True
    """
    return eqn.params.get("name") == "hard_sigmoid"


def module_path(eqn: JaxprEqn) -> str:
    """Module path from the name stack, without the transformations JAX records there and the scopes of adapters.

    >>> module_path(jax.make_jaxpr(jax.vmap(jax.named_call(jnp.sin, name="Block")))(jnp.ones(3)).eqns[0])
    'Block'
    """
    stack = str(eqn.source_info.name_stack)
    return "/".join(part for part in re.sub(r"\w+\(|\)|\{[^}]*\}", "", stack).split("/") if part)
