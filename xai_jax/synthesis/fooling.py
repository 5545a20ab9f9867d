"""Fooling images: unrecognisable images that a network classifies with high confidence.

Nguyen, Yosinski & Clune 2015, Deep neural networks are easily fooled, arXiv 1412.1897, and its authors' code. `ascend`
follows the gradient of a class's probability; `evolve` is gradient-free: MAP-Elites keeps the best image of each class.

    elites, history = evolve(model.net, Direct((28, 28, 1)), generations=200, key=jax.random.key(0))
    images, confidence = Direct((28, 28, 1)).render(elites.x), elites.confidence
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network, targets
from xai_jax.core.network import Network
from xai_jax.synthesis import optimize
from xai_jax.synthesis.optimize import Result


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
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
    form: Ascent = Ascent(),
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
      ValueError: for classes and images that do not fit the network.
    """
    net, start, target = network.as_network(net), jnp.asarray(start, jnp.float32), targets.probability(classes)
    targets.check(net, start, target)
    project = Partial(_decay_and_clip, form, *(jnp.asarray(each, jnp.float32) for each in (lower, upper)))
    objective, rule = Partial(_probability, net, target), _adaptive_ascent(form)
    return optimize.minimise(objective, start, rule, form.steps, project=project, checkpoint=checkpoint)


def _probability(net, target, x):
    return {"probability": -targets.evaluate(net, x, target)[0]}


def _decay_and_clip(form, lower, upper, x, step):
    return jnp.clip((1 - form.decay) * x, lower, upper)


@functools.cache
def _adaptive_ascent(form):
    """Steps of the required increase of p to first order; the loss `value` is -p."""

    def update(gradient, state, x=None, *, value=None):
        square = (gradient**2).sum(tuple(range(1, gradient.ndim)), keepdims=True)
        probability = -value.reshape(square.shape)
        increase = jnp.minimum(form.max_increase, form.relative_increase * (1 - probability))
        learning_rate = jnp.minimum(increase / jnp.where(square > 0, square, 1.0), form.max_learning_rate)
        return -jnp.where(square > 0, learning_rate, 0.0) * gradient, state

    return optax.GradientTransformationExtraArgs(lambda x: optax.EmptyState(), update)


class Encoding(Protocol):
    """How images in [0, 1] are written down, and how descriptions change; static for compiled programs."""

    def sample(self, key: Array, count: int) -> Any:
        """Random descriptions: arrays (count, ...), or a tree of them."""

    def vary(self, key: Array, first: Any, second: Any, generation: Array) -> Any:
        """Children of as many pairs of parents."""

    def render(self, described: Any) -> Array:
        """Images (N, H, W, C)."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Direct:
    """Every value by itself, uniform at first; half of the children mix their parents' values before they mutate.

    `rate`: the share of values that mutate, which halves every `halving` generations. Polynomial mutation and simulated
    binary crossover as Deb's, with the indexs `mutation` and `crossover`.
    """

    shape: tuple[int, int, int]
    mutation_rate: float = 0.1
    halving: int = 1000
    mutation_index: float = 15.0
    crossover_rate: float = 0.5
    crossover_index: float = 10.0

    def sample(self, key, count):
        return jax.random.uniform(key, (count, *self.shape))

    def vary(self, key, first, second, generation):
        mixing, spreading, picking, moving = jax.random.split(key, 4)
        mix = jax.random.bernoulli(mixing, self.crossover_rate, (len(first), 1, 1, 1))
        u = jax.random.uniform(spreading, first.shape)
        child = jnp.where(mix, binary_crossover(u, self.crossover_index, first, second), first)
        rate = self.mutation_rate * 0.5 ** (generation // self.halving).astype(child.dtype)
        moved = child + polynomial_mutation(jax.random.uniform(moving, first.shape), self.mutation_index)
        return jnp.clip(jnp.where(jax.random.uniform(picking, first.shape) < rate, moved, child), 0, 1)

    def render(self, described):
        return described


def binary_crossover(u: Array, index: float, first: Array, second: Array) -> Array:
    """Deb's simulated binary crossover: the first of two children, by chances `u` in [0, 1)."""
    spread = jnp.where(u <= 0.5, 2 * u, 0.5 / (1 - u)) ** (1 / (index + 1))
    return ((1 + spread) * first + (1 - spread) * second) / 2


def polynomial_mutation(u: Array, index: float) -> Array:
    """Deb's polynomial mutation: how far values of [0, 1] move, by chances `u` in [0, 1)."""
    far = 1 - (2 * jnp.minimum(u, 1 - u)) ** (1 / (index + 1))
    return jnp.where(u < 0.5, -far, far)


class Elites(NamedTuple):
    """The best description found for each of K classes, `x`, and the network's confidence in it, (K,)."""

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
    """MAP-Elites with a cell for each class: (elites, confidence of each before each generation (generations, K)).

    A generation is `population` children of elites drawn at random, shown to the network as one batch; a child takes
    the cell of any class that the network is surer of than of the elite there. Images in [0, 1] become inputs between
    `lower` and `upper`, one value for each channel or for all. With `saved` a killed run goes on. Raises ValueError for
    images that the network does not take.
    """
    net = network.as_network(net)
    if min(generations, population) < 1:
        raise ValueError(f"Expected generations and a population of at least 1, got {generations} and {population}.")
    bounds = tuple(jnp.asarray(each, jnp.float32) for each in (lower, upper))
    beginning, running = jax.random.split(key)
    some = jax.eval_shape(lambda key: encoding.render(encoding.sample(key, population)), beginning)
    targets.check(net, some, targets.logit(0))
    first = _begin(encoding, net, bounds, beginning, population)

    def chunk(state, count):
        return optimize.repeat(lambda s: _generation(encoding, population, net, bounds, s, running), state, count)

    state, history = optimize.advance(chunk, first, ["confidence"], generations, (net, key, bounds, first), checkpoint)
    return state, history["confidence"]


@functools.partial(jax.jit, static_argnums=(0, 4))
def _begin(encoding, net, bounds, key, population):
    described = encoding.sample(key, population)
    sure = _confidence(encoding, net, bounds, described)
    best = sure.argmax(0)
    elites = jax.tree.map(lambda leaf: leaf[best], described)
    return Elites(elites, sure.max(0), jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _generation(encoding, population, net, bounds, state, key):
    drawing, varying = jax.random.split(jax.random.fold_in(key, state.step))
    drawn = jax.random.randint(drawing, (2, population), 0, len(state.confidence))
    parents = [jax.tree.map(lambda leaf, row=row: leaf[row], state.x) for row in drawn]
    children = encoding.vary(varying, *parents, state.step)
    sure = _confidence(encoding, net, bounds, children)
    best, value = sure.argmax(0), sure.max(0)
    better = value > state.confidence

    def settle(child, elite):
        return jnp.where(better.reshape(-1, *[1] * (elite.ndim - 1)), child[best], elite)

    elites = jax.tree.map(settle, children, state.x)
    confidence = jnp.maximum(state.confidence, value)
    return Elites(elites, confidence, state.step + 1), {"confidence": state.confidence}


def _confidence(encoding, net, bounds, described):
    """Probabilities (N, K) of the images described."""
    lower, upper = bounds
    return jax.nn.softmax(net(lower + (upper - lower) * encoding.render(described)))
