"""Targets of attribution, maximisation and inversion: functions `(logits, activations) -> (N,)`.

Targets are frozen dataclasses and pytrees. Class indices, positions, vectors and factors are leaves and layer names are
static, so a method compiled for one class serves all. Targets add, subtract and scale. Class, channel and position
indices are one integer for all images, or one for each, (N,).

>>> logits, activations = jnp.array([[1.0, 3.0]]), {"relu1": jnp.array([[[[2.0], [8.0]]]])}
>>> (logit(1) - 0.5 * logit(0))(logits, activations).tolist()
[2.5]
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import indices, network
from xai_jax.core.network import Activations, Network
from xai_jax.core.pytrees import node, static
from xai_jax.core.rules import Relu


class Target:
    """Base class of all targets: arithmetic, the layers that are read, selection of images, validation."""

    layers: tuple[str, ...] = ()
    """Names of the activations that the target reads."""

    def __call__(self, logits: Array, activations: Activations) -> Array:
        """Logits (N, K) and activations by name -> values (N,)."""
        raise NotImplementedError

    def rows(self, pick: slice) -> "Target":
        """The target restricted to some of the images, where indices differ between images."""
        return self

    def check(self, logits: Any, activations: Activations) -> None:
        """Raises ValueError if logits and activations of these shapes do not have the target."""

    def __add__(self, other):
        return _Linear((self, other), (np.float32(1), np.float32(1))) if isinstance(other, Target) else NotImplemented

    def __mul__(self, factor):
        return NotImplemented if isinstance(factor, Target) else _Linear((self,), (np.float32(factor),))

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other if isinstance(other, Target) else NotImplemented


def logit(k: int | Array) -> Target:
    """Logit of class k.

    >>> logit(1)(logits, activations).tolist()
    [3.0]
    """
    return class_score(k, _unchanged)


def probability(k: int | Array) -> Target:
    """Softmax probability of class k. Its gradient vanishes for confident predictions, that of `logit` does not.

    >>> probability(1)(logits, activations).round(2).tolist()
    [0.8799999952316284]
    """
    return class_score(k, jax.nn.softmax)


def log_probability(k: int | Array) -> Target:
    """Logarithm of the softmax probability of class k.

    >>> log_probability(0)(logits, activations).round(3).tolist()
    [-2.127000093460083]
    """
    return class_score(k, jax.nn.log_softmax)


def class_score(k: int | Array, score: Callable[[Array], Array]) -> Target:
    """Entry k of `score(logits)`, a function of logits (N, K) to the same shape that is defined in a module.

    >>> class_score(0, jnp.negative)(logits, activations).tolist()
    [-1.0]
    """
    return _Class(indices.integers(k, "class"), score)


def _unchanged(logits):
    return logits


def neuron(layer: str, channel: int | Array, at: str | tuple | None = None) -> Target:
    """Activation of a unit of a layer (N, C), or of a channel of a map (N, H, W, C).

    `at` is "max" for the maximum over positions, the first one of ties (also the meaning of None on a map); "mean" over
    positions; or (row, column).

    >>> neuron("relu1", 0, "mean")(logits, activations).tolist()
    [5.0]
    """
    if at in (None, "max", "mean"):
        return _Neuron(indices.integers(channel, "channel"), None, layer, at)
    if isinstance(at, str) or len(at) != 2:
        raise ValueError(f"Expected at=None, 'max', 'mean' or (row, column), got {at!r}.")
    position = tuple(indices.integers(i, "position") for i in at)
    return _Neuron(indices.integers(channel, "channel"), position, layer, "position")


def direction(layer: str, vector: Array) -> Target:
    """Inner product of a layer's activation with `vector`, for example a CAV (Kim et al. 2018, equation 1).

    `vector` has the activation's shape without N, or that shape flattened.

    >>> direction("relu1", jnp.array([1.0, -1.0]))(logits, activations).tolist()
    [-6.0]
    """
    return _Direction(jnp.asarray(vector), layer)


def evaluate(net: Network, x: Array, target: Target, relu: Relu = jax.nn.relu) -> tuple[Array, Array]:
    """Evaluates the network and the target.

    >>> net = lambda x, relu, tap: x.sum((1, 2))
    >>> evaluate(net, jnp.ones((2, 2, 2, 3)), logit(1))[0].tolist()
    [4.0, 4.0]

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      target: the target.
      relu: a ReLU with its backward rule.

    Returns:
      Values (N,) and logits (N, K).

    Raises:
      ValueError: the network has no layer of that name.
    """
    logits, activations = network.capture(net, x, target.layers, relu=relu)
    return target(logits, activations), logits


def check(net: Network, x: Any, target: Target) -> None:
    """Raises TypeError or ValueError, before any computation, if images, network and target do not match.

    >>> check(net, jnp.ones((1, 2, 2, 3)), logit(7))
    Traceback (most recent call last):
    ValueError: Expected a class between 0 and 2, got 7. The network has 3 classes.
    """
    network.check_images(x)
    if not isinstance(target, Target):
        raise TypeError(f"Expected a target such as targets.logit(3), got {target!r}.")
    net = network.as_network(net)
    try:
        logits, activations = network.abstract(net, x)
    except NotImplementedError:
        raise
    except Exception as error:  # whatever the network's own library raises
        raise ValueError(
            f"Expected images that the network can read, got {x.dtype} {x.shape}. Usual causes: channels first, "
            f"(N, C, H, W), where the network reads (N, H, W, C); another number of channels or image size than the "
            f"weights require; a model without its weights or with other arguments than its own (see "
            f"xai_jax.adapters.adapt). Original error: {error}"
        ) from error
    if getattr(logits, "ndim", None) != 2 or logits.shape[0] != x.shape[0]:
        got = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(f"Expected a network that returns logits ({x.shape[0]}, K), got {got}.")
    for layer in target.layers:
        network.require(layer, activations)
    target.check(logits, activations)


def check_logits(logits: Array) -> None:
    """Raises ValueError for logits (N, K) that are not finite, or that are probabilities: rows >= 0 with sum 1.

    >>> check_logits(jnp.array([[0.25, 0.75]]))
    Traceback (most recent call last):
    ValueError: Expected logits, got probabilities (every row is non-negative and adds up to 1). ...
    """
    logits = np.asarray(logits)
    if not np.isfinite(logits).all():
        raise ValueError(
            "Expected finite logits, got NaN or infinity. "
            "Usual causes: wrong weights, or images in another range than in training."
        )
    if logits.shape[1] > 1 and (logits >= 0).all() and np.allclose(logits.sum(1), 1, atol=1e-4):
        raise ValueError(
            "Expected logits, got probabilities (every row is non-negative and adds up to 1). Usual cause: the network "
            "ends in a softmax. Remove it; targets.probability applies one."
        )


@node
class _Class(Target):
    k: Array
    score: Callable[[Array], Array] = static()

    def __call__(self, logits, activations):
        return indices.pick(self.score(logits), self.k)

    def rows(self, pick):
        return dataclasses.replace(self, k=indices.rows(self.k, pick))

    def check(self, logits, activations):
        indices.check_index("class", self.k, *logits.shape, "The network has {} classes.")


@node
class _Neuron(Target):
    channel: Array
    position: tuple[Array, Array] | None
    layer: str = static()
    at: str | None = static()

    @property
    def layers(self):
        return (self.layer,)

    def __call__(self, logits, activations):
        value = indices.pick(activations[self.layer], self.channel)
        if value.ndim == 1:
            return value
        flat = value.reshape(value.shape[0], -1)
        if self.at == "mean":
            return flat.mean(axis=1)
        if self.at == "position":
            return indices.pick(flat, self.position[0] * value.shape[2] + self.position[1])
        return indices.pick(flat, jax.lax.stop_gradient(flat).argmax(axis=1))  # jnp.max would share ties

    def rows(self, pick):
        position = self.position and tuple(indices.rows(i, pick) for i in self.position)
        return dataclasses.replace(self, channel=indices.rows(self.channel, pick), position=position)

    def check(self, logits, activations):
        shape = activations[self.layer].shape
        if len(shape) not in (2, 4):
            raise ValueError(f"Expected layer {self.layer!r} to be (N, C) or (N, H, W, C), it is {shape}.")
        if len(shape) == 2 and self.at is not None:
            raise ValueError(f"Expected at=None, got {self.at!r}: layer {self.layer!r} is {shape}, without positions.")
        indices.check_index("channel", self.channel, shape[0], shape[-1], f"Layer {self.layer!r} has {{}} channels.")
        for name, index, size in zip(("row", "column"), self.position or (), shape[1:3], strict=False):
            indices.check_index(name, index, shape[0], size, f"Layer {self.layer!r} has {{}} {name}s.")


@node
class _Direction(Target):
    vector: Array
    layer: str = static()

    @property
    def layers(self):
        return (self.layer,)

    def __call__(self, logits, activations):
        value = activations[self.layer]
        return value.reshape(value.shape[0], -1) @ self.vector.reshape(-1).astype(value.dtype)

    def check(self, logits, activations):
        shape = activations[self.layer].shape[1:]
        if self.vector.shape not in (shape, (int(np.prod(shape)),)):
            raise ValueError(f"Expected a vector shaped like layer {self.layer!r}, {shape}, got {self.vector.shape}.")
        if not isinstance(self.vector, jax.core.Tracer) and not np.isfinite(self.vector).all():
            raise ValueError("Expected a finite vector, got NaN or infinity.")


@node
class _Linear(Target):
    """A linear combination of targets."""

    terms: tuple[Target, ...]
    factors: tuple[Array, ...]

    @property
    def layers(self):
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    def __call__(self, logits, activations):
        values = [term(logits, activations) for term in self.terms]
        return sum(value * jnp.asarray(each, value.dtype) for value, each in zip(values, self.factors, strict=True))

    def rows(self, pick):
        return _Linear(tuple(term.rows(pick) for term in self.terms), self.factors)

    def check(self, logits, activations):
        for term in self.terms:
            term.check(logits, activations)
