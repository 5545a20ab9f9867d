"""ZFNet: the network of Zeiler & Fergus 2014 (Figure 3).

Activations in forward order: conv1, relu1, pool1, norm1, conv2, relu2, pool2, norm2, conv3, relu3, conv4, relu4, conv5,
relu5, pool5, fc6, relu6, fc7, relu7, fc8 (the logits). The paper prints the sizes 55 (pool1) and 6 (pool5); they and
filters without padding in layer 2 follow from pooling that keeps the last, incomplete window.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from xai_jax.network import keep
from xai_jax.pooling import max_pool

# Filter side, stride, padding of the five convolutions.
_CONVOLUTIONS = ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1))


def complete_pool(x: Array) -> Array:
    """3x3 max-pooling with stride 2 that keeps a last, incomplete window: H -> ceil((H - 1) / 2)."""
    rows, columns = ((n - 3) % 2 for n in x.shape[1:3])
    return max_pool(x, 3, 2, ((0, rows), (0, columns)))


def contrast_normalise(x: Array, k=2.0, n=5, alpha=1e-4, beta=0.75) -> Array:
    """x / (k + alpha * sum of x^2 over n neighbouring channels)^beta (Krizhevsky et al. 2012, section 3.3)."""
    channels, half = x.shape[-1], n // 2
    squares = jnp.pad(x * x, ((0, 0), (0, 0), (0, 0), (half, half)))
    energy = sum(squares[..., shift : shift + channels] for shift in range(n))
    return x / (k + alpha * energy) ** beta


class ZFNet(nn.Module):
    """(N, 224, 224, 3) -> logits (N, classes); other sizes from 47 up work too, the same in training and use.

    `widths`: channels of the five convolutions; the paper's variant (b) has (96, 256, 512, 1024, 512). Dropout (rate
    0.5, on fc6 and fc7) acts only with `train=True`, which needs `rngs={"dropout": key}`.
    """

    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        if x.ndim != 4 or min(x.shape[1:3]) < 47:
            raise ValueError(f"Expected images (N, H, W, C) with sides of 47 or more, got shape {x.shape}.")
        for number, (width, (side, stride, pad)) in enumerate(zip(self.widths, _CONVOLUTIONS, strict=True), 1):
            x = nn.Conv(width, (side, side), stride, padding=pad, name=f"conv{number}")(x)
            x = tap(f"conv{number}", x)
            x = tap(f"relu{number}", relu(x))
            if number in (1, 2, 5):
                x = tap(f"pool{number}", complete_pool(x))
            if number in (1, 2):
                x = tap(f"norm{number}", contrast_normalise(x))
        x = x.reshape(x.shape[0], -1)
        for number in (6, 7):
            x = tap(f"fc{number}", nn.Dense(self.hidden, name=f"fc{number}")(x))
            x = tap(f"relu{number}", relu(x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        return tap("fc8", nn.Dense(self.classes, name="fc8")(x))
