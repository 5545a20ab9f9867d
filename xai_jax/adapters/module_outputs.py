"""Outputs of modules in a jaxpr, by the named scopes in which its equations were traced.

The output of a module is the value that is computed within its scope and used outside. JAX records the scopes of each
equation; each call of a module opens one of its own, so that repeated calls are distinguished. Names are the paths of
scopes. A scope written as `{path}` starts a path: adapters open it for modules of libraries that open none.

>>> import jax.numpy as jnp
>>> def block(x):
...     with jax.named_scope("Block"):
...         return x + jnp.tanh(x)
>>> jaxpr = jax.make_jaxpr(lambda x: 2 * block(x))(jnp.ones((2, 3))).jaxpr
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn, Literal, Var

_NO_MODULES = re.compile(r"eqx\.nn\.|.*->")  # scopes of Equinox's classes and of JAX's einsum
_START = re.compile(r"\{(.*)\}")


def start(path: str) -> jax.named_scope:
    """A scope that starts the path of a module.

    >>> start("ResNet/blocks/0").name
    '{ResNet/blocks/0}'
    """
    return jax.named_scope(f"{{{path}}}")


def scopes(eqn: JaxprEqn) -> tuple[Any, ...]:
    """Scopes of an equation, outermost first, an object for each call of a module.

    >>> [[scope.name for scope in scopes(eqn)] for eqn in jaxpr.eqns]
    [['Block'], ['Block'], []]
    """
    stack = getattr(eqn.source_info.name_stack, "stack", ())
    return tuple(s for s in stack if type(s).__name__ == "Scope" and not _NO_MODULES.match(s.name))


def join(path: str, names: Sequence[str]) -> str:
    """The path of a module, given that of the enclosing function and the names of the scopes.

    >>> join("ViT", ["Block_0", "Dense_1"]), join("ViT", ["{ViT/blocks/0}", "attention"])
    ('ViT/Block_0/Dense_1', 'ViT/blocks/0/attention')
    """
    for name in names:
        started = _START.fullmatch(name)
        path = started[1] if started else f"{path}/{name}"
    return path.strip("/")


def outputs(jaxpr: Any, candidates: Collection[Var]) -> dict[Var, list[tuple[list[str], str]]]:
    """Modules whose output a value is, innermost first: the names of their scopes, and "[i]" if there are several.

    >>> [[found] for found in outputs(jaxpr, {jaxpr.eqns[0].outvars[0], jaxpr.eqns[1].outvars[0]}).values()]
    [[[(['Block'], '')]]]

    Args:
      jaxpr: the jaxpr, without those that it calls.
      candidates: values that can be outputs.

    Returns:
      The modules by value.
    """
    origin, shared = {}, {}  # scopes of a value, and how many of them all of its uses are in
    for eqn in jaxpr.eqns:
        inside = scopes(eqn)
        for v in eqn.invars:
            if not isinstance(v, Literal) and v in shared:
                shared[v] = min(shared[v], _common(origin[v], inside))
        for v in candidates.intersection(eqn.outvars):
            origin[v], shared[v] = inside, len(inside)
    shared.update(dict.fromkeys(shared.keys() & {v for v in jaxpr.outvars if not isinstance(v, Literal)}, 0))
    calls = defaultdict(list)
    for v, inside in origin.items():
        for scope in inside[shared[v] :]:
            calls[id(scope)].append(v)
    found = {}
    for v, inside in origin.items():
        for depth in range(len(inside), shared[v], -1):
            each = calls[id(inside[depth - 1])]
            index = f"[{each.index(v)}]" if len(each) > 1 else ""
            found.setdefault(v, []).append(([scope.name for scope in inside[:depth]], index))
    return found


def _common(a, b):
    """Number of scopes that two values share."""
    return next((i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] is not pair[1]), min(len(a), len(b)))
