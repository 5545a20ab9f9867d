"""Crossover and mutations of one compositional pattern-producing network, of the shapes of `Genome`.

A mutation that is impossible changes nothing.

>>> keys, linked = jax.random.split(jax.random.key(0), 9), jnp.ones((2, 5), bool).at[:, 4].set(False)
>>> genome = Genome(jnp.full((2, 5), 0.5), linked, jnp.zeros(2, int), jnp.array([False]))  # one hidden node, one output
>>> grown = add_node(keys[0], add_link(keys[1], genome))
>>> bool(grown.present[0]), bool(remove_node(keys[2], grown).present[0])
(True, False)
>>> int(linked.sum()), int(remove_link(keys[3], genome).linked.sum()), int(move_link(keys[4], genome).linked.sum())
(8, 7, 8)
>>> mutated = mutate_functions(keys[5], mutate_weights(keys[6], genome, 1.0, index=15.0), 1.0)
>>> child = crossover(keys[7], genome, mutated, index=10.0)
>>> bool((child.weight != genome.weight).any()), bool((where(False, child, genome).weight == genome.weight).all())
(True, True)
"""

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.synthesis.cppn_network import FUNCTIONS, INPUTS, Genome
from xai_jax.synthesis.encodings import binary_crossover, polynomial_mutation


def crossover(key: Array, genome: Genome, other: Genome, index: float) -> Genome:
    """Simulated binary crossover of the weights of links that both parents have.

    Args:
      key: random key.
      genome: the first parent, whose links and nodes the child has.
      other: the second parent.
      index: distribution index.

    Returns:
      The child.

    Raises:
      TypeError: for parents of different shapes.
    """
    mixed = binary_crossover(jax.random.uniform(key, genome.weight.shape), index, genome.weight, other.weight)
    return genome._replace(weight=jnp.where(genome.linked & other.linked, jnp.clip(mixed, 0, 1), genome.weight))


def mutate_weights(key: Array, genome: Genome, mutation_probability: float, index: float) -> Genome:
    """Polynomial mutation of a fraction of the weights.

    Args:
      key: random key.
      genome: the network.
      mutation_probability: expected fraction of weights that change.
      index: distribution index.

    Returns:
      The mutated network, with weights in [0, 1].

    Raises:
      TypeError: for a probability that is no number.
    """
    picking, moving = jax.random.split(key)
    moved = genome.weight + polynomial_mutation(jax.random.uniform(moving, genome.weight.shape), index)
    picked = jax.random.uniform(picking, genome.weight.shape) < mutation_probability
    return genome._replace(weight=jnp.where(picked, jnp.clip(moved, 0, 1), genome.weight))


def mutate_functions(key: Array, genome: Genome, mutation_probability: float) -> Genome:
    """Draws a fraction of the activation functions again."""
    picking, choosing = jax.random.split(key)
    chosen = jax.random.randint(choosing, genome.function.shape, 0, len(FUNCTIONS))
    picked = jax.random.uniform(picking, chosen.shape) < mutation_probability
    return genome._replace(function=jnp.where(picked, chosen, genome.function))


def add_link(key: Array, genome: Genome) -> Genome:
    """Adds a link with a random weight, where one is possible."""
    picking, weighing = jax.random.split(key)
    new = _pick(picking, _free(genome))
    weight = jnp.where(new, jax.random.uniform(weighing), genome.weight)
    return genome._replace(weight=weight, linked=genome.linked | new)


def remove_link(key: Array, genome: Genome) -> Genome:
    """Removes a link."""
    return genome._replace(linked=genome.linked & ~_pick(key, genome.linked))


def move_link(key: Array, genome: Genome) -> Genome:
    """Changes one end of a link, where that is possible."""
    picking, tossing, new_key = jax.random.split(key, 3)
    old = _pick(picking, genome.linked)
    beside = jnp.where(jax.random.bernoulli(tossing), old.any(1, keepdims=True), old.any(0, keepdims=True))
    new = _pick(new_key, _free(genome) & beside)
    weight = jnp.where(new, jnp.where(old, genome.weight, 0.0).sum(), genome.weight)
    return where(new.any(), genome._replace(weight=weight, linked=(genome.linked & ~old) | new), genome)


def add_node(key: Array, genome: Genome) -> Genome:
    """Splits a link by a new hidden node, unless all hidden nodes are in use; both new links have the old weight."""
    picking, choosing = jax.random.split(key)
    old, node, hidden = _pick(picking, genome.linked), genome.present.argmin(), len(genome.present)
    target, source = old.any(1).argmax(), old.any(0).argmax()
    links = (target, INPUTS + node), (node, source)
    weight, linked = genome.weight, genome.linked & ~old
    for link in links:
        weight, linked = weight.at[link].set(genome.weight[target, source]), linked.at[link].set(True)
    function = genome.function.at[node].set(jax.random.randint(choosing, (), 0, len(FUNCTIONS)))
    grown = Genome(weight, linked, function, genome.present.at[node].set(True))
    order = (2 * jnp.arange(hidden)).at[node].set(2 * jnp.minimum(target, hidden) - 1).argsort()
    return where(old.any() & ~genome.present.all(), _ordered(grown, order), genome)


def _ordered(genome, order):
    """The same network with its hidden nodes permuted."""
    hidden = len(order)
    targets = jnp.concatenate([order, jnp.arange(hidden, len(genome.function))])
    sources = jnp.concatenate([jnp.arange(INPUTS), INPUTS + order])
    weight, linked = (array[targets][:, sources] for array in (genome.weight, genome.linked))
    return Genome(weight, linked, genome.function[targets], genome.present[order])


def remove_node(key: Array, genome: Genome) -> Genome:
    """Removes a hidden node and its links."""
    gone = _pick(key, genome.present)
    targets, sources = _ends(genome, gone, False)
    return genome._replace(linked=genome.linked & ~targets[:, None] & ~sources, present=genome.present & ~gone)


def _free(genome):
    """Possible new links, (T, S): from inputs and hidden nodes to later hidden nodes and outputs."""
    targets, sources = _ends(genome, genome.present, True)
    after = jnp.arange(len(targets))[:, None] > jnp.arange(len(sources)) - INPUTS
    return targets[:, None] & sources & after & ~genome.linked


def _ends(genome, hidden, others):
    """Flags of hidden nodes (H,) extended to targets (T,) and sources (S,), with `others` for outputs and inputs."""
    outputs = len(genome.function) - len(hidden)
    return jnp.concatenate([hidden, jnp.full(outputs, others)]), jnp.concatenate([jnp.full(INPUTS, others), hidden])


def _pick(key, allowed):
    """A random True element of `allowed`: a mask of that element alone, or of none."""
    score = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    return allowed & (jnp.arange(score.size).reshape(score.shape) == score.argmax())


def where(condition: Array, changed: Genome, genome: Genome) -> Genome:
    """`changed` where the condition holds, `genome` elsewhere."""
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), changed, genome)
