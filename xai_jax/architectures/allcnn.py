"""All convolutional networks (Springenberg et al. 2015).

`AllCNN`: the twelve networks for CIFAR of Table 3, derived from the base models A, B and C of Table 1. Activations in
forward order: conv1, relu1, pool1 (pools are counted by themselves), ..., logits (the average over positions).
`LargeAllCNN`: the network with 2x2 filters for 126x126 images (Table 4). `AllCNNImageNet`: All-CNN-B enlarged for
ImageNet (section 3.3 and appendix B). Both have conv1, relu1, ..., logits.

Convolutions with stride 2 replace pooling, and global average pooling replaces fully connected layers.
"""

from typing import Literal, NamedTuple

import flax.linen as nn

from xai_jax.architectures.zfnet import check_sides, complete_pool
from xai_jax.core.convolution import convolution
from xai_jax.core.messages import listed, quoted
from xai_jax.core.network import keep

_he = nn.initializers.he_normal()

# The paper does not give the initialisation. A rectified logit that is negative for all images has no gradient, and
# with max-pooling all ten start so: here the logits start near 1 instead.
_ALIVE = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.ones}


class Layer(NamedTuple):
    """A convolution: number and side of its filters, stride, padding, and the dropout after it."""

    channels: int
    side: int
    stride: int = 1
    padding: str | int = "SAME"
    dropout: float = 0.0


class Pool(NamedTuple):
    """A max-pooling, and the dropout after it."""

    dropout: float = 0.5


# Table 1: sides of the filters in each of the two stacks that a pooling layer ends.
BASES = {"A": (5,), "B": (5, 1), "C": (3, 3)}
VARIANTS = ("base", "strided", "convpool", "allcnn")


