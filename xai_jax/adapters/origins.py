"""How the values of a jaxpr depend on the images: which axis holds the channels, and whether rows are mixed.

>>> import jax, jax.numpy as jnp
>>> def model(x):
...     return jnp.moveaxis(x, -1, 1)
>>> (transpose,) = jax.make_jaxpr(model)(jnp.ones((2, 8, 8, 3))).eqns
>>> follow(transpose, [IMAGES], 2).channels
-3
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn

from xai_jax.adapters.jaxpr_parts import all_equations

_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
_LAYERS = ("conv_general_dilated", "dot_general", *_REDUCTIONS)


class Origin(NamedTuple):
    """What is known of a value that depends on the images; None stands for a value that does not."""

    channels: int | None  # axis of the channels, counted from the end; None where it is not known
    is_input: bool  # whether these are the images themselves, rescaled or transposed
    mixes: bool  # whether a row may depend on other images than its own


IMAGES = Origin(-1, True, False)


def follow(eqn: JaxprEqn, origins: Sequence[Origin | None], n: int | None) -> Origin | None:
    """Origin of the results of an equation.

    >>> (total,) = jax.make_jaxpr(lambda x: x.sum((0, 1, 2)))(jnp.ones((2, 8, 8, 3))).eqns
    >>> follow(total, [IMAGES], 2).mixes
    True

    Args:
      eqn: the equation.
      origins: origins of its operands.
      n: number of images if they are rows of the operands, else None.

    Returns:
      The origin.

    Raises:
      ValueError: a convolution or a pool takes the channels of the images for rows or columns.
    """
    mixes = _mixes(eqn, origins, n) or any(o.mixes for o in origins if o)
    known = [i for i, o in enumerate(origins) if o and o.channels is not None]
    if not eqn.outvars or not any(origins) and not mixes:
        return None
    name = eqn.primitive.name
    if known and origins[known[0]].is_input:
        _require_channels_last(eqn, known[0], origins[known[0]].channels)
    if name == "conv_general_dilated":
        numbers = eqn.params["dimension_numbers"]
        return Origin(numbers.out_spec[1] - len(numbers.out_spec), False, mixes)
    if not known:
        return Origin(None, False, mixes)
    operand = next((i for i in known if _shape(eqn.invars[i]) == _shape(eqn.outvars[0])), known[0])
    is_input = origins[operand].is_input and name not in _LAYERS and not any(True for _ in all_equations(eqn))
    return Origin(_moved(eqn, operand, origins[operand].channels), is_input, mixes)


def _shape(atom):
    return getattr(atom.aval, "shape", None)


def _mixes(eqn, origins, n):
    """Whether an equation, or one in its loops and branches, may combine the rows of the images."""
    inside = [eqn, *all_equations(eqn)] if n is not None else []
    if any(e.primitive.name == "random_bits" and tuple(e.params["shape"][:1]) == (n,) for e in inside):
        return True  # noise for each image depends on its position
    reductions = (e for e in inside if e.primitive.name in _REDUCTIONS)
    return any(origins) and any(0 in e.params["axes"] and _shape(e.invars[0])[0] == n for e in reductions)


def _moved(eqn: Any, operand: int, axis: int) -> int | None:
    """Where an equation moves an axis of an operand; both counted from the end."""
    name, p = eqn.primitive.name, eqn.params
    source, result = _shape(eqn.invars[operand]), _shape(eqn.outvars[0])
    at = len(source) + axis
    if name == "dot_general":
        return _moved_by_product(eqn, operand, at)
    if name == "reshape":
        return axis if source[axis:] == result[axis:] else None
    if name == "transpose":
        at = p["permutation"].index(at)
    elif name == "broadcast_in_dim":
        at = p["broadcast_dimensions"][at]
    elif name == "squeeze" or name.startswith(("reduce_", "arg")) and "axes" in p:
        removed = p["dimensions" if name == "squeeze" else "axes"]
        if at in removed:
            return None
        at -= sum(a < at for a in removed)
    elif len(source) != len(result):
        return None
    return at - len(result)


def _moved_by_product(eqn, operand, at):
    contracted, batch = eqn.params["dimension_numbers"]
    free = [
        [a for a in range(len(_shape(v))) if a not in (*contracted[i], *batch[i])] for i, v in enumerate(eqn.invars)
    ]
    start = len(batch[0]), len(batch[0]) + len(free[0])
    rank, other = len(_shape(eqn.outvars[0])), 1 - operand
    if at in batch[operand]:
        return list(batch[operand]).index(at) - rank
    if at in contracted[operand]:  # the channels of a matrix product are new ones
        return start[other] - rank if len(free[other]) == 1 else None
    return start[operand] + free[operand].index(at) - rank


def _require_channels_last(eqn, operand, axis):
    rank = len(_shape(eqn.invars[operand]))
    if eqn.primitive.name == "conv_general_dilated":
        wrong = operand == 0 and eqn.params["dimension_numbers"].lhs_spec[1] - rank != axis
    else:
        window = eqn.params.get("window_dimensions", ()) if eqn.primitive.name.startswith("reduce_window") else ()
        wrong = sum(w > 1 for w in window) == 2 and window[rank + axis] > 1
    if wrong:
        raise ValueError(
            "Expected a model of images (N, H, W, C), got one of images (N, C, H, W). Let it begin with "
            "jnp.moveaxis(x, -1, -3); in Keras, with keras.layers.Permute((3, 1, 2))."
        )
