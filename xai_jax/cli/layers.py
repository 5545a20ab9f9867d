"""Layers that a command shows if none is named: the last of each size of maps, and those behind the maps.

`x` are images (N, H, W, C) in the network's input range.
"""

from collections.abc import Sequence

import numpy as np
from jax import Array

from xai_jax import network
from xai_jax.core.network import Network

LONG = 12  # layers of one size


def whole(net: Network, x: Array) -> dict[str, tuple[int, ...]]:
    """Shapes (...) of activations in forward order, without those inside of blocks ("block3/expand").

    >>> from xai_jax import models
    >>> net, x = models.load("digits").net, np.zeros((1, 8, 8, 1), np.float32)
    >>> list(whole(net, x))
    ['conv1', 'relu1', 'pool1', 'conv2', 'relu2', 'logits']
    """
    shapes = network.layer_names(net, x[:1])
    names = [name for name in shapes if "/" not in name]
    return {name: shapes[name].shape[1:] for name in (names if len(names) > 2 else shapes)}


def stages(net: Network, x: Array, most: int) -> list[str]:
    """The last layer of each size of maps, and those after the maps; of many, `most`, the first and the last included.

    A long stage, as the blocks of a transformer are, counts twice: its middle layer, too.

    >>> stages(net, x, 9)
    ['relu1', 'relu2', 'logits']
    """
    runs = []
    for name, shape in whole(net, x).items():
        size = shape[:-1] or shape
        if runs and runs[-1][0] == size:
            runs[-1][1].append(name)
        else:
            runs.append((size, [name]))
    found = []
    for _, names in runs:
        found += [names[len(names) // 2 - 1], names[-1]] if len(names) > LONG else names[-1:]
    return evenly(found, most)


def maps(net: Network, x: Array) -> list[str]:
    """The layers of `stages` with maps (h, w, C) of more than one position.

    >>> maps(net, x)
    ['relu1', 'relu2']
    """
    shapes = whole(net, x)
    return [name for name in stages(net, x, len(shapes)) if len(shapes[name]) == 3 and max(shapes[name][:2]) > 1]


def of_concepts(net: Network, x: Array) -> list[str]:
    """Two layers of the upper half: the last of the two sizes of maps, or of tokens, before the last size.

    >>> of_concepts(net, x)
    ['relu1']
    """
    shapes = whole(net, x)
    found = [name for name in stages(net, x, len(shapes)) if len(shapes[name]) > 1 and shapes[name][0] > 1]
    return found[-3:-1] or found or list(shapes)[-2:]


def evenly(names: Sequence[str], most: int) -> list[str]:
    """At most so many of some names, evenly spaced, with the first and the last.

    >>> evenly("abcdefg", 3)
    ['a', 'd', 'g']
    """
    positions = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[position] for position in positions]
