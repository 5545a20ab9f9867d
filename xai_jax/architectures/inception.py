"""Inception v3 (Szegedy et al. 2016, Table 1) as torchvision has it.

Activations in forward order; names are torchvision's in lower case, convolutions are taken after their rectification:

    conv2d_1a_3x3, conv2d_2a_3x3, conv2d_2b_3x3, pool1, conv2d_3b_1x1, conv2d_4a_3x3, pool2
    mixed_5b/branch1x1, mixed_5b/branch5x5_1, mixed_5b/branch5x5_2, ...    convolutions of the module's branches
    mixed_5b                                                               the branches one after the other, last axis
    mixed_5c, mixed_5d, mixed_6a to mixed_6e, mixed_7a, mixed_7b, mixed_7c, each with its convolutions
    pool3                                                                  (N, 2048), averaged over positions
    logits                                                                 (N, classes)

`mixed_5b` is "Mixed_5b" in torchvision and TF-Slim. The auxiliary classifier, which only training uses, is left out.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax

from xai_jax.architectures.googlenet import Convolution, classify, renamed
from xai_jax.architectures.zfnet import check_sides
from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool

_SMALLEST = 75  # leaves mixed_7c a pixel


class Layer(NamedTuple):
    """A convolution of a branch: its name, width, window, stride and padding."""

    name: str
    width: int
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str | int = "SAME"


Branch = tuple[Layer | tuple[Layer, ...], ...]  # layers in a tuple read the same map and stand side by side


def _halving(name, width):
    return Layer(name, width, (3, 3), 2, "VALID")


class Mixed(nn.Module):
    """Branches side by side, and pooling as the last of them.

    `pooled`: channels of the 1x1 convolution after averaging 3x3 pixels; 0 for modules that halve the map, where the
    last branch is the maximum of 3x3 pixels.
    """

    branches: tuple[Branch, ...]
    pooled: int = 0

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        def convolve(x, step):
            if not isinstance(step, Layer):
                return jnp.concatenate([convolve(x, layer) for layer in step], axis=-1)
            return tap(f"{self.name}/{step.name}", relu(Convolution(*step[1:], name=step.name)(x, train)))

        parts = []
        for branch in self.branches:
            y = x
            for step in branch:
                y = convolve(y, step)
            parts.append(y)
        parts.append(convolve(_average(x), Layer("branch_pool", self.pooled)) if self.pooled else max_pool(x, 3, 2))
        return tap(self.name, jnp.concatenate(parts, axis=-1))


def _average(x):
    """Windows at the border count the zeros around the map, as torchvision's do."""
    return nn.pool(x, 0.0, lax.add, (3, 3), (1, 1), "SAME") / 9


def _figure5(pooled):
    """Figure 5, of whose 3x3 pairs one stays a 5x5 convolution."""
    five = (Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5)))
    three = (Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, (3, 3)), Layer("branch3x3dbl_3", 96, (3, 3)))
    return ((Layer("branch1x1", 64),), five, three), pooled


def _figure6(width):
    """Figure 6: 7x7 convolutions as rows and columns; the last of a branch has 192 channels."""
    seven = (Layer("branch7x7_1", width), Layer("branch7x7_2", width, (1, 7)), Layer("branch7x7_3", 192, (7, 1)))
    twice = (
        Layer("branch7x7dbl_1", width),
        Layer("branch7x7dbl_2", width, (7, 1)),
        Layer("branch7x7dbl_3", width, (1, 7)),
        Layer("branch7x7dbl_4", width, (7, 1)),
        Layer("branch7x7dbl_5", 192, (1, 7)),
    )
    return ((Layer("branch1x1", 192),), seven, twice), 192


def _figure7():
    """Figure 7: rows and columns side by side."""

    def both(name):
        return Layer(f"{name}a", 384, (1, 3)), Layer(f"{name}b", 384, (3, 1))

    three = (Layer("branch3x3_1", 384), both("branch3x3_2"))
    twice = (Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, (3, 3)), both("branch3x3dbl_3"))
    return ((Layer("branch1x1", 320),), three, twice), 192


# Figure 10: convolutions with stride 2 beside max-pooling.
_HALF_6 = (
    (_halving("branch3x3", 384),),
    (Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, (3, 3)), _halving("branch3x3dbl_3", 96)),
)
_HALF_7 = (
    (Layer("branch3x3_1", 192), _halving("branch3x3_2", 320)),
    (
        Layer("branch7x7x3_1", 192),
        Layer("branch7x7x3_2", 192, (1, 7)),
        Layer("branch7x7x3_3", 192, (7, 1)),
        _halving("branch7x7x3_4", 192),
    ),
)

_STEM = (
    _halving("conv2d_1a_3x3", 32),
    Layer("conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    Layer("conv2d_2b_3x3", 64, (3, 3)),
    "pool1",
    Layer("conv2d_3b_1x1", 80),
    Layer("conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    "pool2",
)
_MODULES = {
    "mixed_5b": _figure5(32),
    "mixed_5c": _figure5(64),
    "mixed_5d": _figure5(64),
    "mixed_6a": (_HALF_6,),
    "mixed_6b": _figure6(128),
    "mixed_6c": _figure6(160),
    "mixed_6d": _figure6(160),
    "mixed_6e": _figure6(192),
    "mixed_7a": (_HALF_7,),
    "mixed_7b": _figure7(),
    "mixed_7c": _figure7(),
}


class InceptionV3(nn.Module):
    """(N, 299, 299, 3) with values (pixel - 127.5) / 127.5 -> logits (N, classes); sides of 75 or more.

    With `train=True` batch norm uses the statistics of the batch and updates its own, which needs
    `mutable=["batch_stats"]`, and dropout (0.5, before the last layer) needs `rngs={"dropout": key}`.
    """

    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        check_sides(x, _SMALLEST)
        for layer in _STEM:
            if isinstance(layer, Layer):
                x = tap(layer.name, relu(Convolution(*layer[1:], name=layer.name)(x, train)))
            else:
                x = tap(layer, max_pool(x, 3, 2))
        for name, module in _MODULES.items():
            x = Mixed(*module, name=name)(x, relu, tap, train)
        return classify(x, self.classes, 0.5, "pool3", tap, train)


_CONVOLUTIONS = r"Conv2d_\d[a-z]_\dx\d|Mixed_\d[a-e]\.branch\w+"


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State dictionary of torchvision's inception_v3 -> flat entries of this module ("params/mixed_5b/...").

    Entries of the auxiliary classifier and counters of batches are dropped. Unknown entries keep their names, so that
    `weights.fit` can list them.
    """
    return renamed(state, _layer, ("AuxLogits.",))


def _layer(path):
    return path.lower().replace(".", "/") if re.fullmatch(_CONVOLUTIONS, path) else None
