"""CaffeNet: Caffe's reference network (Jia et al. 2014), AlexNet (Krizhevsky et al. 2012) with pooling before norms.

It is "CNN-A" of Mahendran & Vedaldi 2015. Activations in forward order: conv1, relu1, pool1, norm1, conv2, relu2,
pool2, norm2, conv3, relu3, conv4, relu4, conv5, relu5, pool5, fc6, relu6, fc7, relu7, fc8 (the logits).
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import numpy as np

from xai_jax.architectures.zfnet import INITIAL_STD, classify, contrast_normalise, convolve, remaining
from xai_jax.core.convolution import grouped_convolution
from xai_jax.core.network import keep
from xai_jax.weights.safetensors_file import channels_last


class _Convolution(NamedTuple):
    side: int
    stride: int
    padding: int
    groups: int


_CONVOLUTIONS = (
    _Convolution(11, 4, 0, 1),
    _Convolution(5, 1, 2, 2),
    _Convolution(3, 1, 1, 1),
    _Convolution(3, 1, 1, 2),
    _Convolution(3, 1, 1, 2),
)
_SMALLEST = 39  # leaves pool5 one pixel


def _normalise(x):
    return contrast_normalise(x, k=1.0, n=5, alpha=1e-4 / 5, beta=0.75)  # Caffe divides its alpha by n


class CaffeNet(nn.Module):
    """(N, 227, 227, 3) -> logits (N, classes); other sizes from 39 up, the same in training and inference.

    `widths`: channels of the five convolutions, even since conv2, conv4 and conv5 work in two groups. `hidden`: size of
    fc6 and fc7. `without`: numbers of layers, out of 3, 4, 6 and 7, that are removed as in Table 3 of Zeiler & Fergus
    2014, whose initialisation is used; the others keep their names. `initial_std`: standard deviation of the initial
    weights except conv1's. Dropout (0.5, on fc6 and fc7) is active with `train=True` only, which needs
    `rngs={"dropout": key}`. Narrow networks need larger initial weights, and do better without dropout
    (`dropout=False`). Raises ValueError for odd widths, for other layers in `without` and for images too small.
    """

    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    classes: int = 1000
    without: tuple[int, ...] = ()
    initial_std: float = INITIAL_STD
    dropout: bool = True

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        self._check(x)
        convolutions = {number: self._convolution(number) for number in remaining(range(1, 6), self.without)}
        x = convolve(x, convolutions, _normalise, relu, tap)
        hidden = {number: self._dense(number, self.hidden) for number in remaining((6, 7), self.without)}
        return classify(x, hidden, self._dense(8, self.classes), relu, tap, train and self.dropout)

    def _convolution(self, number):
        side, stride, padding, groups = _CONVOLUTIONS[number - 1]
        return nn.Conv(
            self.widths[number - 1],
            (side, side),
            stride,
            padding,
            feature_group_count=groups,
            kernel_init=nn.initializers.normal(INITIAL_STD if number == 1 else self.initial_std),
            conv_general_dilated=grouped_convolution if groups > 1 else None,
            name=f"conv{number}",
        )

    def _dense(self, number, size):
        return nn.Dense(size, kernel_init=nn.initializers.normal(self.initial_std), name=f"fc{number}")

    def _check(self, x):
        if len(self.widths) != 5 or any(width % 2 for width in self.widths):
            raise ValueError(f"Expected five even widths (convolutions in two groups), got {self.widths}.")
        if x.ndim != 4 or min(x.shape[1:3]) < _SMALLEST:
            raise ValueError(f"Expected images (N, H, W, C) with sides of {_SMALLEST} or more, got shape {x.shape}.")


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in Caffe's and PyTorch's layout, named "conv1.weight", ..., "fc8.bias" -> flat own entries.

    Filters of conv1 are taken to read blue, green, red, as Caffe's do; here they read red, green, blue. Unknown entries
    keep their names, so that `weights.fit` can list them.
    """
    leaves = {"weight": "kernel", "bias": "bias"}
    names = (*(f"conv{number}" for number in range(1, 6)), "fc6", "fc7", "fc8")
    entries = {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        if layer in names and leaf in leaves:
            entries[f"params/{layer}/{leaves[leaf]}"] = _layout(array, layer, state)
        else:
            entries[name] = array
    return entries


def _layout(array, layer, state):
    if array.ndim == 4:
        array = array[:, ::-1] if layer == "conv1" else array
        return array.transpose(2, 3, 1, 0)
    if layer == "fc6" and array.ndim == 2:
        return channels_last(array, state["conv5.bias"].size if "conv5.bias" in state else 1).T
    return array.T
