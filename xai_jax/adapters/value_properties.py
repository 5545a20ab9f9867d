"""Properties of values that equations pass on, for `xai_jax.adapters.rectifiers`.

Properties of a value: `"positive"`, not negative; `"fixed"`, independent of images and weights; `"flat"`, without a
gradient; `"pixels"`, scaled, clipped or resized images; `"reduced"`, sums over other values; `"square"`, a term is the
square of such a value; `"moment"`, of a sum of squares or the square of a sum, as variances and squared distances are.

>>> import jax
>>> square, add = jax.make_jaxpr(lambda x: (x * x).sum(0))(jnp.ones(3)).eqns
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from xai_jax.adapters.jaxpr_parts import jaxprs, nn_relu
from xai_jax.adapters.piecewise_linear import PIECEWISE_LINEAR, evaluate

NEUTRAL = frozenset({"flat", "pixels", "reduced"})  # properties of values that do not depend on the images
DEAD, DIVISOR, SIGNAL = range(3)  # how the logits depend on a value: without a gradient, as a divisor, otherwise
_NO_GRADIENT = frozenset("argmax argmin ceil eq floor ge gt is_finite le lt ne round sign stop_gradient".split())
_NOT_NEGATIVE = frozenset("abs exp exp2 logistic sqrt rsqrt square eq ge gt le lt ne".split())
_SMOOTH = frozenset(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma erf erf_inv erfc exp exp2 expm1 integer_pow lgamma
    log log1p logistic pow rsqrt sin sinh sqrt square tan tanh""".split()
)
_MOVES = frozenset("broadcast_in_dim expand_dims reshape rev slice squeeze transpose".split())
_SUMS = frozenset("cumsum reduce_sum reduce_window_sum".split())
_LINEAR = (
    frozenset("add add_any concatenate convert_element_type copy copy_p gather name neg pad".split())
    | frozenset("dynamic_slice reduce_precision select_n split sub".split())
    | _MOVES
    | _SUMS
)
_KEEP_SIGN = (_LINEAR - {"neg", "sub"}) | frozenset(
    "clamp cummax cummin div log1p min mul reduce_max reduce_min reduce_window_max stop_gradient".split()
)


def is_elementwise(eqn: JaxprEqn) -> bool:
    """Whether each element of the output is a function of the same element of the inputs.

    >>> is_elementwise(square), is_elementwise(add)
    (True, False)
    """
    return eqn.primitive.name in PIECEWISE_LINEAR or eqn.primitive.name in _SMOOTH


def operation(eqn: JaxprEqn) -> str:
    """Name of an elementwise equation for `piecewise_linear.evaluate`, "" for one on complex numbers or to integers.

    >>> operation(square)
    'mul'
    """
    types, out = [v.aval.dtype for v in eqn.invars], eqn.outvars[0].aval.dtype
    rounds = jnp.issubdtype(out, jnp.integer) and jnp.issubdtype(types[0], jnp.inexact)
    is_complex = any(jnp.issubdtype(t, jnp.complexfloating) for t in (*types, out))
    return "" if rounds or is_complex else eqn.primitive.name


def uniform(value: Any) -> float | None:
    """The number of which a literal or a small array consists, if there is one.

    >>> uniform(np.zeros(3)), uniform(np.arange(3))
    (0.0, None)
    """
    if not isinstance(value, np.ndarray | np.generic | float | int) or not 0 < np.size(value) < 1 << 16:
        return None
    flat = np.asarray(value).ravel()
    return float(flat[0]) if (flat == flat[0]).all() else None


def fold(eqn: JaxprEqn, numbers: Sequence[float]) -> float | None:
    """The number of which the output consists if the inputs consist of `numbers`, None if it is unknown.

    >>> fold(square, [3.0, 3.0])
    9.0
    """
    name = eqn.primitive.name
    if name in _MOVES:
        return numbers[0]
    return float(evaluate(name, *numbers)) if name in PIECEWISE_LINEAR else None


def use(eqn: JaxprEqn, position: int, outputs: int) -> int:
    """How the logits depend on an input of an equation, given how they depend on its outputs.

    >>> use(square, 0, SIGNAL) == SIGNAL
    True
    """
    name = eqn.primitive.name
    if name in _NO_GRADIENT or (name == "select_n" and position == 0):
        return DEAD
    if outputs and jaxprs(eqn):
        return SIGNAL
    power = eqn.params.get("y", 1)
    if name == "pow":
        power = uniform(getattr(eqn.invars[1], "val", None)) or 1
    divides = name == "rsqrt" or (name == "div" and position == 1) or (power < 0 and position == 0)
    return min(outputs, DIVISOR) if divides else outputs


def flags(eqn: JaxprEqn, known: Sequence[frozenset[str]], images: Sequence[bool]) -> frozenset[str]:
    """Properties of the outputs of an equation, given those of its inputs and whether they depend on the images.

    >>> sorted(flags(add, [flags(square, [frozenset()] * 2, [True] * 2)], [True]))
    ['moment', 'positive', 'reduced', 'square']
    """
    name, every = eqn.primitive.name, frozenset.intersection(*known)
    some = frozenset().union(*(k for k, image in zip(known, images, strict=True) if image))
    scaled = sum(images) == 1 and (name == "mul" or (name == "div" and images[0]))
    squared = name == "square" or (name == "integer_pow" and eqn.params["y"] % 2 == 0)
    squared = squared or (eqn.invars[0] is eqn.invars[-1] and name in ("mul", "dot_general"))
    found = every & {"fixed", "flat"} | ({"flat"} if name in _NO_GRADIENT else set())
    resizes = name in ("conv_general_dilated", "dot_general") and sum("fixed" in k for k in known) == 1
    if resizes or name in ("clamp", "max", "min"):
        found |= every & {"pixels"}
    if name in _LINEAR or scaled:
        found |= every & {"reduced", "pixels"} | some & {"square", "moment"}
    if squared:
        found |= every & {"reduced"} | {"square"}
    if name in _SUMS or (squared and name == "dot_general"):
        found |= {"reduced"}
    if found >= {"square", "reduced"}:
        found |= {"moment"}
    positive = squared or name in _NOT_NEGATIVE or bool(nn_relu(eqn)) or (name in _KEEP_SIGN and "positive" in every)
    positive = positive or (name == "max" and any("positive" in k for k in known))
    return found | {"positive"} if positive else found
