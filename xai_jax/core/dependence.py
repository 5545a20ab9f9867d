"""Layers that the logits bypass, by dependence analysis of a network's jaxpr.

The head of a network from a layer is a function of that activation only where all of the input passes it. It does not
where another path leads around the layer, as a residual connection or the other branch of an inception module does.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal, get_opaque_trace_state

from xai_jax.core.messages import quoted


def trace_state() -> Any:
    """What is being traced: values of an inner jit, scan, vmap or remat do not leave it.

    >>> trace_state() == trace_state()
    True
    """
    return get_opaque_trace_state(convention="flax")


@functools.lru_cache(maxsize=32)
def bypassed(
    tree: Any, leaves: tuple, shape: tuple[int, ...], dtype: Any, values: tuple, layers: Any
) -> dict[str, bool]:
    """Whether the logits depend on the images other than through a layer, for each layer in forward order.

    >>> net = jax.tree_util.Partial(lambda x, tap: tap("sum", x + tap("relu1", jax.nn.relu(x))))
    >>> layers = jax.tree.flatten(dict.fromkeys(["relu1", "sum"], jax.ShapeDtypeStruct((1, 2), np.float32)))
    >>> bypassed(jax.tree.structure(net), (), (1, 2), np.float32, tuple(layers[0]), layers[1])
    {'relu1': True, 'sum': False}

    Args:
      tree, leaves: structure of the network, and shape and dtype of each of its leaves.
      shape, dtype: of the images.
      values, layers: leaves, each a `jax.ShapeDtypeStruct`, and structure of the activations by name.

    Returns:
      The layers, without those that are tapped inside of another traced function.

    Raises:
      Whatever the network raises.
    """
    names = []

    def run(net, x, values):
        state, found = trace_state(), {}

        def tap(name, value):
            if trace_state() != state:
                return value
            found[name] = value
            return values[name]

        logits = net(x, tap=tap)
        names.extend(name for name, value in found.items() for _ in jax.tree.leaves(value))
        return logits, list(found.values())

    net = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves])
    values = jax.tree.unflatten(layers, values)
    closed = jax.make_jaxpr(run)(net, jax.ShapeDtypeStruct(shape, dtype), values)
    bits = {name: 2 << number for number, name in enumerate(sorted(values))}  # bit 0 is for the images
    given = [bits[name] for name in bits for _ in jax.tree.leaves(values[name])]
    outputs = follow(closed, [0] * len(leaves) + [1, *given], without_zeros=True)
    sources = outputs[len(outputs) - len(names) :]
    logits = functools.reduce(int.__or__, outputs[: len(outputs) - len(names)], 0)

    def is_bypassed(layer):
        reached = 1
        for name, each in zip(names, sources, strict=True):
            if name != layer and each & reached:
                reached |= bits[name]
        return bool(logits & reached)

    return {name: is_bypassed(name) for name in names}


def refuse_bypassed(layer: str, found: dict[str, bool]) -> None:
    """Raises ValueError for a layer that the logits bypass, where `found` is the result of `bypassed`.

    >>> refuse_bypassed("sum", {"relu1": True, "sum": False})
    """
    if not found.get(layer):
        return
    above = [name for name in list(found)[list(found).index(layer) :] if not found[name]]
    raise ValueError(
        f"Expected a layer that all of the input passes, the logits depend on it around {quoted(layer)}, too. Usual "
        "cause: a residual connection, or a branch. Remedies: the head of a layer above the junction"
        f"{f', such as {quoted(above[0])}' if above else ''}; `replace` and `perturb`, which are given the images."
    )


def follow(closed: Any, sources: Sequence[int], without_zeros: bool = False) -> list[int]:
    """Sources of the outputs of a jaxpr, given those of its inputs: sets, as the bits of integers.

    `without_zeros`: x * 0, which takes the shape of x alone, does not depend on x.

    >>> follow(jax.make_jaxpr(lambda x, y, z: (x + y, 2 * z))(0.0, 0.0, 0.0), [1, 2, 4])
    [3, 4]
    """
    jaxpr = getattr(closed, "jaxpr", closed)  # newer JAX has only one kind
    known = dict(zip(jaxpr.invars, sources, strict=True))

    def read(atoms):
        return [0 if isinstance(atom, Literal) else known.get(atom, 0) for atom in atoms]

    for eqn in jaxpr.eqns:
        inputs = read(eqn.invars)
        if any(inputs):
            known.update(zip(eqn.outvars, _outputs(eqn, inputs, without_zeros), strict=True))
    return read(jaxpr.outvars)


def _outputs(eqn, inputs, without_zeros):
    is_zero = eqn.primitive.name == "mul" and any(isinstance(a, Literal) and not np.any(a.val) for a in eqn.invars)
    if is_zero and without_zeros:
        return [0]
    if called := body(eqn):
        outputs = follow(called, inputs, without_zeros)
        # a loop's outputs are inputs of its next round
        return outputs if eqn.primitive.name != "scan" else [functools.reduce(int.__or__, outputs)] * len(outputs)
    return [functools.reduce(int.__or__, inputs)] * len(eqn.outvars)


def body(eqn: Any) -> Any:
    """The jaxpr that an equation calls with its own inputs and outputs, such as a jit's, or None.

    >>> len(body(jax.make_jaxpr(jax.jit(lambda x: -x))(0.0).eqns[0]).eqns)
    1
    """
    bodies = [getattr(v, "jaxpr", v) for v in eqn.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
    fits = len(bodies) == 1 and len(bodies[0].invars) == len(eqn.invars)
    return bodies[0] if fits and len(bodies[0].outvars) == len(eqn.outvars) else None
