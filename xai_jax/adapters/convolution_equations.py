"""Convolution equations of a jaxpr: the form that CPUs run fast, in every layout.

>>> import jax
>>> from jax import lax
>>> x, kernel = np.ones((1, 3, 8, 8), np.float32), np.ones((3, 1, 3, 3), np.float32)
>>> depthwise = lambda x, kernel: lax.conv_general_dilated(x, kernel, (2, 2), "SAME", feature_group_count=3)
>>> jaxpr = jax.make_jaxpr(depthwise)(x, kernel)
"""

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

from xai_jax.core import convolution

_MOST_GROUPS = 32
_PARAMETERS = (
    *("window_strides", "padding", "dimension_numbers"),
    *("feature_group_count", "precision", "preferred_element_type"),
)


def fast_convolution(eqn: JaxprEqn) -> Callable | None:
    """On CPU another form of a convolution over two axes, on other platforms the same; None where none is faster.

    >>> bool((fast_convolution(jaxpr.eqns[0])(x, kernel) == depthwise(x, kernel)).all())
    True
    """
    form = _form(eqn) if eqn.primitive.name == "conv_general_dilated" else None
    if form is None:
        return None
    maps, filters, output = eqn.params["dimension_numbers"]

    def cpu(x, kernel):
        x = jnp.transpose(x, (maps[0], *maps[2:], maps[1]))
        kernel = jnp.transpose(kernel, (*filters[2:], filters[1], filters[0]))
        return jnp.transpose(form(x, kernel), np.argsort((output[0], *output[2:], output[1])))

    default = functools.partial(lax.conv_general_dilated, **{name: eqn.params[name] for name in _PARAMETERS})
    return lambda x, kernel: lax.platform_dependent(x, kernel, cpu=cpu, default=default)


def _form(eqn):
    """The fast form for maps (N, H, W, C) and filters (k, l, C, O), or None."""
    p, output = eqn.params, eqn.outvars[0].aval
    strides, pads, groups = p["window_strides"], tuple(map(tuple, p["padding"])), p["feature_group_count"]
    plain = {*p["lhs_dilation"], *p["rhs_dilation"], p["batch_group_count"]} == {1}
    fits = len(strides) == 2 and min(map(min, pads)) >= 0 and output.size > 0
    if not (plain and fits and {v.aval.dtype for v in eqn.invars} == {output.dtype}):
        return None
    maps, filters, outputs = p["dimension_numbers"]
    channels, kernel = eqn.invars[0].aval.shape[maps[1]], eqn.invars[1].aval.shape
    window = [kernel[axis] for axis in filters[2:]]
    if math.prod(window) > convolution.LARGEST_WINDOW:
        return None
    if groups == channels == output.shape[outputs[1]] and strides[0] == strides[1]:
        return functools.partial(convolution.depthwise_convolution, stride=strides[0], padding=pads)
    options = {"dimension_numbers": convolution.LAYOUT, "precision": p["precision"]}
    if 1 < groups <= _MOST_GROUPS:
        return lambda x, kernel: convolution.grouped_convolution(
            x, kernel, strides, pads, feature_group_count=groups, **options
        )
    shape = [output.shape[a] for a in (outputs[0], *outputs[2:])]
    if groups == 1 and convolution.is_product(shape, [*window, *(kernel[a] for a in filters[1::-1])], strides):
        return lambda x, kernel: convolution.convolution(x, kernel, strides, pads, **options)
    return None
