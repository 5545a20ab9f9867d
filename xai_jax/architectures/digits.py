"""A tiny network for 8x8 handwritten digits, for tests and smoke runs."""

import flax.linen as nn

from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool


class DigitsNet(nn.Module):
    """(N, 8, 8, 1) in [0, 1] -> logits (N, classes). Activations: conv1, relu1, pool1, conv2, relu2, logits."""

    classes: int = 10

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        del train
        x = tap("conv1", nn.Conv(16, (3, 3), name="conv1")(x))
        x = tap("relu1", relu(x))
        x = tap("pool1", max_pool(x, 2))
        x = tap("conv2", nn.Conv(32, (3, 3), name="conv2")(x))
        x = tap("relu2", relu(x))
        return tap("logits", nn.Dense(self.classes, name="dense")(x.reshape(len(x), -1)))
