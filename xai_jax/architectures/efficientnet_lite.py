"""EfficientNet-Lite 0, 1 and 2, for inference with published ImageNet weights.

EfficientNet (Tan & Le 2019, Table 1) without squeeze-and-excitation and with ReLU6 instead of swish; width and depth
grow as in the paper, except for the stem, the head, and the depth of the first and last stage, which stay fixed.
Batch norm always uses its stored statistics: there is no training mode here.

Activations in forward order, all (N, H, W, C) except the last two:

    stem                               after ReLU6
    block1/expand, block1/depthwise    after ReLU6; block 1 does not expand and has no `block1/expand`
    block1                             the block's output, linear, with its skip connection added
    ...
    head                               after ReLU6
    pool                               (N, 1280), averaged over positions
    logits                             (N, classes)
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import flax.linen as nn
import numpy as np

from xai_jax.core import rules
from xai_jax.core.convolution import depthwise_convolution
from xai_jax.core.network import keep

EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks of one kind: how many, the filters' side, the first one's stride, widening inside, channels."""

    repeats: int
    size: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def blocks(width: float, depth: float) -> Iterator[Stage]:
    """One `Stage` per block, in order, scaled by the width and depth multipliers."""
    for number, stage in enumerate(STAGES):
        fixed = number in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(depth * stage.repeats)
        channels = scale_channels(stage.channels, width)
        for repeat in range(repeats):
            yield stage._replace(repeats=1, stride=1 if repeat else stage.stride, channels=channels)


def scale_channels(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8 and never down by more than a tenth."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class Depthwise(nn.Module):
    """A convolution of each channel by itself: (N, H, W, C) -> (N, h, w, C)."""

    size: int
    stride: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.size, self.size, 1, x.shape[-1]))
        return depthwise_convolution(x, kernel, self.stride)


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=EPSILON, name=name)


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project; a skip connection where shapes allow."""

    stage: Stage

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep):
        stage, y = self.stage, x
        if stage.expansion != 1:
            y = _norm("expand_norm")(nn.Dense(x.shape[-1] * stage.expansion, use_bias=False, name="expand")(y))
            y = tap(f"{self.name}/expand", rules.relu6(y, relu))
        y = _norm("depthwise_norm")(Depthwise(stage.size, stage.stride, name="depthwise")(y))
        y = tap(f"{self.name}/depthwise", rules.relu6(y, relu))
        y = _norm("project_norm")(nn.Dense(stage.channels, use_bias=False, name="project")(y))
        return tap(self.name, y + x if y.shape == x.shape else y)


class EfficientNetLite(nn.Module):
    """(N, S, S, 3) with values (pixel - 127) / 128 -> logits (N, classes). Inference only: `train=True` is refused.

    The padding of strided layers follows the input's size, so other sizes than the network's own work too.
    1x1 convolutions are matrix products (`Dense` on the channels): kernels (channels in, channels out).
    """

    width: float = 1.0
    depth: float = 1.0
    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        if train:
            raise ValueError("Expected train=False: EfficientNet-Lite is here for inference with published weights.")
        x = nn.Conv(32, (3, 3), 2, use_bias=False, name="stem")(x)
        x = tap("stem", rules.relu6(_norm("stem_norm")(x), relu))
        for number, stage in enumerate(blocks(self.width, self.depth), 1):
            x = Block(stage, name=f"block{number}")(x, relu, tap)
        x = _norm("head_norm")(nn.Dense(1280, use_bias=False, name="head")(x))
        x = tap("head", rules.relu6(x, relu))
        x = tap("pool", x.mean((1, 2)))
        return tap("logits", nn.Dense(self.classes, name="classifier")(x))


# In the PyTorch state dictionary a block that does not expand has no _bn0.
_LAYERS = {"_conv_stem": "stem", "_bn0": "stem_norm", "_conv_head": "head", "_bn1": "head_norm", "_fc": "classifier"}
_BLOCK_LAYERS = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_project_conv": "project",
    "_bn2": "project_norm",
}
_STATISTICS = {"running_mean": "mean", "running_var": "var"}


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State dictionary of the PyTorch implementation -> flat entries of this module ("params/stem/kernel").

    Unknown entries keep their names, so that `weights.fit` can list them.
    """
    renamed = (_rename(name, array) for name, array in state.items() if not name.endswith("num_batches_tracked"))
    return dict(renamed)


def _rename(name, array):
    path, _, leaf = name.rpartition(".")
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", path)
    layer = _BLOCK_LAYERS.get(block[2]) if block else _LAYERS.get(path)
    if layer is None:
        return name, array
    where = f"block{int(block[1]) + 1}/{layer}" if block else layer
    if leaf in _STATISTICS:
        return f"batch_stats/{where}/{_STATISTICS[leaf]}", array
    if leaf == "weight":
        leaf = "scale" if layer.endswith("norm") else "kernel"
    return f"params/{where}/{leaf}", _layout(array, layer)


def _layout(array, layer):
    """(out, in, height, width) -> (height, width, in, out), and without the pixels for 1x1 convolutions."""
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
        return array[0, 0] if layer in ("expand", "project", "head") and array.shape[:2] == (1, 1) else array
    return array.T
