"""Targets of attribution, maximisation and inversion: functions `(logits, activations) -> (N,)`.

Targets are frozen dataclasses and pytrees. Class indices, positions, vectors and factors are leaves and layer names are
static, so a method compiled for one class serves all. Targets add, subtract and scale. Class, channel and position
indices are one integer for all images, or one for each, (N,).

>>> logits, activations = jnp.array([[1.0, 3.0]]), {"relu1": jnp.array([[[[2.0], [8.0]]]])}
>>> (logit(1) - 0.5 * logit(0))(logits, activations).tolist()
[2.5]
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.core import finite, indices, network, per_image, target_sources
from xai_jax.core.arguments import check_array
from xai_jax.core.messages import listed, quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import wide
from xai_jax.core.rules import Relu
from xai_jax.core.target_types import Class, Direction, Neuron, unchanged
from xai_jax.core.target_types import Target as Target


def logit(k: int | Array) -> Target:
    """Logit of class k.

    >>> logit(1)(logits, activations).tolist()
    [3.0]
    """
    return class_score(k, unchanged)


def probability(k: int | Array) -> Target:
    """Softmax probability of class k, one of several that exclude each other; else see `sigmoid`.

    Its gradient vanishes for confident predictions, that of `logit` does not.

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


def sigmoid(k: int | Array) -> Target:
    """Sigmoid of logit k: the probability of a label by itself.

    For networks with one logit, whose k is 0 and whose sigmoid is the probability of the positive class, and for those
    with a logit for each of several labels that do not exclude each other.

    >>> round(float(sigmoid(0)(logits, activations)[0]), 2)
    0.73
    """
    return class_score(k, jax.nn.sigmoid)


def log_sigmoid(k: int | Array) -> Target:
    """Logarithm of the sigmoid of logit k.

    >>> round(float(log_sigmoid(0)(logits, activations)[0]), 3)
    -0.313
    """
    return class_score(k, jax.nn.log_sigmoid)


def class_score(k: int | Array, score: Callable[[Array], Array]) -> Target:
    """Entry k of `score(logits)`, a function of logits (N, K) to the same shape that is defined in a module.

    >>> class_score(0, jnp.negative)(logits, activations).tolist()
    [-1.0]
    """
    return Class(indices.integers(k, "class"), score)


def neuron(layer: str, channel: int | Array, at: str | int | tuple | None = None) -> Target:
    """Activation of a unit of a layer (N, C), or of a channel of a map (N, H, W, C) or a sequence (N, T, C).

    `at` is "max" for the maximum over positions, the first one of ties (also the meaning of None on a map or sequence);
    "mean" over positions; (row, column) of a map; or the position in a sequence, t or (t,).

    >>> neuron("relu1", 0, "mean")(logits, activations).tolist()
    [5.0]
    """
    if at in (None, "max", "mean"):
        return Neuron(indices.integers(channel, "channel"), None, layer, at)
    position = at if isinstance(at, str | tuple | list) or getattr(at, "ndim", 0) else (at,)
    if isinstance(at, str) or len(position) not in (1, 2):
        raise ValueError(f"Expected at=None, 'max', 'mean', (row, column) or (t,), got {quoted(at)}.")
    position = tuple(indices.integers(i, "position") for i in position)
    return Neuron(indices.integers(channel, "channel"), position, layer, "position")


