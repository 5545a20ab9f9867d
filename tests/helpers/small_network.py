"""A network of two layers and images that it can learn, for tests of training."""

import flax.linen as nn
import numpy as np

from xai_jax.core.network import keep
from xai_jax.data.datasets import InMemory


class Small(nn.Module):
    """(N, H, W, C) -> logits (N, 3)."""

    dropout: float = 0.0
    width: int = 4

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        x = tap("relu1", relu(tap("conv1", nn.Conv(self.width, (3, 3), name="conv1")(x))))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return tap("logits", nn.Dense(3, name="dense")(x.reshape(len(x), -1)))


def small_data(count, channels=1, classes=("left", "middle", "right")):
    """Images (count, 6, 6, channels) that are brighter in one third, the class."""
    rng = np.random.default_rng(count)
    labels = rng.integers(0, 3, count).astype(np.int32)
    images = rng.integers(0, 120, (count, 6, 6, channels), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 60
    return InMemory(images, labels, classes)
