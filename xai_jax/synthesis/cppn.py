"""Images drawn by small networks: the indirect encoding of Nguyen, Yosinski & Clune 2015.

A compositional pattern-producing network (Stanley 2007) computes a pixel from its coordinates alone, so that evolved
images have symmetries and repeated patterns. `CPPN` is an encoding for `fooling.evolve`.

>>> encoding = CPPN((8, 8, 3), hidden=4)
>>> genomes = encoding.sample(jax.random.key(0), 5)
>>> children = encoding.vary(jax.random.key(1), (genomes, genomes), generation=0)
>>> encoding.render(children).shape
(5, 8, 8, 3)
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.core.pytrees import node, static
from xai_jax.synthesis import cppn_mutations as mutations
from xai_jax.synthesis import cppn_network
from xai_jax.synthesis.cppn_network import FUNCTIONS, INPUTS, Genome, rgb


@node
class CPPN:
    """Images of compositional pattern-producing networks, which initially link every input to every output.

    As in the authors' code: inputs, functions, probabilities and order of mutations; colours as hue, lightness and
    saturation. Its parameters include probabilities of moved links and of crossover, which the library that it uses
    does not apply to such networks. Ours: at most `hidden` nodes, so that all genomes have one size; links lead forward
    in the order of the nodes, with new nodes right before their target; coordinates in [-1, 1]; pixels are absolute
    values of outputs; crossover is of weights alone.

    Attributes:
      shape: height, width and channels, 1 or 3.
      hidden: greatest number of hidden nodes.
      add_link: probability of each mutation, as the next four.
      mutation_probability: fraction of weights and functions that mutate.
      mutation_index: distribution index of the mutation of weights.
      crossover_probability: fraction of children with crossover.
      crossover_index: distribution index of the crossover.

    Raises:
      ValueError: for other channels, or without hidden nodes.
    """

    shape: tuple[int, int, int] = static()
    hidden: int = static(default=16)
    add_link: float = 0.5
    remove_link: float = 0.3
    move_link: float = 0.5
    add_node: float = 0.5
    remove_node: float = 0.2
    mutation_probability: float = 0.1
    mutation_index: float = 15.0
    crossover_probability: float = 0.1
    crossover_index: float = 15.0

    def __post_init__(self):
        if self.shape[-1] not in (1, 3) or self.hidden < 1:
            raise ValueError(
                f"Expected images of 1 or 3 channels and a hidden node at least, got {self.shape} and {self.hidden}."
            )

    def sample(self, key: Array, count: int) -> Genome:
        """Random genomes (count, ...) without hidden nodes."""
        targets, sources = self.hidden + self.shape[-1], INPUTS + self.hidden
        weighing, choosing = jax.random.split(key)
        ends = (jnp.arange(targets)[:, None] >= self.hidden) & (jnp.arange(sources) < INPUTS)
        return Genome(
            jax.random.uniform(weighing, (count, targets, sources)),
            jnp.broadcast_to(ends, (count, targets, sources)),
            jax.random.randint(choosing, (count, targets), 0, len(FUNCTIONS)),
            jnp.zeros((count, self.hidden), bool),
        )

    def vary(self, key: Array, parents: tuple[Genome, Genome], generation: Array) -> Genome:
        """Children (N, ...) of pairs of parents of the same shape; mutations do not depend on the generation."""
        del generation
        return jax.vmap(self._child)(jax.random.split(key, len(parents[0].weight)), *parents)

    def _child(self, key, first, second):
        crossover = partial(mutations.crossover, other=second, index=self.crossover_index)
        common = {"mutation_probability": self.mutation_probability}
        changes = (
            (self.crossover_probability, crossover),
            (1.0, partial(mutations.mutate_weights, index=self.mutation_index, **common)),
            (self.move_link, mutations.move_link),
            (1.0, partial(mutations.mutate_functions, **common)),
            (self.add_link, mutations.add_link),
            (self.remove_link, mutations.remove_link),
            (self.add_node, mutations.add_node),
            (self.remove_node, mutations.remove_node),
        )
        deciding, *keys = jax.random.split(key, len(changes) + 1)
        genome, drawn = first, jax.random.uniform(deciding, (len(changes),))
        for (probability, change), each, number in zip(changes, keys, drawn, strict=True):
            genome = mutations.where(number < probability, change(each, genome), genome)
        return genome

    def render(self, genomes: Genome) -> Array:
        """Images (N, H, W, C) of genomes (N, ...)."""
        values = jax.vmap(lambda genome: cppn_network.evaluate(genome, cppn_network.coordinates(self.shape)))(genomes)
        images = jnp.moveaxis(jnp.abs(values), 1, -1).reshape(-1, *self.shape)
        return images if self.shape[-1] == 1 else rgb(images)
