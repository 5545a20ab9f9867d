"""A network without ReLUs that refuses a backward rule, as a vision transformer does."""

import flax.linen as nn
import jax
from jax.tree_util import Partial

from xai_jax import models
from xai_jax.core.network import keep


class Smooth(nn.Module):
    """(N, 8, 8, 1) -> logits (N, 10)."""

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep):
        if relu is not nn.relu:
            raise ValueError("Expected a network with ReLUs, to which the backward rule applies, got one with tanh.")
        x = tap("first", nn.tanh(nn.Conv(6, (3, 3))(x)))
        x = tap("second", nn.tanh(nn.Conv(8, (3, 3), 2)(x)))
        return tap("logits", nn.Dense(10)(x.mean((1, 2))))


def smooth():
    """Such a network for digits, as `models.load` returns it."""
    digits, module = models.load("digits"), Smooth()
    variables = module.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
    return digits._replace(net=Partial(module.apply, variables), module=module, variables=variables)
