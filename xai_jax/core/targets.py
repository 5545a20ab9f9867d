"""What is explained, maximised or inverted: functions `(logits, activations) -> (N,)`.

Targets are frozen dataclasses and pytrees. Class indices, positions, vectors and factors are leaves, layer names are
static, so a method compiled for one class serves all. They add, subtract and scale: `logit(3) - 0.5 * logit(5)`.
Integers that pick classes, channels or positions may be one for all images or an (N,) array, one for each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import network
from xai_jax.core.network import Activations, Network
from xai_jax.core.pytrees import node, static
from xai_jax.core.rules import Relu


class Target:
    """Base of all targets: arithmetic, and what methods need to know about one."""

    layers: tuple[str, ...] = ()
    """Names of the activations that the target reads."""

    def __call__(self, logits: Array, activations: Activations) -> Array:
        """Logits (N, K) and activations by name -> one number for each image, (N,)."""
        raise NotImplementedError

    def rows(self, pick: slice) -> "Target":
        """The target for some of the images, where it differs from image to image."""
        return self

    def check(self, logits: Any, activations: Activations) -> None:
        """Raises ValueError if the target cannot be read off logits and activations of these shapes."""

    def __add__(self, other):
        return _Sum(self, other) if isinstance(other, Target) else NotImplemented

    def __mul__(self, factor):
        return NotImplemented if isinstance(factor, Target) else _Scaled(self, np.float32(factor))

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other if isinstance(other, Target) else NotImplemented


def logit(k: int | Array) -> Target:
    """Score of class k before softmax."""
    return _Class(_integers(k, "class"), "logit")


def probability(k: int | Array) -> Target:
    """Softmax probability of class k. Its gradient vanishes where the network is sure; `logit` does not."""
    return _Class(_integers(k, "class"), "probability")


def log_probability(k: int | Array) -> Target:
    """Logarithm of the softmax probability of class k."""
    return _Class(_integers(k, "class"), "log_probability")


def neuron(layer: str, channel: int | Array, at: str | tuple | None = None) -> Target:
    """One unit of a layer (N, C), or one channel of a map (N, H, W, C).

    `at`: "max", the strongest position of each image, first of equals (also what None means on a map); "mean" over
    positions; or (row, column).
    """
    if at in (None, "max", "mean"):
        return _Neuron(_integers(channel, "channel"), None, layer, at)
    if isinstance(at, str) or len(at) != 2:
        raise ValueError(f"Expected at=None, 'max', 'mean' or (row, column), got {at!r}.")
    return _Neuron(_integers(channel, "channel"), tuple(_integers(i, "position") for i in at), layer, "position")


def direction(layer: str, vector: Array) -> Target:
    """Inner product of a layer's activation with `vector`, a CAV for example (Kim et al. 2018, equation 1).

    `vector` has the activation's shape without N, or that shape flattened.
    """
    return _Direction(jnp.asarray(vector), layer)


def evaluate(net: Network, x: Array, target: Target, relu: Relu = jax.nn.relu) -> tuple[Array, Array]:
    """Runs the network and reads the target: `(values (N,), logits (N, K))`."""
    logits, activations = network.capture(net, x, target.layers, relu=relu)
    return target(logits, activations), logits


def check(net: Network, x: Any, target: Target) -> None:
    """Raises, before anything is computed, if images, network and target do not fit together."""
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
            f"Expected images that the network can read, got {x.dtype} {x.shape}. Usual causes: another number of "
            f"channels or another image size than the weights were made for, or a model without its weights (see "
            f"xai_jax.adapters.adapt). The network says: {error}"
        ) from error
    if getattr(logits, "ndim", None) != 2 or logits.shape[0] != x.shape[0]:
        got = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(f"Expected a network that gives logits ({x.shape[0]}, K), got {got}.")
    for layer in target.layers:
        network.require(layer, activations)
    target.check(logits, activations)


def check_logits(logits: Array) -> None:
    """Raises ValueError for logits (N, K) that are not finite, or that a softmax made: rows >= 0 that add up to 1."""
    logits = np.asarray(logits)
    if not np.isfinite(logits).all():
        raise ValueError("Expected finite logits, got NaN or infinity. Usual causes: wrong weights, or an input range.")
    if logits.shape[1] > 1 and (logits >= 0).all() and np.allclose(logits.sum(1), 1, atol=1e-4):
        raise ValueError(
            "Expected logits, got probabilities (every row is non-negative and adds up to 1). Usual cause: the network "
            "ends in a softmax. Leave it out; targets.probability applies one."
        )


@node
class _Class(Target):
    k: Array
    scale: str = static()

    def __call__(self, logits, activations):
        scores: dict[str, Callable] = {
            "logit": lambda z: z,
            "probability": lambda z: jax.nn.softmax(z, axis=-1),
            "log_probability": lambda z: jax.nn.log_softmax(z, axis=-1),
        }
        return _pick(scores[self.scale](logits), self.k)

    def rows(self, pick):
        return dataclasses.replace(self, k=_rows(self.k, pick))

    def check(self, logits, activations):
        _check_index("class", self.k, *logits.shape, "The network has {} classes.")


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
        value = _pick(activations[self.layer], self.channel)
        if value.ndim == 1:
            return value
        flat = value.reshape(value.shape[0], -1)
        if self.at == "mean":
            return flat.mean(axis=1)
        if self.at == "position":
            return _pick(flat, self.position[0] * value.shape[2] + self.position[1])
        return _pick(flat, jax.lax.stop_gradient(flat).argmax(axis=1))  # jnp.max would share ties

    def rows(self, pick):
        position = self.position and tuple(_rows(i, pick) for i in self.position)
        return dataclasses.replace(self, channel=_rows(self.channel, pick), position=position)

    def check(self, logits, activations):
        shape = activations[self.layer].shape
        if len(shape) not in (2, 4):
            raise ValueError(f"Expected layer {self.layer!r} to be (N, C) or (N, H, W, C), it is {shape}.")
        if len(shape) == 2 and self.at is not None:
            raise ValueError(f"Expected at=None, got {self.at!r}: layer {self.layer!r} is {shape}, without positions.")
        _check_index("channel", self.channel, shape[0], shape[-1], f"Layer {self.layer!r} has {{}} channels.")
        for name, index, size in zip(("row", "column"), self.position or (), shape[1:3], strict=False):
            _check_index(name, index, shape[0], size, f"Layer {self.layer!r} has {{}} {name}s.")


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
class _Sum(Target):
    first: Target
    second: Target

    @property
    def layers(self):
        return tuple(dict.fromkeys(self.first.layers + self.second.layers))

    def __call__(self, logits, activations):
        return self.first(logits, activations) + self.second(logits, activations)

    def rows(self, pick):
        return _Sum(self.first.rows(pick), self.second.rows(pick))

    def check(self, logits, activations):
        self.first.check(logits, activations)
        self.second.check(logits, activations)


@node
class _Scaled(Target):
    target: Target
    factor: Array

    @property
    def layers(self):
        return self.target.layers

    def __call__(self, logits, activations):
        value = self.target(logits, activations)
        return value * jnp.asarray(self.factor, value.dtype)

    def rows(self, pick):
        return _Scaled(self.target.rows(pick), self.factor)

    def check(self, logits, activations):
        self.target.check(logits, activations)


def _integers(value, name):
    if isinstance(value, jax.core.Tracer):
        return value
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim > 1:
        raise ValueError(f"Expected a {name} index, an int or an (N,) array of ints, got {value!r}.")
    return array.astype(np.int32)


def _pick(values, index):
    """Last-axis entry `index`, one for all rows or one for each."""
    index = jnp.asarray(index).astype(jnp.int32)
    if index.ndim == 0:
        return jax.lax.dynamic_index_in_dim(values, index, axis=-1, keepdims=False)
    index = index.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.take_along_axis(values, index, axis=-1)[..., 0]


def _rows(index, pick):
    return index if index.ndim == 0 else index[pick]


def _check_index(name, index, n, size, has):
    if index.ndim == 1 and index.shape[0] != n:
        raise ValueError(f"Expected one {name} for all or one for each of {n} images, got {index.shape[0]}.")
    if isinstance(index, jax.core.Tracer):
        return
    wrong = np.atleast_1d(index)[(np.atleast_1d(index) < 0) | (np.atleast_1d(index) >= size)]
    if wrong.size:
        raise ValueError(f"Expected a {name} between 0 and {size - 1}, got {wrong[0]}. {has.format(size)}")
