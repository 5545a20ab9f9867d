"""Residual networks (He et al. 2016, Table 1) as torchvision has them.

Batch norm follows every convolution; in bottlenecks the 3x3 convolution has the stride, not the first 1x1 convolution
as in the paper. Activations in forward order:

    conv1, relu1, pool1                     conv: after batch norm, before rectification
    layer1_0/conv1, layer1_0/relu1, ...     convolutions of a block; its last one is not rectified by itself
    layer1_0/downsample                     1x1 convolution of the shortcut, where the shape changes
    layer1_0/sum, layer1_0                  shortcut plus last convolution; the same rectified, the block's output
    layer1_1, ..., layer4_2                 the other blocks, each with its convolutions and its sum
    pool2                                   (N, C), averaged over positions
    logits                                  (N, classes)

`layer1_0` is "layer1.0" in torchvision and the first block of "conv2_x" in the paper.
"""

import functools
import re
from collections.abc import Mapping

import flax.linen as nn
import numpy as np

from xai_jax.architectures import googlenet
from xai_jax.architectures.zfnet import check_sides
from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool

_Convolution = functools.partial(googlenet.Convolution, epsilon=1e-5)
_EXPANSION = 4  # of a bottleneck's last convolution


class Block(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1, added to the block's input (Figure 5)."""

    width: int
    stride: int = 1
    bottleneck: bool = False

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        y, layers = x, self._layers()
        for number, (width, side, stride) in enumerate(layers, 1):
            convolution = _Convolution(width, (side, side), stride, side // 2, name=f"conv{number}")
            y = tap(f"{self.name}/conv{number}", convolution(y, train))
            if number < len(layers):
                y = tap(f"{self.name}/relu{number}", relu(y))
        if x.shape != y.shape:
            shortcut = _Convolution(y.shape[-1], (1, 1), self.stride, 0, name="downsample")
            x = tap(f"{self.name}/downsample", shortcut(x, train))
        return tap(self.name, relu(tap(f"{self.name}/sum", x + y)))

    def _layers(self):
        """(channels, side of the filters, stride) of each convolution."""
        if self.bottleneck:
            return (self.width, 1, 1), (self.width, 3, self.stride), (_EXPANSION * self.width, 1, 1)
        return (self.width, 3, self.stride), (self.width, 3, 1)


class ResNet(nn.Module):
    """(N, H, W, C) -> logits (N, classes); the network's own size is 224, others work too.

    `stages` counts the blocks of each stage; the first has `width` channels, each further one twice as many. With
    `train=True` batch norm uses the statistics of the batch and updates its own, which needs `mutable=["batch_stats"]`.
    """

    stages: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    width: int = 64
    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        check_sides(x, 1)
        x = tap("conv1", _Convolution(self.width, (7, 7), 2, 3, name="conv1")(x, train))
        x = tap("relu1", relu(x))
        x = tap("pool1", max_pool(x, 3, 2, ((1, 1), (1, 1))))
        for stage, depth in enumerate(self.stages):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                name = f"layer{stage + 1}_{number}"
                x = Block(2**stage * self.width, stride, self.bottleneck, name=name)(x, relu, tap, train)
        return googlenet.classify(x, self.classes, 0.0, "pool2", tap, train)


resnet18 = ResNet
resnet50 = functools.partial(ResNet, (3, 4, 6, 3), bottleneck=True)


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State dictionary of torchvision's ResNets -> flat entries of this module ("params/layer1_0/conv1/conv/kernel").

    Counters of batches are dropped. Unknown entries keep their names, so that `weights.fit` can list them.
    """
    return googlenet.renamed({_as_unit(name): array for name, array in state.items()}, _layer, ())


def _as_unit(name):
    """Names under which a convolution and its batch norm belong together, as in GoogLeNet: layer1.0.conv1.bn.weight."""
    name = re.sub(r"\b(conv|bn)(\d)\.(?=\w+$)", r"conv\2.\1.", name)
    return re.sub(r"\bdownsample\.([01])\.", lambda found: f"downsample.{('conv', 'bn')[int(found[1])]}.", name)


def _layer(path):
    found = re.fullmatch(r"(?:(layer\d)\.(\d+)\.)?(conv\d|downsample)", path)
    return found and (f"{found[1]}_{found[2]}/{found[3]}" if found[1] else found[3])
