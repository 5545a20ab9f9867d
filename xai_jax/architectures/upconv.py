"""A network from features to images: convolutions on maps that double in size, as Dosovitskiy & Brox 2016 use."""

import math

import flax.linen as nn
import jax
from jax import Array


class UpConv(nn.Module):
    """Features (N, d) or (N, h, w, c) -> images (N, *shape).

    Vectors are spread over the first size of at most 8 that comes from halving the image's. Maps of the image's size
    have `width` channels, those of half the size twice as many, at most eight times as many. Rectifiers leak 0.2.
    """

    shape: tuple[int, int, int]
    width: int = 16

    @nn.compact
    def __call__(self, features: Array) -> Array:
        height, width, _ = self.shape
        x = features
        if x.ndim == 2:
            first = _small(height), _small(width)
            channels = self._channels(first[0])
            x = _leaky(nn.Dense(math.prod(first) * channels)(x)).reshape(len(x), *first, channels)
        x = _leaky(nn.Conv(self._channels(x.shape[1]), (3, 3))(x))
        while x.shape[1:3] != (height, width):
            size = min(2 * x.shape[1], height), min(2 * x.shape[2], width)
            x = jax.image.resize(x, (len(x), *size, x.shape[3]), "nearest")
            x = _leaky(nn.Conv(self._channels(size[0]), (3, 3))(x))
        return nn.Conv(self.shape[2], (3, 3))(x)

    def _channels(self, height):
        return self.width * min(8, max(1, self.shape[0] // height))


def _small(size):
    while size > 8:
        size = math.ceil(size / 2)
    return size


def _leaky(x):
    return jax.nn.leaky_relu(x, 0.2)
