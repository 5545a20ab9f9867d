"""Backward rules for rectification.

A rule is a ReLU whose gradient was replaced. Hand it to a network and every rectification follows it:
`net(x, relu=guided_relu)`. A new rule is one decorated function:

    @rules.backward
    def sign_relu(x, gradient):
        return jnp.where(x > 0, jnp.sign(gradient), 0)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

Relu = Callable[[Array], Array]


def backward(rule: Callable[[Array, Array], Array]) -> Relu:
    """Turns a backward rule into a ReLU that uses it.

    `rule(x, gradient)` maps the ReLU's input and the signal from above, of the same shape, to the signal below.
    The forward value is always `max(x, 0)`.
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
    """ReLU that rectifies the signal on its way down, whatever the input was (Zeiler & Fergus 2014, section 2.1)."""
    del x
    return jax.nn.relu(gradient)


@backward
def guided_relu(x, gradient):
    """ReLU that passes positive signals at positive inputs only (Springenberg et al. 2015, section 3.4)."""
    return jnp.where(x > 0, jax.nn.relu(gradient), 0)


def relu6(x: Array, relu: Relu = jax.nn.relu) -> Array:
    """ReLU clipped at 6 whose lower gate follows `relu`; the upper gate lets no signal through at 6 and above."""
    rectified = relu(x)
    return jnp.where(rectified < 6, rectified, 6)
