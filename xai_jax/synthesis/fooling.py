"""Fooling images: unrecognisable images that a network classifies with high confidence.

Nguyen, Yosinski & Clune 2015, Deep neural networks are easily fooled, arXiv 1412.1897, and its authors' code. `ascend`
follows the gradient of a class's probability; `evolve` is gradient-free: MAP-Elites keeps the best image of each class.

>>> net = Partial(lambda x, relu=None, tap=None: x.reshape(len(x), -1))  # four pixels are four logits
>>> result = ascend(net, [0, 1], jnp.full((2, 2, 2, 1), 0.5), Ascent(steps=10))
>>> bool((result.history["probability"][-1] < result.history["probability"][0]).all())
True
>>> elites, history = evolve(net, Direct((2, 2, 1)), generations=5, key=jax.random.key(0), population=10)
>>> Direct((2, 2, 1)).render(elites.x).shape, elites.confidence.shape, history.shape
((4, 2, 2, 1), (4,), (5, 4))
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import devices, network, per_image, targets
from xai_jax.core.arguments import as_floats, check_count
from xai_jax.core.batching import check_repeatable
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import wide
from xai_jax.core.pytrees import node
from xai_jax.synthesis import optimize
from xai_jax.synthesis.encodings import Direct, Encoding
from xai_jax.synthesis.optimize import Result

__all__ = ["Ascent", "Direct", "Elites", "Encoding", "ascend", "evolve"]


@node
class Ascent:
    """Gradient ascent, x <- (x + learning rate * g)(1 - decay), with steps that shrink as the confidence p grows.

    The learning rate is the one that increases p by min(`max_increase`, `relative_increase` * (1 - p)) to first order,
    at most `max_learning_rate`. Defaults are those of the authors' code.
    """

    steps: int = 300
    decay: float = 0.01
    max_increase: float = 0.03
    relative_increase: float = 0.1
    max_learning_rate: float = 1e8


def ascend(
    net: Network,
    classes: Any,
    start: Array,
    form: Ascent = Ascent(),  # noqa: B008, which knows frozen dataclasses by their decorator
    lower: Any = 0.0,
    upper: Any = 1.0,
    checkpoint: Path | None = None,
) -> Result:
    """Images that a network assigns to given classes with high probability, by gradient ascent.

    Args:
      net: the network to fool.
      classes: the target class of each image, (N,).
      start: initial images (N, H, W, C), in the paper the mean image plus noise. The decay is towards zero, the mean
        image of networks whose input has the mean subtracted.
      form: settings of the ascent.
      lower: the network's input for black, one value for each channel or for all.
      upper: the network's input for white, one value for each channel or for all.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      Images (N, H, W, C), and the history of the term "probability", negative.

    Raises:
      ValueError: for classes and images that do not fit the network, and networks with one logit.
    """
    if not isinstance(form, Ascent):
        raise TypeError(f"Expected the settings of an ascent, such as Ascent(), got {quoted(form)}.")
    net, start = network.as_network(net), as_floats(start, "initial images (N, H, W, C)")
    target = targets.probability(classes)
    targets.check(net, start, target)
    targets.check_dependence(net, start, target)
    project = Partial(_decay_and_clip, form, *(jnp.asarray(each, jnp.float32) for each in (lower, upper)))
    objective = Partial(_probability, net, target)
    rule = optax.GradientTransformationExtraArgs(lambda x: optax.EmptyState(), Partial(_adaptive_ascent, form))
    return optimize.minimise(objective, start, rule, form.steps, project=project, checkpoint=checkpoint)


def _probability(net, target, x):
    return {"probability": -targets.evaluate(net, x, target)[0]}


def _decay_and_clip(form, lower, upper, x, step):
    return jnp.clip((1 - form.decay) * x, lower, upper)


def _adaptive_ascent(form, gradient, state, x=None, *, value=None):
    """Steps of the required increase of p to first order; the loss `value` is -p."""
    square = (gradient**2).sum(tuple(range(1, gradient.ndim)), keepdims=True)
    probability = -value.reshape(square.shape)
    increase = jnp.minimum(form.max_increase, form.relative_increase * (1 - probability))
    learning_rate = jnp.minimum(increase / jnp.where(square > 0, square, 1.0), form.max_learning_rate)
    return -jnp.where(square > 0, learning_rate, 0.0) * gradient, state


class Elites(NamedTuple):
    """The best genome of each of K classes, `x`, the network's confidence in it, (K,), and the generation, `step`."""

    x: Any
    confidence: Array
    step: Array


