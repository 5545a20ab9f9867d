"""Backward rules for rectification.

A rule is a ReLU with another gradient. A network applies it at every rectification: `net(x, relu=guided_relu)`. A new
rule is one decorated function:

>>> @backward
... def sign_relu(x, gradient):
...     return jnp.where(x > 0, jnp.sign(gradient), 0)
>>> float(jax.grad(lambda x: 7 * sign_relu(x))(2.0))
1.0
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

Relu = Callable[[Array], Array]


def backward(rule: Callable[[Array, Array], Array]) -> Relu:
    """Returns a ReLU with the given backward rule.

    `rule(x, gradient)` maps the input of the ReLU and the gradient with respect to its output, of the same shape, to
    the backward signal. The forward value is always `max(x, 0)`.
    """

    @jax.custom_vjp
    def relu(x):
        return jax.nn.relu(x)

    def forward(x):
        return jax.nn.relu(x), x

    relu.defvjp(forward, lambda x, gradient: (rule(x, gradient),))
    relu.__name__ = relu.__qualname__ = rule.__name__
    relu.__doc__ = rule.__doc__
    return relu


@backward
def deconv_relu(x, gradient):
    """Rectifies the backward signal regardless of the input (Zeiler & Fergus 2014, section 2.1).

    >>> jax.grad(deconv_relu)(-1.0).item(), jax.grad(lambda x: -deconv_relu(x))(1.0).item()
    (1.0, 0.0)
    """
    del x
    return jax.nn.relu(gradient)


@backward
def guided_relu(x, gradient):
    """Passes positive backward signals at positive inputs only (Springenberg et al. 2015, section 3.4).

    >>> jax.grad(guided_relu)(-1.0).item(), jax.grad(guided_relu)(1.0).item()
    (0.0, 1.0)
    """
    return jnp.where(x > 0, jax.nn.relu(gradient), 0)


def relu6(x: Array, relu: Relu = jax.nn.relu) -> Array:
    """ReLU6 with the backward rule of `relu` at its lower bound; the gradient is zero at 6 and above.

    >>> relu6(jnp.array([-1.0, 3.0, 7.0])).tolist()
    [0.0, 3.0, 6.0]
    """
    rectified = relu(x)
    return jnp.where(rectified < 6, rectified, 6)
