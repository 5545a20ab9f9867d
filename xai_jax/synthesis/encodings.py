"""Genomes of images for evolutionary search, and how they vary: the direct encoding; `cppn.CPPN` is an indirect one.

Nguyen, Yosinski & Clune 2015, Deep neural networks are easily fooled, arXiv 1412.1897, section 2.3, with the operators
of Deb's real-coded genetic algorithms.

>>> polynomial_mutation(jnp.array([0.0, 0.5]), index=15.0).tolist()
[-1.0, 0.0]
>>> binary_crossover(jnp.array([0.5]), 10.0, first=jnp.array([0.25]), second=jnp.array([0.75])).tolist()
[0.25]
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.core.pytrees import node, static


class Encoding(Protocol):
    """Genomes of images, with mutation and crossover; a pytree, whose leaves, its numbers, compiled programs take."""

    def sample(self, key: Array, count: int) -> Any:
        """Random genomes: an array (count, ...), or a tree of them."""

    def vary(self, key: Array, parents: tuple[Any, Any], generation: Array) -> Any:
        """One child of each pair of parents, whose genomes are trees of arrays (N, ...)."""

    def render(self, genomes: Any) -> Array:
        """Images (N, H, W, C) in [0, 1]."""


@node
class Direct:
    """Direct encoding: one gene for each value of an image, initially uniform in [0, 1].

    Attributes:
      shape: height, width and channels.
      mutation_probability: fraction of genes that mutate.
      halving: generations after which the mutation rate is halved; 0 for never.
      mutation_index: distribution index of `polynomial_mutation`.
      crossover_probability: fraction of children with `binary_crossover`.
      crossover_index: distribution index of the crossover.
    """

    shape: tuple[int, int, int] = static()
    mutation_probability: float = 0.1
    halving: int = 1000
    mutation_index: float = 15.0
    crossover_probability: float = 0.5
    crossover_index: float = 10.0

    def sample(self, key: Array, count: int) -> Array:
        """Random genomes (count, H, W, C)."""
        return jax.random.uniform(key, (count, *self.shape))

    def vary(self, key: Array, parents: tuple[Array, Array], generation: Array) -> Array:
        """Children (N, H, W, C) of pairs of parents of the same shape."""
        first, second = parents
        mixing, spreading, picking, moving = jax.random.split(key, 4)
        mix = jax.random.bernoulli(mixing, self.crossover_probability, (len(first), 1, 1, 1))
        u = jax.random.uniform(spreading, first.shape)
        child = jnp.where(mix, binary_crossover(u, self.crossover_index, first, second), first)
        halvings = jnp.where(self.halving > 0, generation // jnp.maximum(self.halving, 1), 0).astype(child.dtype)
        mutation_probability = self.mutation_probability * 0.5**halvings
        moved = child + polynomial_mutation(jax.random.uniform(moving, first.shape), self.mutation_index)
        return jnp.clip(jnp.where(jax.random.uniform(picking, first.shape) < mutation_probability, moved, child), 0, 1)

    def render(self, genomes: Array) -> Array:
        """The genomes (N, H, W, C), which are images."""
        return genomes


def binary_crossover(u: Array, index: float, first: Array, second: Array) -> Array:
    """Deb's simulated binary crossover: the first of two children.

    Args:
      u: uniform random numbers in [0, 1), of the shape of the parents.
      index: distribution index; larger ones give children closer to their parents.
      first: genes of the first parent.
      second: genes of the second parent.

    Returns:
      The child's genes, which may leave [0, 1].

    Raises:
      TypeError: for parents of different shapes.
    """
    spread = jnp.where(u <= 0.5, 2 * u, 0.5 / (1 - u)) ** (1 / (index + 1))
    return ((1 + spread) * first + (1 - spread) * second) / 2


def polynomial_mutation(u: Array, index: float) -> Array:
    """Deb's polynomial mutation of genes in [0, 1]: their changes for random `u` in [0, 1), of the same shape."""
    change = 1 - (2 * jnp.minimum(u, 1 - u)) ** (1 / (index + 1))
    return jnp.where(u < 0.5, -change, change)
