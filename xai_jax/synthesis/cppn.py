"""Images drawn by small networks from the place of each pixel: the indirect encoding of Nguyen, Yosinski & Clune 2015.

A compositional pattern-producing network (Stanley 2007) gives a pixel its value from its place alone, so that what is
evolved has symmetries and repeated parts. `CPPN` is an encoding for `fooling.evolve`.

    found, history = fooling.evolve(model.net, CPPN((28, 28, 1)), generations=200, key=jax.random.key(0))
    images = CPPN((28, 28, 1)).render(found.x)
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from xai_jax.synthesis.fooling import binary_crossover, polynomial_mutation

INPUTS = 4  # x, y, distance to the centre, bias
REACH = 10.0  # of weights


class Genes(NamedTuple):
    """A network with H places for hidden nodes and O outputs; a node's links come from inputs and from places before.

    Nodes that values come from: the inputs, then hidden nodes, S = 4 + H. Nodes that they go to: hidden nodes, then
    outputs, T = H + O. `weight` (T, S) in [0, 1], that is -10 to 10; `linked` (T, S); `function` (T,), see `activate`;
    `present` (H,).
    """

    weight: Array
    linked: Array
    function: Array
    present: Array


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class CPPN:
    """Images (H, W, 1 or 3) of networks that start without hidden nodes, every input linked to every output.

    As in the code: inputs, functions, chances and order of mutations; a new node takes a link's place, and both its new
    links have the old weight; weights move by Deb's polynomial mutation; colours are hue, lightness and saturation. Its
    parameters have `move` and `mixed`, too, but the library it uses does neither to such networks. Ours: at most
    `hidden` nodes, so that all networks have one size; new links lead on in the order in which nodes stand, a new node
    right before the one it feeds; coordinates from -1 to 1; a pixel's value is the size of what its output gives,
    without the sign; and children that are `mixed` share the weights of links that both parents have.

    `link`, `unlink`, `move`, `insert`, `remove`: chances of one more link, one less, one with another end, a hidden
    node more, or less; `rate`: the share of weights and functions that change. Raises ValueError for other channels.
    """

    shape: tuple[int, int, int]
    hidden: int = 16
    add_link: float = 0.5
    remove_link: float = 0.3
    move_link: float = 0.5
    add_node: float = 0.5
    remove_node: float = 0.2
    mutation_rate: float = 0.1
    mutation_index: float = 15.0
    crossover_rate: float = 0.1
    crossover_index: float = 15.0

    def __post_init__(self):
        if self.shape[-1] not in (1, 3) or self.hidden < 1:
            raise ValueError(
                f"Expected images of 1 or 3 channels and a hidden node at least, got {self.shape} and {self.hidden}."
            )

    def sample(self, key, count):
        targets, sources = self.hidden + self.shape[-1], INPUTS + self.hidden
        weighing, choosing = jax.random.split(key)
        ends = (jnp.arange(targets)[:, None] >= self.hidden) & (jnp.arange(sources) < INPUTS)
        return Genes(
            jax.random.uniform(weighing, (count, targets, sources)),
            jnp.broadcast_to(ends, (count, targets, sources)),
            jax.random.randint(choosing, (count, targets), 0, len(_FUNCTIONS)),
            jnp.zeros((count, self.hidden), bool),
        )

    def vary(self, key, first, second, generation):
        return jax.vmap(self._child)(jax.random.split(key, len(first.weight)), first, second)

    def _child(self, key, first, second):
        changes = (
            (self.crossover_rate, lambda key, genes: _mix(key, genes, second, self.crossover_index)),
            (1.0, lambda key, genes: _disturb(key, genes, self.mutation_rate, self.mutation_index)),
            (self.move_link, _move),
            (1.0, lambda key, genes: _change_functions(key, genes, self.mutation_rate)),
            (self.add_link, _link),
            (self.remove_link, _unlink),
            (self.add_node, _insert),
            (self.remove_node, _remove),
        )
        deciding, *keys = jax.random.split(key, len(changes) + 1)
        genes, drawn = first, jax.random.uniform(deciding, (len(changes),))
        for (chance, change), each, number in zip(changes, keys, drawn, strict=True):
            genes = _where(number < chance, change(each, genes), genes)
        return genes

    def render(self, described):
        values = jax.vmap(lambda genes: _draw(genes, _coordinates(self.shape)))(described)
        images = jnp.moveaxis(jnp.abs(values), 1, -1).reshape(-1, *self.shape)
        return images if self.shape[-1] == 1 else rgb(images)


def activate(function: Array, x: Array) -> Array:
    """Sine, sigmoid, Gaussian or line, by number; from -1 to 1, the Gaussian from 0, as in the code."""
    return lax.select_n(jnp.broadcast_to(function, x.shape), *(each(x) for each in _FUNCTIONS))


_FUNCTIONS = (
    jnp.sin,
    lambda x: jnp.tanh(x / 2),
    lambda x: jnp.exp(-(x**2)),
    lambda x: jnp.clip(x, -3, 3) / 3,
)


def rgb(images: Array) -> Array:
    """Hue, lightness and saturation (..., 3) in [0, 1] -> red, green and blue."""
    hue, lightness, saturation = jnp.moveaxis(images, -1, 0)
    most = saturation * jnp.minimum(lightness, 1 - lightness)
    around = [(shift + 12 * hue) % 12 for shift in (0, 8, 4)]
    return jnp.stack([lightness - most * jnp.clip(jnp.minimum(k - 3, 9 - k), -1, 1) for k in around], -1)


def _coordinates(shape):
    """Inputs (4, pixels) of each pixel."""
    y, x = (jnp.linspace(-1, 1, side) for side in shape[:2])
    y, x = (each.ravel() for each in jnp.meshgrid(y, x, indexing="ij"))
    return jnp.stack([x, y, jnp.sqrt(x**2 + y**2), jnp.ones_like(x)])


def _draw(genes, inputs):
    """What the outputs give at each pixel, (O, pixels): hidden nodes one after the other, each from those before."""
    hidden = len(genes.present)
    weights = jnp.where(genes.linked, REACH * (2 * genes.weight - 1), 0.0)
    values = jnp.concatenate([inputs, jnp.zeros((hidden, inputs.shape[1]))])

    def node(number, values):
        return values.at[INPUTS + number].set(activate(genes.function[number], weights[number] @ values))

    values = lax.fori_loop(0, hidden, node, values)
    return activate(genes.function[hidden:, None], weights[hidden:] @ values)


def _mix(key, genes, other, index):
    mixed = binary_crossover(jax.random.uniform(key, genes.weight.shape), index, genes.weight, other.weight)
    shared = genes.linked & other.linked
    return genes._replace(weight=jnp.where(shared, jnp.clip(mixed, 0, 1), genes.weight))


def _disturb(key, genes, rate, index):
    picking, moving = jax.random.split(key)
    moved = genes.weight + polynomial_mutation(jax.random.uniform(moving, genes.weight.shape), index)
    picked = jax.random.uniform(picking, genes.weight.shape) < rate
    return genes._replace(weight=jnp.where(picked, jnp.clip(moved, 0, 1), genes.weight))


def _change_functions(key, genes, rate):
    picking, choosing = jax.random.split(key)
    chosen = jax.random.randint(choosing, genes.function.shape, 0, len(_FUNCTIONS))
    return genes._replace(function=jnp.where(jax.random.uniform(picking, chosen.shape) < rate, chosen, genes.function))


def _link(key, genes):
    """One more link, with a random weight."""
    picking, weighing = jax.random.split(key)
    new = _pick(picking, _free(genes))
    weight = jnp.where(new, jax.random.uniform(weighing), genes.weight)
    return genes._replace(weight=weight, linked=genes.linked | new)


def _unlink(key, genes):
    return genes._replace(linked=genes.linked & ~_pick(key, genes.linked))


def _move(key, genes):
    """A link comes from elsewhere, or leads elsewhere; it stays where there is no such place."""
    picking, tossing, placing = jax.random.split(key, 3)
    old = _pick(picking, genes.linked)
    beside = jnp.where(jax.random.bernoulli(tossing), old.any(1, keepdims=True), old.any(0, keepdims=True))
    new = _pick(placing, _free(genes) & beside)
    weight = jnp.where(new, jnp.where(old, genes.weight, 0.0).sum(), genes.weight)
    moved = genes._replace(weight=weight, linked=(genes.linked & ~old) | new)
    return _where(new.any(), moved, genes)


def _insert(key, genes):
    """A hidden node takes the place of a link, where there is a place for one."""
    picking, choosing = jax.random.split(key)
    old, node, hidden = _pick(picking, genes.linked), genes.present.argmin(), len(genes.present)
    target, source = old.any(1).argmax(), old.any(0).argmax()
    places = (target, INPUTS + node), (node, source)
    weight, linked = genes.weight, genes.linked & ~old
    for place in places:
        weight, linked = weight.at[place].set(genes.weight[target, source]), linked.at[place].set(True)
    function = genes.function.at[node].set(jax.random.randint(choosing, (), 0, len(_FUNCTIONS)))
    grown = Genes(weight, linked, function, genes.present.at[node].set(True))
    order = (2 * jnp.arange(hidden)).at[node].set(2 * jnp.minimum(target, hidden) - 1).argsort()
    return _where(old.any() & ~genes.present.all(), _ordered(grown, order), genes)


def _ordered(genes, order):
    """The same network with its hidden nodes in another order."""
    hidden = len(order)
    targets = jnp.concatenate([order, jnp.arange(hidden, len(genes.function))])
    sources = jnp.concatenate([jnp.arange(INPUTS), INPUTS + order])
    weight, linked = (array[targets][:, sources] for array in (genes.weight, genes.linked))
    return Genes(weight, linked, genes.function[targets], genes.present[order])


def _remove(key, genes):
    """A hidden node goes, with its links."""
    gone = _pick(key, genes.present)
    targets, sources = _ends(genes, gone, False)
    return genes._replace(linked=genes.linked & ~targets[:, None] & ~sources, present=genes.present & ~gone)


def _free(genes):
    """Where one more link could be (T, S): from inputs and hidden nodes to hidden nodes after them and outputs."""
    targets, sources = _ends(genes, genes.present, True)
    after = jnp.arange(len(targets))[:, None] > jnp.arange(len(sources)) - INPUTS
    return targets[:, None] & sources & after & ~genes.linked


def _ends(genes, hidden, others):
    """Flags of hidden nodes (H,) as those of targets (T,) and of sources (S,); `others` of outputs and inputs."""
    outputs = len(genes.function) - len(hidden)
    return jnp.concatenate([hidden, jnp.full(outputs, others)]), jnp.concatenate([jnp.full(INPUTS, others), hidden])


def _pick(key, allowed):
    """One of the places allowed by chance: an array that is True there alone, or nowhere."""
    score = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    return allowed & (jnp.arange(score.size).reshape(score.shape) == score.argmax())


def _where(condition, changed, genes):
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), changed, genes)
