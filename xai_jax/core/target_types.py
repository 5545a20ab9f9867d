"""The kinds of targets: frozen dataclasses and pytrees, which `xai_jax.core.targets` constructs.

>>> logits = jnp.array([[1.0, 3.0]])
>>> (2.0 * Class(np.int32(1), jnp.negative))(logits, {}).tolist()
[-6.0]
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import indices
from xai_jax.core.messages import quoted
from xai_jax.core.network import Activations
from xai_jax.core.precision import HIGHEST
from xai_jax.core.pytrees import node, static

_AXES = {1: ("position",), 2: ("row", "column")}  # of layers (N, T, C) and (N, H, W, C)


class Target:
    """Base class of all targets: arithmetic, the layers that are read, selection of images, validation."""

    layers: tuple[str, ...] = ()
    """Names of the activations that the target reads."""
    rescales: bool = False
    """Whether it is a function of a logit other than the logit itself, such as a probability."""

    def __call__(self, logits: Array, activations: Activations) -> Array:
        """Logits (N, K) and activations by name -> values (N,)."""
        raise NotImplementedError

    def rows(self, pick: slice) -> "Target":
        """The target restricted to some of the images, where indices differ between images."""
        return self

    def check(self, logits: Any, activations: Activations) -> None:
        """Raises ValueError if logits and activations of these shapes do not have the target."""

    def __add__(self, other):
        return Linear((self, other), (np.float32(1), np.float32(1))) if isinstance(other, Target) else NotImplemented

    def __mul__(self, factor):
        return NotImplemented if isinstance(factor, Target) else Linear((self,), (np.float32(factor),))

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other if isinstance(other, Target) else NotImplemented


def unchanged(logits: Array) -> Array:
    """The score of `targets.logit`.

    >>> unchanged(logits) is logits
    True
    """
    return logits


@node
class Class(Target):
    """Entry k of a score of the logits."""

    k: Array
    score: Callable[[Array], Array] = static()

    @property
    def rescales(self):
        return self.score is not unchanged

    def __call__(self, logits, activations):
        return indices.pick(self.score(logits), self.k)

    def rows(self, pick):
        return dataclasses.replace(self, k=indices.rows(self.k, pick))

    def check(self, logits, activations):
        if not logits.shape[1]:
            raise ValueError(
                "Expected a network with classes, got one without logits, of features alone. Use targets.neuron or "
                "targets.direction."
            )
        indices.check_index("class", self.k, *logits.shape, "The network has {} classes.")
        if logits.shape[1] == 1 and _is_constant(self.score):
            raise ValueError(
                "Expected a network with several logits, got one, whose softmax is 1 for every image. Use "
                "targets.sigmoid or targets.log_sigmoid."
            )


@functools.lru_cache(maxsize=32)
def _is_constant(score):
    """Whether a score of a single logit is the same for all its values, as a softmax is."""
    with jax.ensure_compile_time_eval():
        return not np.ptp(np.asarray(score(jnp.linspace(-9, 9, 7, dtype=jnp.float32)[:, None])))


@node
class Neuron(Target):
    """Activation of a unit of a layer, or of a channel at a position, at the maximum, or in the mean."""

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
            at = 0
            for index, size in zip(self.position, value.shape[1:], strict=True):
                at = at * size + index
            return indices.pick(flat, at)
        return indices.pick(flat, jax.lax.stop_gradient(flat).argmax(axis=1))  # jnp.max would share ties

    def rows(self, pick):
        position = self.position and tuple(indices.rows(i, pick) for i in self.position)
        return dataclasses.replace(self, channel=indices.rows(self.channel, pick), position=position)

    def check(self, logits, activations):
        shape, name = activations[self.layer].shape, quoted(self.layer)
        if len(shape) not in (2, 3, 4):
            raise ValueError(f"Expected layer {name} to be (N, C), (N, T, C) or (N, H, W, C), it is {shape}.")
        if len(shape) == 2 and self.at is not None:
            raise ValueError(f"Expected at=None, got {quoted(self.at)}: layer {name} is {shape}, without positions.")
        indices.check_index("channel", self.channel, shape[0], shape[-1], f"Layer {name} has {{}} channels.")
        if self.position is None:
            return
        names = _AXES[len(shape) - 2]
        if len(self.position) != len(names):
            raise ValueError(
                f"Expected {' and '.join(names)} in at, got {len(self.position)} indices: layer {name} is {shape}."
            )
        for axis, index, size in zip(names, self.position, shape[1:-1], strict=True):
            indices.check_index(axis, index, shape[0], size, f"Layer {name} has {{}} {axis}s.")


@node
class Direction(Target):
    """Inner product of a layer's activation with a vector."""

    vector: Array
    layer: str = static()

    @property
    def layers(self):
        return (self.layer,)

    def __call__(self, logits, activations):
        value = activations[self.layer]
        vector = self.vector.reshape(-1).astype(value.dtype)
        return jnp.matmul(value.reshape(value.shape[0], -1), vector, precision=HIGHEST)

    def check(self, logits, activations):
        shape = activations[self.layer].shape[1:]
        if self.vector.shape not in (shape, (int(np.prod(shape)),)):
            raise ValueError(
                f"Expected a vector shaped like layer {quoted(self.layer)}, {shape}, got {self.vector.shape}."
            )
        if not isinstance(self.vector, jax.core.Tracer) and not np.isfinite(self.vector).all():
            raise ValueError("Expected a finite vector, got NaN or infinity.")


@node
class Linear(Target):
    """A linear combination of targets."""

    terms: tuple[Target, ...]
    factors: tuple[Array, ...]

    @property
    def layers(self):
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    @property
    def rescales(self):
        return any(term.rescales for term in self.terms)

    def __call__(self, logits, activations):
        values = [term(logits, activations) for term in self.terms]
        return sum(value * jnp.asarray(each, value.dtype) for value, each in zip(values, self.factors, strict=True))

    def rows(self, pick):
        return Linear(tuple(term.rows(pick) for term in self.terms), self.factors)

    def check(self, logits, activations):
        for term in self.terms:
            term.check(logits, activations)
