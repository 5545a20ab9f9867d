"""Compositional pattern-producing networks (Stanley 2007) of fixed size, as arrays; see `Genome` for shapes.

>>> x = coordinates((2, 2, 1))
>>> x[:2].T.tolist()
[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
>>> linked = jnp.array([[False] * 5, [True] + [False] * 4])  # x to the only output, which is linear
>>> genome = Genome(jnp.full((2, 5), 0.575), linked, jnp.array([0, 3]), jnp.array([False]))
>>> evaluate(genome, x).round(3).tolist(), activate(jnp.array(3), jnp.array([-3.0, 0.0])).tolist()
([[-0.5, 0.5, -0.5, 0.5]], [-1.0, 0.0])
>>> rgb(jnp.array([0.0, 0.5, 1.0])).tolist()
[1.0, 0.0, 0.0]
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from xai_jax.core.precision import HIGHEST

INPUTS = 4  # x, y, distance to the centre, bias
MAX_WEIGHT = 10.0


class Genome(NamedTuple):
    """A network with up to H hidden nodes and O outputs; links lead from inputs and hidden nodes to later nodes.

    Sources are the inputs, then the hidden nodes, S = 4 + H; targets the hidden nodes, then the outputs, T = H + O.

    Attributes:
      weight: (T, S) in [0, 1], for weights from -10 to 10.
      linked: (T, S), whether there is a link.
      function: (T,), activation functions, see `activate`.
      present: (H,), whether a hidden node is in use.
    """

    weight: Array
    linked: Array
    function: Array
    present: Array


def activate(function: Array, x: Array) -> Array:
    """Sine, sigmoid, Gaussian or clipped linear function, by index; the Gaussian is in [0, 1], others in [-1, 1]."""
    return lax.select_n(jnp.broadcast_to(function, x.shape), *(each(x) for each in FUNCTIONS))


FUNCTIONS = (jnp.sin, lambda x: jnp.tanh(x / 2), lambda x: jnp.exp(-(x**2)), lambda x: jnp.clip(x, -3, 3) / 3)


def rgb(images: Array) -> Array:
    """Hue, lightness and saturation (..., 3) in [0, 1] -> red, green and blue."""
    hue, lightness, saturation = jnp.moveaxis(images, -1, 0)
    chroma = saturation * jnp.minimum(lightness, 1 - lightness)
    angles = [(shift + 12 * hue) % 12 for shift in (0, 8, 4)]
    return jnp.stack([lightness - chroma * jnp.clip(jnp.minimum(k - 3, 9 - k), -1, 1) for k in angles], -1)


def coordinates(shape: tuple[int, int, int]) -> Array:
    """Inputs of all pixels, (4, H * W): x, y, distance to the centre, bias."""
    y, x = (jnp.linspace(-1, 1, side) for side in shape[:2])
    y, x = (each.ravel() for each in jnp.meshgrid(y, x, indexing="ij"))
    return jnp.stack([x, y, jnp.sqrt(x**2 + y**2), jnp.ones_like(x)])


def evaluate(genome: Genome, inputs: Array) -> Array:
    """Outputs (O, pixels) for inputs (4, pixels); hidden nodes are computed in order."""
    hidden = len(genome.present)
    weights = jnp.where(genome.linked, MAX_WEIGHT * (2 * genome.weight - 1), 0.0)
    values = jnp.concatenate([inputs, jnp.zeros((hidden, inputs.shape[1]))])

    def node(number, values):
        total = jnp.matmul(weights[number], values, precision=HIGHEST)
        return values.at[INPUTS + number].set(activate(genome.function[number], total))

    values = lax.fori_loop(0, hidden, node, values)
    return activate(genome.function[hidden:, None], jnp.matmul(weights[hidden:], values, precision=HIGHEST))
