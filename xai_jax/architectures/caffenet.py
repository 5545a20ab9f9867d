"""CaffeNet: Caffe's reference network (Jia et al. 2014), AlexNet (Krizhevsky et al. 2012) with pooling before norms.

Caffe's AlexNet, which pools after norms and has weights of the same shapes, is here too.

It is "CNN-A" of Mahendran & Vedaldi 2015. Activations in forward order: conv1, relu1, pool1, norm1, conv2, relu2,
pool2, norm2, conv3, relu3, conv4, relu4, conv5, relu5, pool5, fc6, relu6, fc7, relu7, fc8 (the logits).
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from xai_jax.architectures.zfnet import ZFNet, contrast_normalise, renamed


class CaffeNet(ZFNet):
    """(N, 227, 227, 3) -> logits (N, classes); other sizes from 39 up, the same in training and inference.

    `widths`: channels of the five convolutions, even since conv2, conv4 and conv5 work in two groups. `hidden`: size of
    fc6 and fc7. `without`: numbers of layers, out of 3, 4, 6 and 7, that are removed as in Table 3 of Zeiler & Fergus
    2014, whose initialisation is used; the others keep their names. `initial_std`: standard deviation of the initial
    weights except conv1's. Dropout (0.5, on fc6 and fc7) is active with `train=True` only, which needs
    `rngs={"dropout": key}`. Narrow networks need larger initial weights, and do better without dropout
    (`dropout=False`). Raises ValueError for odd widths, for other layers in `without` and for images too small.
    """

    layers: ClassVar[str] = "Pooling LRN Pooling LRN Pooling"  # in Caffe's words
    convolutions: ClassVar = ((11, 4, 0, 1), (5, 1, 2, 2), (3, 1, 1, 1), (3, 1, 1, 2), (3, 1, 1, 2))
    smallest: ClassVar[int] = 39  # leaves pool5 one pixel

    def _normalise(self, x):
        return contrast_normalise(x, k=1.0, n=5, alpha=1e-4 / 5, beta=0.75)  # Caffe divides its alpha by n

    def _check(self, x):
        if len(self.widths) != 5 or any(width % 2 for width in self.widths):
            raise ValueError(f"Expected five even widths (convolutions in two groups), got {self.widths}.")
        super()._check(x)


class AlexNet(CaffeNet):
    """The same with normalisation before pooling: norm1, pool1, norm2, pool2, as in Caffe's bvlc_alexnet."""

    layers: ClassVar[str] = "LRN Pooling LRN Pooling Pooling"
    order: ClassVar = CaffeNet.order | {1: ("norm", "pool"), 2: ("norm", "pool")}


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in Caffe's and PyTorch's layout, named "conv1.weight", ..., "fc8.bias" -> flat entries of this module.

    Filters of conv1 are taken to read blue, green, red, as Caffe's do; here they read red, green, blue. Unknown entries
    keep their names, so that `weights.fit` can list them.
    """
    names = (*(f"conv{number}" for number in range(1, 6)), "fc6", "fc7", "fc8")
    rgb = {
        name: array[:, ::-1] if (name, array.ndim) == ("conv1.weight", 4) else array for name, array in state.items()
    }
    return renamed(rgb, dict(zip(names, names, strict=True)), state["conv5.bias"].size if "conv5.bias" in state else 1)
