"""VGG: stacks of 3x3 convolutions, each stack followed by max-pooling (Simonyan & Zisserman 2015, Table 1).

Activations in forward order: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1, ..., pool5, fc6, relu6, fc7, relu7,
fc8 (the logits). Other numbers of stages keep the names fc6, fc7, fc8; without classes the network ends with pooling.
"""

import functools
import re
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from xai_jax.architectures.zfnet import check_sides, classify, renamed
from xai_jax.core.convolution import convolution
from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool

_he = nn.initializers.he_normal()


class VGG(nn.Module):
    """(N, H, W, C) -> logits (N, classes); H and W at least 2 ** number of stages, the same in training and inference.

    With `classes=0` there are no fully connected layers and no logits, (N, 0), and H and W may vary.

    `stages` counts the convolutions in each stack, `widths` their channels; `hidden` is the size of fc6 and fc7.
    Dropout (0.5, on fc6 and fc7) is active with `train=True` only, which needs `rngs={"dropout": key}`.
    """

    stages: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        self._check(x)
        for stage, (depth, width) in enumerate(zip(self.stages, self.widths, strict=True), 1):
            for layer in range(1, depth + 1):
                options = {"kernel_init": _he, "conv_general_dilated": convolution}
                x = tap(f"conv{stage}_{layer}", nn.Conv(width, (3, 3), name=f"conv{stage}_{layer}", **options)(x))
                x = tap(f"relu{stage}_{layer}", relu(x))
            x = tap(f"pool{stage}", max_pool(x, 2))
        if not self.classes:
            return jnp.zeros((x.shape[0], 0), x.dtype)
        hidden = {number: nn.Dense(self.hidden, kernel_init=_he, name=f"fc{number}") for number in (6, 7)}
        return classify(x.reshape(x.shape[0], -1), hidden, nn.Dense(self.classes, name="fc8"), relu, tap, train)

    def _check(self, x):
        if len(self.stages) != len(self.widths):
            raise ValueError(f"Expected one width for each stage, got stages {self.stages} and widths {self.widths}.")
        check_sides(x, 2 ** len(self.stages))


vgg16 = VGG
vgg19 = functools.partial(VGG, stages=(2, 2, 4, 4, 4))


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State dictionary of torchvision (`features.0.weight`, `classifier.0.weight`) -> flat entries of this module.

    Unknown entries keep their names, so that `weights.fit` can list them.
    """
    names = _convolution_names(state) | {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}
    convolutions = [array for name, array in state.items() if name.startswith("features.") and array.ndim == 4]
    return renamed(state, names, convolutions[-1].shape[0] if convolutions else 1)


def _convolution_names(state):
    """Positions count convolutions, ReLUs and pools; a step of three has a pool in it."""
    positions = sorted(int(found[1]) for name in state if (found := re.fullmatch(r"features\.(\d{1,4})\.weight", name)))
    names, stage, layer, before = {}, 1, 0, 0
    for position in positions:
        stage, layer = (stage + 1, 1) if position - before > 2 else (stage, layer + 1)
        names[f"features.{position}"] = f"conv{stage}_{layer}"
        before = position
    return names