def evolve(
    net: Network,
    encoding: Encoding,
    generations: int,
    key: Array,
    population: int = 200,
    lower: Any = 0.0,
    upper: Any = 1.0,
    checkpoint: Path | None = None,
) -> tuple[Elites, np.ndarray]:
    """Fooling images of all classes by MAP-Elites: a child replaces the elite of each class it scores higher in.

    Args:
      net: the network to fool.
      encoding: genomes of images and their operators: `Direct` or `cppn.CPPN`.
      generations: number of generations.
      key: for the initial genomes, the choice of parents and the operators.
      population: children per generation, classified as one batch.
      lower: the network's input for black, one value for each channel or for all.
      upper: the network's input for white, one value for each channel or for all.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      The elites, and their confidence before each generation, (generations, K).

    Raises:
      ValueError: for images that do not fit the network, and networks with one logit.
      TypeError: the encoding is no pytree.
    """
    net = network.as_network(net)
    if any(leaf is encoding for leaf in jax.tree.leaves(encoding)):
        raise TypeError(
            f"Expected an encoding that is a pytree, such as Direct, got {type(encoding).__name__}. Register its class "
            "by jax.tree_util.register_dataclass, or by register_static where it has no numbers."
        )
    check_count(generations, "generations")
    check_count(population, "children in a generation")
    bounds = tuple(jnp.asarray(each, jnp.float32) for each in (lower, upper))
    initial_key, run_key = jax.random.split(key)
    images = jax.eval_shape(lambda key: encoding.render(encoding.sample(key, population)), initial_key)
    per_image.refuse(net, "an evolution", "Bind one row for all images, of length 1, as a weight")
    targets.check(net, images, targets.probability(0))
    check_repeatable(net, images, lambda: _shown(encoding, bounds, encoding.sample(initial_key, population)))
    number = devices.dividing((net, encoding, key), population)
    on_all = devices.copy((encoding, net, bounds), number)
    first = _initial_elites(*on_all, initial_key, population, number)

    def chunk(state, count):
        state = devices.copy(state, number)
        return optimize.repeat(lambda s: _generation(*on_all, s, run_key, population, number), state, count)

    problem = net, encoding, key, population, bounds
    state, history = optimize.advance(chunk, first, ["confidence"], generations, problem, checkpoint)
    optimize.check_result(state.confidence)
    return state, history["confidence"]


@functools.partial(jax.jit, static_argnums=(4, 5))
def _initial_elites(encoding, net, bounds, key, population, number):
    genomes = devices.constrain(encoding.sample(key, population), number, divided=True)
    confidence = _confidence(encoding, net, bounds, genomes)
    best = confidence.argmax(0)
    elites = jax.tree.map(lambda leaf: leaf[best], genomes)
    return devices.constrain(Elites(elites, confidence.max(0), jnp.zeros((), jnp.int32)), number, divided=False)


@functools.partial(jax.jit, static_argnums=(5, 6))
def _generation(encoding, net, bounds, state, key, population, number):
    """The elites after a generation, on each device; children are divided among them."""
    parents_key, vary_key = jax.random.split(jax.random.fold_in(key, state.step))
    rows = jax.random.randint(parents_key, (2, population), 0, len(state.confidence))
    parents = tuple(jax.tree.map(lambda leaf, row=row: leaf[row], state.x) for row in rows)
    children = devices.constrain(encoding.vary(vary_key, parents, state.step), number, divided=True)
    confidence = _confidence(encoding, net, bounds, children)
    best, value = confidence.argmax(0), confidence.max(0)
    better = value > state.confidence

    def replace(child, elite):
        return jnp.where(better.reshape(-1, *[1] * (elite.ndim - 1)), child[best], elite)

    elites = Elites(jax.tree.map(replace, children, state.x), jnp.maximum(state.confidence, value), state.step + 1)
    return devices.constrain(elites, number, divided=False), {"confidence": state.confidence}


def _confidence(encoding, net, bounds, genomes):
    """Probabilities (N, K) of rendered genomes."""
    return jax.nn.softmax(wide(net(_shown(encoding, bounds, genomes))))


def _shown(encoding, bounds, genomes):
    lower, upper = bounds
    return lower + (upper - lower) * encoding.render(genomes)
