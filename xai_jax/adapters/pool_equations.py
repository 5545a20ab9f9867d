"""Pooling equations of a jaxpr: averages, and the switch-keeping substitute of a max-pooling.

>>> import flax.linen as nn, jax
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from xai_jax.core import pooling


def fast_pool(eqn: JaxprEqn) -> Callable | None:
    """The fast pool for a max-pooling over two axes, else None.

    >>> jaxpr = jax.make_jaxpr(lambda x: nn.max_pool(x, (2, 2), (2, 2)))(np.ones((1, 4, 4, 3)))
    >>> fast_pool(jaxpr.eqns[0])(np.ones((1, 4, 4, 3))).shape
    (1, 2, 2, 3)
    """
    if eqn.primitive.name != "reduce_window_max":
        return None
    p, axes = eqn.params, _axes(eqn)
    rest = [a for a in range(eqn.invars[0].aval.ndim) if a not in axes]
    keys = "window_dimensions", "window_strides", "padding"
    window, strides, padding = (tuple(p[key][a] for a in axes) for key in keys)
    plain = {*p["base_dilation"], *p["window_dilation"]} == {1}
    fits = all(min(pads) >= 0 and max(pads) < w for pads, w in zip(padding, window, strict=True))
    if len(axes) != 2 or not rest or not plain or not fits:
        return None
    order = [*rest[:-1], *axes, rest[-1]]

    def pool(x):
        x = jnp.transpose(x, order)
        y = pooling.max_pool(x.reshape(-1, *x.shape[-3:]), window, strides, tuple(map(tuple, padding)))
        return jnp.transpose(y.reshape(*x.shape[:-3], *y.shape[1:]), np.argsort(order))

    return pool


def _axes(eqn):
    """The axes along which a reduce_window equation has a window, strides or padding."""
    p = eqn.params
    geometry = zip(p["window_dimensions"], p["window_strides"], map(tuple, p["padding"]), strict=True)
    return [a for a, trivial in enumerate(g == (1, 1, (0, 0)) for g in geometry) if not trivial]


def divides(eqn: JaxprEqn, size: int) -> bool:
    """Whether an equation makes an average of the sum over a window of `size` values.

    >>> jaxpr = jax.make_jaxpr(lambda total: (total / 4, total * 0.25, total + 4))(1.0)
    >>> [divides(eqn, 4) for eqn in jaxpr.eqns]
    [True, True, False]
    """
    if eqn.primitive.name == "div":
        return not isinstance(eqn.invars[0], Literal)
    factors = [v.val for v in eqn.invars if isinstance(v, Literal)]
    return eqn.primitive.name == "mul" and len(factors) == 1 and abs(float(factors[0]) * size - 1) < 1e-2