def stack(sides: tuple[int, ...], channels: int, variant: str) -> tuple[Layer | Pool, ...]:
    """Convolutions and the layer that halves their map: max-pooling or a strided convolution (Table 2).

    >>> [type(each).__name__ for each in stack((3, 3), 96, "convpool")]
    ['Layer', 'Layer', 'Layer', 'Pool']
    """
    *before, last = (Layer(channels, side) for side in sides)
    match variant:
        case "strided":
            return (*before, Layer(channels, last.side, 2, last.side // 2, 0.5))
        case "convpool":
            return (*before, last, Layer(channels, 3), Pool())
        case "allcnn":
            return (*before, last, Layer(channels, 3, 2, 1, 0.5))
        case _:
            return (*before, last, Pool())


def layers(base: str, variant: str, width: float, classes: int) -> tuple[Layer | Pool, ...]:
    """The layers of a network of Table 3 in forward order.

    Args:
      base: "A", "B" or "C", of Table 1.
      variant: "base", "strided", "convpool" or "allcnn", of Table 2.
      width: factor of the number of channels.
      classes: number of logits.

    Returns:
      Convolutions and poolings.

    Raises:
      KeyError: for an unknown base.
    """
    narrow, wide = (max(1, round(channels * width)) for channels in (96, 192))
    stacks = (*stack(BASES[base], narrow, variant), *stack(BASES[base], wide, variant))
    # Unpadded 3x3 filters make the 8x8 map 6x6, the size that Table 1 averages over.
    return (*stacks, Layer(wide, 3, 1, "VALID"), Layer(wide, 1), Layer(classes, 1))


class AllCNN(nn.Module):
    """(N, 32, 32, C) -> logits (N, classes); other sizes from 12 up work too.

    `variant`: "base" pools, "strided" has stride 2 in the preceding convolution instead, "allcnn" replaces pooling by a
    convolution with stride 2, "convpool" adds that convolution with stride 1 before pooling. `width` multiplies the
    channels. Every convolution is followed by a ReLU, the last one too. Dropout (0.2 on the input, 0.5 on every halved
    map) is active with `train=True` only, which needs `rngs={"dropout": key}`; narrow networks do better without it
    (`dropout=False`). Raises ValueError for unknown models and for images too small.
    """

    base: Literal["A", "B", "C"] = "C"
    variant: Literal["base", "strided", "convpool", "allcnn"] = "allcnn"
    width: float = 1.0
    classes: int = 10
    dropout: bool = True

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        self._check(x)
        dropping = train and self.dropout
        x = nn.Dropout(0.2, deterministic=not dropping)(x)
        convolutions = pools = 0
        plan = layers(self.base, self.variant, self.width, self.classes)
        for layer in plan:
            if isinstance(layer, Pool):
                pools += 1
                x = tap(f"pool{pools}", complete_pool(x))
            else:
                convolutions += 1
                start = _ALIVE if layer is plan[-1] else {}
                x = tap(f"conv{convolutions}", _convolution(layer, convolutions, **start)(x))
                x = tap(f"relu{convolutions}", relu(x))
            x = nn.Dropout(layer.dropout, deterministic=not dropping)(x)
        return tap("logits", x.mean((1, 2)))

    def _check(self, x):
        if self.base not in BASES or self.variant not in VARIANTS:
            raise ValueError(
                f"Expected a base of {listed(BASES)} and a variant of {listed(VARIANTS)}, "
                f"got {quoted(self.base)} and {quoted(self.variant)}."
            )
        if self.width <= 0:
            raise ValueError(f"Expected a positive width, got {self.width}. It multiplies the 96 and 192 channels.")
        check_sides(x, 12)


def _convolution(layer, number, **start):
    start = {"kernel_init": _he, "conv_general_dilated": convolution} | start
    return nn.Conv(layer.channels, (layer.side,) * 2, layer.stride, layer.padding, name=f"conv{number}", **start)


# Two convolutions with dropout and a third that halves the map: 126 -> 62 -> 30 -> 14 -> 6 -> 2 pixels, then 1.
LARGE_STAGES = ((320, 0.0), (640, 0.1), (960, 0.2), (1280, 0.3), (1600, 0.4))
LARGE_LAYERS = (
    *(
        Layer(channels, 2, stride, "VALID", dropout if stride == 1 else 0.0)
        for channels, dropout in LARGE_STAGES
        for stride in (1, 1, 2)
    ),
    Layer(1920, 2, 1, "VALID", 0.5),
    Layer(1920, 1, 1, "VALID", 0.5),
)


class LargeAllCNN(nn.Module):
    """(N, 126, 126, C) -> logits (N, classes); sides of 126 or more. `width` multiplies the channels.

    The leaky ReLU is relu(x) - negative_slope * relu(-x), so that a backward rule applies to both of its gates. Where
    the paper gives no details: the negative slope of 1/3 and dropout after the convolutions with stride 1 are those of
    the network of Graham (2014, arXiv:1409.6070) that this one enlarges; the last layer is linear. Dropout is active
    with `train=True` only, which needs `rngs={"dropout": key}`. Raises ValueError for images too small.
    """

    width: float = 1.0
    negative_slope: float = 1 / 3
    classes: int = 10

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        check_sides(x, 126)
        for number, layer in enumerate(LARGE_LAYERS, 1):
            layer = layer._replace(channels=max(1, round(layer.channels * self.width)))
            x = tap(f"conv{number}", _convolution(layer, number)(x))
            x = tap(f"relu{number}", relu(x) - self.negative_slope * relu(-x))
            x = nn.Dropout(layer.dropout, deterministic=not train)(x)
        number = len(LARGE_LAYERS) + 1
        x = tap(f"conv{number}", _convolution(Layer(self.classes, 1), number)(x))
        return tap("logits", x.mean((1, 2)))


# Strided 3x3 layers are unpadded: 224 -> 56 -> 27 -> 13 -> 6 pixels, so the average is over 6x6.
LAYERS = (
    Layer(96, 11, 4),
    Layer(96, 1),
    Layer(96, 3, 2, "VALID"),
    Layer(256, 5),
    Layer(256, 1),
    Layer(256, 3, 2, "VALID"),
    Layer(384, 3),
    Layer(384, 1),
    Layer(384, 3, 2, "VALID"),
    Layer(1024, 3),
    Layer(1024, 1),
)
DROPOUT_AFTER = 9


class AllCNNImageNet(nn.Module):
    """(N, 224, 224, 3) -> logits (N, classes); other sizes from 57 up work too. `width` multiplies the channels.

    Every convolution is followed by a ReLU, the last one too. Dropout (0.5, after layer 9) is active with `train=True`
    only, which needs `rngs={"dropout": key}`; narrow networks do better without it (`dropout=False`).
    """

    classes: int = 1000
    width: float = 1.0
    dropout: bool = True

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        check_sides(x, 57)
        hidden = (layer._replace(channels=max(1, round(layer.channels * self.width))) for layer in LAYERS)
        for number, layer in enumerate((*hidden, Layer(self.classes, 1)), 1):
            start = _ALIVE if number > len(LAYERS) else {}
            x = tap(f"conv{number}", _convolution(layer, number, **start)(x))
            x = tap(f"relu{number}", relu(x))
            if number == DROPOUT_AFTER:
                x = nn.Dropout(0.5, deterministic=not (train and self.dropout))(x)
        return tap("logits", x.mean((1, 2)))
