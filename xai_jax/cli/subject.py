"""What `explain` explains: photographs as the network sees them, and a class of each."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax import network, targets
from xai_jax.cli import common
from xai_jax.core.network import Network
from xai_jax.core.targets import Target
from xai_jax.models import LoadedModel

GREY = 127.5
AFFORDABLE = 12e9  # FLOPs of a prediction; of larger networks, such as VGG-16, a page shows less, to take minutes


class Subject(NamedTuple):
    """A network, called `name` in the registry, and N photographs with the class that is explained of each.

    `photographs` are uint8 (H, W, 3), `x` (N, S, S, C) the network's input, `classes` (N,) indices, `probabilities`
    (N, K). `published`: whether the weights are the network's own. `share`: see `share`.
    """

    name: str
    model: LoadedModel
    files: tuple[Path, ...]
    photographs: list[np.ndarray]
    x: Array
    classes: np.ndarray
    probabilities: np.ndarray
    published: bool
    share: float

    @property
    def target(self) -> Target:
        """The logit of each photograph's class."""
        return targets.logit(self.classes)

    @property
    def pixels(self) -> np.ndarray:
        """What the network sees of the photographs, (N, S, S, 3) uint8."""
        return self.model.to_pixels(self.x)

    @property
    def mean(self) -> np.ndarray:
        """The mean colour (C,) that synthesis subtracts from pixels."""
        own = np.asarray(getattr(self.model.input, "mean", 0.0), np.float32)
        return own if own.all() else np.full(self.x.shape[-1], GREY, np.float32)

    @property
    def to_network(self) -> Partial:
        """The function from pixels minus the mean colour to the network's input."""
        return self.model.from_centred(self.mean)

    @property
    def grey(self) -> Array:
        """The network's input (C,) for the mean colour, which occlusion and baselines of paths show."""
        return self.to_network(jnp.zeros(self.x.shape[-1]))

    def class_names(self) -> list[str]:
        """The names of `classes`."""
        return [self.model.classes[k] for k in self.classes]

    def confidence(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The probabilities (M,) that the network gives to `classes` (M,) of images (M, S, S, 3) uint8."""
        x = self.model.input.to_network(jnp.asarray(channels(pixels, self.x.shape[-1]), jnp.float32))
        probabilities = np.asarray(jax.nn.softmax(network.call(self.model.net, x)))
        return probabilities[np.arange(len(classes)), classes]


def load(arguments: Any) -> Subject:
    """The subject of the arguments of `explain`. Raises UserError for a mistake in one of them."""
    files = tuple(map(Path, arguments.photographs))
    photographs = common.read_images(files)
    model = common.load(arguments)
    chosen = None if arguments.target is None else common.find_class(arguments.target, model.classes)
    with common.user_errors():
        x = model.preprocess(photographs)
        probabilities = np.asarray(jax.nn.softmax(network.call(model.net, x)))
    classes = probabilities.argmax(1) if chosen is None else np.full(len(x), chosen)
    published = arguments.weights == common.PRETRAINED
    images, predicted = (files, photographs, x), (classes, probabilities)
    return Subject(arguments.model, model, *images, *predicted, published, share(model.net, x))


def share(net: Network, x: Array) -> float:
    """Share of a small network's optimisations that a page has time for: 1, less where a prediction is expensive.

    >>> share(lambda x: x.sum((1, 2)), jnp.zeros((1, 8, 8, 3)))
    1.0
    """
    lowered = jax.jit(lambda net, x: network.as_network(net)(x)).lower(network.as_network(net), x[:1])
    return min(1.0, AFFORDABLE / ((lowered.cost_analysis() or {}).get("flops") or 1.0))


def channels(pixels: np.ndarray, count: int) -> np.ndarray:
    """Images (..., 3) uint8 in as many channels as a network reads, 3, or 1 for grey.

    >>> channels(np.full((2, 2, 3), 9, np.uint8), 1).shape
    (2, 2, 1)
    """
    return pixels if count == 3 else np.rint(pixels.mean(-1, keepdims=True)).astype(np.uint8)


def by_photograph(function: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A function of a subject and the index of a photograph, as one of the subject with a list of results."""

    @functools.wraps(function)
    def every(subject, *arguments):
        return [function(subject, number, *arguments) for number in range(len(subject.x))]

    return every
