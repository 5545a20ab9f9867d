"""ZFNet: the network of Zeiler & Fergus 2014 (Figure 3).

Activations in forward order: conv1, relu1, pool1, norm1, conv2, relu2, pool2, norm2, conv3, relu3, conv4, relu4, conv5,
relu5, pool5, fc6, relu6, fc7, relu7, fc8 (the logits). The paper prints the sizes 55 (pool1) and 6 (pool5); they and
filters without padding in layer 2 follow from pooling that keeps the last, incomplete window.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core.convolution import convolution, grouped_convolution
from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool
from xai_jax.weights.safetensors_file import channels_last

REMOVABLE = (3, 4, 6, 7)  # layers that Table 3 removes

# "All weights are initialized to 1e-2 and biases to 0", taken as the standard deviation: equal weights stay equal.
INITIAL_STD = 0.01


def check_sides(x: Array, least: int) -> None:
    """Raises ValueError unless `x` is (N, H, W, C) with sides of `least` or more."""
    if x.ndim != 4 or min(x.shape[1:3]) < least:
        raise ValueError(f"Expected images (N, H, W, C) with sides of {least} or more, got shape {x.shape}.")


def complete_pool(x: Array) -> Array:
    """3x3 max-pooling of maps (N, H, W, C), stride 2, that keeps an incomplete last window: H -> ceil((H - 1) / 2)."""
    rows, columns = ((n - 3) % 2 for n in x.shape[1:3])
    return max_pool(x, 3, 2, ((0, rows), (0, columns)))


def contrast_normalise(x: Array, k=2.0, n=5, alpha=1e-4, beta=0.75) -> Array:
    """x / (k + alpha * sum of x^2 over n neighbouring channels)^beta, shaped like x (Krizhevsky et al. 2012, 3.3).

    Args:
      x: maps (N, H, W, C).
      k: offset.
      n: number of neighbouring channels.
      alpha: factor of the sum.
      beta: exponent.

    Returns:
      Maps (N, H, W, C).

    Raises:
      ValueError: for arrays of another rank.
    """
    channels, half = x.shape[-1], n // 2
    squares = jnp.pad(x * x, ((0, 0), (0, 0), (0, 0), (half, half)))
    energy = sum(squares[..., shift : shift + channels] for shift in range(n))
    return x / (k + alpha * energy) ** beta


def classify(x: Array, hidden: Mapping[int, nn.Module], last: nn.Module, relu, tap, train: bool) -> Array:
    """Fully connected layers with dropout.

    Args:
      x: features (N, D).
      hidden: dense layers by number, out of 6 and 7.
      last: the layer of the logits.
      relu: applied after each hidden layer.
      tap: called with the name and value of each activation.
      train: whether dropout is active.

    Returns:
      Logits (N, K).

    Raises:
      flax.errors.InvalidRngError: with `train`, where no dropout key is given.
    """
    for number, layer in hidden.items():
        x = tap(f"fc{number}", layer(x))
        x = tap(f"relu{number}", relu(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
    return tap("fc8", last(x))


def remaining(numbers: Iterable[int], without: Collection[int]) -> list[int]:
    """`numbers` of layers that are not in `without`; raises ValueError for layers that Table 3 does not remove."""
    if not set(without) <= set(REMOVABLE):
        raise ValueError(f"Expected numbers of layers to remove out of {REMOVABLE}, got {without}.")
    return [number for number in numbers if number not in without]


class ZFNet(nn.Module):
    """(N, 224, 224, 3) -> logits (N, classes); other sizes from 47 up, the same in training and inference.

    `widths`: channels of the five convolutions; the paper's variant (b) has (96, 256, 512, 1024, 512). `hidden`: size
    of fc6 and fc7. `without`: numbers of layers, out of 3, 4, 6 and 7, that are removed as in Table 3; the others keep
    their names. `initial_std`: standard deviation of the initial weights except conv1's, whose fan-in does not depend
    on the widths. Dropout (0.5, on fc6 and fc7) is active with `train=True` only, which needs `rngs={"dropout": key}`.
    Narrow networks need larger initial weights, and do better without dropout (`dropout=False`). Raises ValueError for
    another number of widths, for other layers in `without` and for images too small.
    """

    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    classes: int = 1000
    without: tuple[int, ...] = ()
    initial_std: float = INITIAL_STD
    dropout: bool = True
    # Filter side, stride, padding and number of groups of the five convolutions.
    convolutions: ClassVar = ((7, 2, 1, 1), (5, 2, 0, 1), (3, 1, 1, 1), (3, 1, 1, 1), (3, 1, 1, 1))
    smallest: ClassVar[int] = 47  # leaves pool5 one pixel
    # What follows the ReLUs of the five convolutions.
    order: ClassVar = {1: ("pool", "norm"), 2: ("pool", "norm"), 3: (), 4: (), 5: ("pool",)}

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        self._check(x)
        for number in remaining(range(1, 6), self.without):
            x = tap(f"conv{number}", self._convolution(number)(x))
            x = tap(f"relu{number}", relu(x))
            for kind in self.order[number]:
                x = tap(f"{kind}{number}", complete_pool(x) if kind == "pool" else self._normalise(x))
        hidden = {number: self._dense(number, self.hidden) for number in remaining((6, 7), self.without)}
        last = self._dense(8, self.classes)
        return classify(x.reshape(x.shape[0], -1), hidden, last, relu, tap, train and self.dropout)

    def _check(self, x):
        if len(self.widths) != len(self.convolutions):
            raise ValueError(f"Expected five widths, got {self.widths}.")
        check_sides(x, self.smallest)

    def _normalise(self, x):
        return contrast_normalise(x)

    def _convolution(self, number):
        side, stride, padding, groups = self.convolutions[number - 1]
        options = {"kernel_init": nn.initializers.normal(INITIAL_STD if number == 1 else self.initial_std)}
        options |= {"feature_group_count": groups}
        options |= {"conv_general_dilated": grouped_convolution if groups > 1 else convolution}
        return nn.Conv(self.widths[number - 1], (side, side), stride, padding, name=f"conv{number}", **options)

    def _dense(self, number, size):
        return nn.Dense(size, kernel_init=nn.initializers.normal(self.initial_std), name=f"fc{number}")


def renamed(state: Mapping[str, np.ndarray], names: Mapping[str, str], channels: int) -> dict[str, np.ndarray]:
    """Weights and biases in PyTorch's layout -> flat entries of this module ("params/conv1/kernel").

    Args:
      state: arrays by "layer.weight" and "layer.bias"; others keep their names, so that `weights.fit` can list them.
      names: names of the layers in the module.
      channels: of the map that the dense layer fc6 reads.

    Returns:
      Arrays by path in the module, with the layout of Flax.
    """
    leaves, entries = {"weight": "kernel", "bias": "bias"}, {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        if layer in names and leaf in leaves:
            name = f"params/{names[layer]}/{leaves[leaf]}"
            if names[layer] == "fc6" and array.ndim == 2:
                array = channels_last(array, channels)
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        entries[name] = array
    return entries
