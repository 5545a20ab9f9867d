"""GoogLeNet (Szegedy et al. 2015, Table 1) as torchvision has it: with batch norm after every convolution.

Activations in forward order:

    conv1, relu1, pool1, conv2, relu2, conv3, relu3, pool2    conv: after batch norm, before rectification
    inception3a/branch1                                       1x1 convolution, rectified like all in the modules
    inception3a/branch2_reduce, inception3a/branch2           1x1, then 3x3
    inception3a/branch3_reduce, inception3a/branch3           1x1, then the paper's 5x5
    inception3a/branch4                                       max-pooling, then 1x1
    inception3a                                               the four branches one after the other, on the last axis
    inception3b, pool3, inception4a to inception4e, pool4, inception5a, inception5b, each with its branches
    pool5                                                     (N, 1024), averaged over positions
    logits                                                    (N, classes)

`inception3a` is "inception_3a/output" in Caffe and "mixed3a" in the TensorFlow graph of Lucid and TCAV. The auxiliary
classifiers, which only training uses, are left out.
"""

import re
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from xai_jax.architectures.zfnet import check_sides, complete_pool
from xai_jax.core.convolution import convolution
from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool

# Table 1: channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection.
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_SMALLEST = 15  # leaves every pool a pixel

_he = nn.initializers.he_normal()


class Convolution(nn.Module):
    """Convolution without bias, and batch norm; the caller rectifies."""

    width: int
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str | int = "SAME"
    epsilon: float = 1e-3  # added to the variance

    @nn.compact
    def __call__(self, x, train=False):
        options = {"use_bias": False, "kernel_init": _he, "conv_general_dilated": convolution, "name": "conv"}
        conv = nn.Conv(self.width, self.window, self.stride, self.padding, **options)
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=self.epsilon, name="norm")(conv(x))


class Inception(nn.Module):
    """Four branches side by side: (N, H, W, C) -> (N, H, W, sum of the branches' channels)."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        def convolve(x, name, width, side=1):
            return tap(f"{self.name}/{name}", relu(Convolution(width, (side, side), name=name)(x, train)))

        one, reduce3, three, reduce5, five, pool = self.widths
        branch1 = convolve(x, "branch1", one)
        branch2 = convolve(convolve(x, "branch2_reduce", reduce3), "branch2", three, 3)
        # The paper has 5x5 here. torchvision's published weights are 3x3 (github.com/pytorch/vision/issues/906).
        branch3 = convolve(convolve(x, "branch3_reduce", reduce5), "branch3", five, 3)
        branch4 = convolve(max_pool(x, 3, 1, "SAME"), "branch4", pool)
        return tap(self.name, jnp.concatenate((branch1, branch2, branch3, branch4), axis=-1))


class GoogLeNet(nn.Module):
    """(N, 224, 224, 3) with values (pixel - 127.5) / 127.5 -> logits (N, classes); sides of 15 or more.

    With `train=True` batch norm uses the statistics of the batch and updates its own, which needs
    `mutable=["batch_stats"]`, and dropout (0.2, before the last layer) needs `rngs={"dropout": key}`.
    """

    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        check_sides(x, _SMALLEST)
        x = self._stem(x, relu, tap, train)
        for name, widths in _MODULES.items():
            x = Inception(widths, name=f"inception{name}")(x, relu, tap, train)
            if name == "3b":
                x = tap("pool3", complete_pool(x))
            if name == "4e":
                x = tap("pool4", _halve(x))
        return classify(x, self.classes, 0.2, "pool5", tap, train)

    def _stem(self, x, relu, tap, train):
        layers = (Convolution(64, (7, 7), 2, 3, name="conv1"), Convolution(64, name="conv2"))
        for number, layer in enumerate((*layers, Convolution(192, (3, 3), name="conv3")), 1):
            x = tap(f"conv{number}", layer(x, train))
            x = tap(f"relu{number}", relu(x))
            if number == 1:
                x = tap("pool1", complete_pool(x))
        return tap("pool2", complete_pool(x))


def _halve(x):
    """2x2 max-pooling as in torchvision (the paper has 3x3); an incomplete last window counts."""
    rows, columns = (n % 2 for n in x.shape[1:3])
    return max_pool(x, 2, 2, ((0, rows), (0, columns)))


def classify(x, classes, dropout, name, tap, train):
    """Global average pooling, dropout, and the last layer.

    Args:
      x: maps (N, H, W, C).
      classes: number of logits.
      dropout: share of dropped features.
      name: of the pooled activation.
      tap: called with the name and value of each activation.
      train: whether dropout is active.

    Returns:
      Logits (N, classes).

    Raises:
      flax.errors.InvalidRngError: with `train`, where no dropout key is given.
    """
    x = tap(name, x.mean((1, 2)))
    x = nn.Dropout(dropout, deterministic=not train)(x)
    return tap("logits", nn.Dense(classes, name="fc")(x))


# A branch of two layers is a sequence in torchvision; in branch4 the pool is number 0.
_BRANCHES = {
    "branch1": "branch1",
    "branch2.0": "branch2_reduce",
    "branch2.1": "branch2",
    "branch3.0": "branch3_reduce",
    "branch3.1": "branch3",
    "branch4.1": "branch4",
}
_LEAVES = {
    "conv.weight": ("params", "conv/kernel"),
    "bn.weight": ("params", "norm/scale"),
    "bn.bias": ("params", "norm/bias"),
    "bn.running_mean": ("batch_stats", "norm/mean"),
    "bn.running_var": ("batch_stats", "norm/var"),
}
_LAST = {"fc.weight": "params/fc/kernel", "fc.bias": "params/fc/bias"}


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State dictionary of torchvision's googlenet -> flat entries of this module ("params/conv1/conv/kernel").

    Entries of the auxiliary classifiers and counters of batches are dropped. Unknown entries keep their names, so that
    `weights.fit` can list them.
    """
    return renamed(state, _layer, ("aux1.", "aux2."))


def _layer(path):
    module, _, branch = path.partition(".")
    if re.fullmatch("conv[123]", path):
        return path
    return f"{module}/{_BRANCHES[branch]}" if module.startswith("inception") and branch in _BRANCHES else None


def renamed(
    state: Mapping[str, np.ndarray], layer: Callable[[str], str | None], dropped: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Entries of torchvision's convolutions with batch norm and of its last layer `fc` -> flat entries of this module.

    `layer` maps a convolution's path to the own one, or None; `dropped`: prefixes of entries to ignore.
    """
    entries = {}
    for name, array in state.items():
        if name.startswith(dropped) or name.endswith(".num_batches_tracked"):
            continue
        found = re.fullmatch(r"(.+)\.((conv|bn)\.\w+)", name)
        if found and found[2] in _LEAVES and layer(found[1]):
            collection, leaf = _LEAVES[found[2]]
            name = f"{collection}/{layer(found[1])}/{leaf}"
        entries[_LAST.get(name, name)] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return entries