def direction(layer: str, vector: Array) -> Target:
    """Inner product of a layer's activation with `vector`, for example a CAV (Kim et al. 2018, equation 1).

    `vector` has the activation's shape without N, or that shape flattened.

    >>> direction("relu1", jnp.array([1.0, -1.0]))(logits, activations).tolist()
    [-6.0]
    """
    vector = vector if isinstance(vector, np.ndarray | Array) else np.asarray(vector)
    check_array(vector, "numbers, a direction in the layer")
    return Direction(jnp.asarray(vector), layer)


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
      Values (N,), float32 or wider, and logits (N, K).

    Raises:
      ValueError: the network has no layer of that name.
    """
    logits, activations = network.capture(net, x, target.layers, relu=relu)
    return target(*wide((logits, activations))), logits


def check(net: Network, x: Any, target: Target) -> None:
    """Raises TypeError or ValueError, before any computation, if images, network and target do not match.

    >>> check(net, jnp.ones((1, 2, 2, 3)), logit(7))
    Traceback (most recent call last):
    ValueError: Expected a class between 0 and 2, got 7. The network has 3 classes.
    """
    network.check_images(x)
    if not isinstance(target, Target):
        raise TypeError(f"Expected a target such as targets.logit(3), got {quoted(target)}.")
    net = network.as_network(net)
    per_image.check_rows(net, x.shape[0])
    logits, activations = network.abstract(net, x)
    if getattr(logits, "ndim", None) != 2 or logits.shape[0] != x.shape[0]:
        got = getattr(logits, "shape", type(logits).__name__)
        cause = " Usual cause: one logit without its axis; return logits[:, None]." if got == (x.shape[0],) else ""
        raise ValueError(f"Expected a network that returns logits ({x.shape[0]}, K), got {got}.{cause}")
    for layer in target.layers:
        network.require(layer, activations)
    target.check(logits, activations)
    if target.rescales or (logits.shape[1] == 1 and not target.layers):
        _check_last(target_sources.sources(net, x, target).last, target, logits.shape[1])


def _check_last(operation, target, count):
    """Raises ValueError for probabilities that `check_logits` cannot recognise by their values."""
    if operation == "softmax" and count == 1:
        raise ValueError(
            "Expected a logit, got a softmax of one, which is 1 for every image. Usual cause: the network ends in a "
            "softmax. Remove it; targets.sigmoid gives a probability."
        )
    if operation == "logistic" and target.rescales:
        raise ValueError(
            "Expected logits, got the outputs of a sigmoid, with which the network ends. Remove it, or use "
            "targets.logit, the network's output itself, which is a probability here."
        )


def check_dependence(net: Network, x: Any, target: Target, layer: str | None = None) -> None:
    """Raises ValueError for a target that is computed without the image, or without a layer: its gradient is zero.

    Units that are inactive on these images, or with these weights, are accepted: their zeros are results.

    >>> net = lambda x, relu, tap: tap("relu2", tap("relu1", x).sum((1, 2)))
    >>> check_dependence(net, jnp.ones((1, 2, 2, 3)), neuron("relu1", 0), "relu2")
    Traceback (most recent call last):
    ValueError: Expected a target that depends on layer 'relu2', got one that is computed without it, ...

    Args:
      net: the network.
      x: images (N, H, W, C), or `jax.ShapeDtypeStruct`.
      target: the target, which fits the network (see `check`).
      layer: name of a layer of the network; None for the image.

    Raises:
      ValueError: the target does not depend on the layer or the image.
    """
    found = target_sources.sources(net, x, target)
    if layer is None and not found.image:
        raise ValueError(
            "Expected a target that depends on the image, got one that is computed without it, so that its gradient is "
            "zero everywhere. Usual cause: features that were computed outside of the network."
        )
    if layer is not None and layer not in found.layers:
        below = [name for name in network.layer_names(net, x) if name in found.layers][-3:]
        raise ValueError(
            f"Expected a target that depends on layer {quoted(layer)}, got one that is computed without it, so that "
            f"its gradient there is zero everywhere. Usual cause: a layer above that of the target, or beside it. The "
            f"last layers that it depends on: {listed(below)}."
        )


def check_logits(logits: Array, first: int = 0) -> None:
    """Raises ValueError for logits (N, K) that are not finite, or that are probabilities: rows >= 0 with sum 1.

    `first` is the index of the first image. Logits that are being traced pass.

    >>> check_logits(jnp.array([[0.25, 0.75]]))
    Traceback (most recent call last):
    ValueError: Expected logits, got probabilities (every row is non-negative and adds up to 1). ...
    """
    refuse_faults(faults(logits, ()), first)


@jax.jit
def faults(logits: Array | None, results: Any) -> Array:
    """What is wrong with each image, for `refuse_faults`, as the bits of uint8 (N,); computed on the device.

    1: logits (N, K) that are not finite; 2: logits that are no probabilities, which is wrong in no image; 4: results, a
    pytree of arrays (N, ...), that are not finite.

    >>> faults(jnp.array([[0.25, 0.75], [1.0, 2.0]]), jnp.array([jnp.nan, 0.0])).tolist()
    [4, 2]
    """
    found = 4 * finite.bad_rows(results).astype(jnp.uint8)
    if logits is None:
        return found + jnp.uint8(2)
    rounding = max(1e-4, 2 * float(jnp.finfo(logits.dtype).eps)) + 1e-5
    rows = wide(logits)
    others = (rows < 0).any(1) | ~(abs(rows.sum(1) - 1) <= rounding) | (rows.shape[1] == 1)
    return found + finite.bad_rows(logits).astype(jnp.uint8) + 2 * others.astype(jnp.uint8)


def refuse_faults(found: Array, first: int) -> None:
    """Raises ValueError for what `faults` found in images from index `first` on; what is being traced passes.

    Probabilities are recognised from index 0 on: a few rows of logits may look like some.

    >>> refuse_faults(jnp.array([2, 6], jnp.uint8), 0)
    Traceback (most recent call last):
    ValueError: Expected a finite result, got NaN or infinity for image 1, whose logits are finite. Usual cause: a ...
    """
    if isinstance(found, jax.core.Tracer):
        return
    found = np.asarray(found)
    if (bad := found & 1).any():
        raise ValueError(
            f"Expected finite logits, got NaN or infinity for image {first + bad.argmax()}. "
            "Usual causes: wrong weights, or images in another range than in training."
        )
    if first == 0 and not (found & 2).any():
        raise ValueError(
            "Expected logits, got probabilities (every row is non-negative and adds up to 1). Usual cause: the network "
            "ends in a softmax. Remove it; targets.probability applies one."
        )
    if (bad := found & 4).any():
        raise ValueError(
            f"Expected a finite result, got NaN or infinity for image {first + bad.argmax()}, whose logits are finite. "
            "Usual cause: a derivative that does not exist, such as that of a square root, a norm or a "
            "standard deviation at 0, as for an image of one colour; in float16 also a large one."
        )
