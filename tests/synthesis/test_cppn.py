"""CPPNs: images and mutations against NumPy loops; evolution, checkpoints and errors."""

import colorsys
import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.synthesis.test_fooling import deb
from xai_jax import fooling
from xai_jax.synthesis import cppn_mutations, cppn_network
from xai_jax.synthesis.cppn import CPPN
from xai_jax.synthesis.cppn_network import INPUTS

KEY = jax.random.key(0)
COUNT, NODES = 40, 5
GREY = CPPN((4, 6, 1), NODES)


def net(x, relu=jax.nn.relu, tap=lambda name, value: value):
    TRACED.append(x.shape)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(24, 3)).astype("f"))
    return tap("logits", relu(x.reshape(len(x), -1) - 0.3) @ weights)


TRACED = []


@functools.cache
def grown(generations=8):
    """Networks after some generations of mutation without selection."""
    genome, vary = GREY.sample(KEY, COUNT), _vary()
    for n in range(generations):
        genome = vary(jax.random.key(n), genome, jax.tree.map(lambda leaf: jnp.flip(leaf, 0), genome))
    return jax.tree.map(np.asarray, genome)


@functools.cache
def _vary():
    return jax.jit(lambda key, first, second: GREY.vary(key, (first, second), jnp.int32(0)))


def changed(change, genome):
    """Each of the networks after one mutation."""
    keys = jax.random.split(jax.random.key(9), COUNT)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(change))(keys, genome))


def one(genome, n):
    return jax.tree.map(lambda leaf: leaf[n], genome)


def links(genome):
    """{(source, target): weight} with hidden nodes and outputs by name."""
    hidden = len(genome.present)
    sources = [f"in{s}" for s in range(INPUTS)] + [f"h{h}" for h in range(hidden)]
    targets = [f"h{h}" for h in range(hidden)] + [f"out{o}" for o in range(len(genome.function) - hidden)]
    return {(sources[s], targets[t]): genome.weight[t, s] for t, s in np.argwhere(genome.linked)}


def functions(genome):
    hidden = len(genome.present)
    return {f"h{n}" if n < hidden else f"out{n - hidden}": kind for n, kind in enumerate(genome.function)}


def drawn(edges, kinds, shape):
    """The image of a network, by recursion from the outputs and the formulas of the functions."""
    y, x = np.meshgrid(*(2 * np.arange(side) / (side - 1) - 1 for side in shape[:2]), indexing="ij")
    inputs = x, y, np.hypot(x, y), np.ones_like(x)

    @functools.cache
    def value(name):
        if name.startswith("in"):
            return inputs[int(name[2:])]
        total = sum((20 * (w - 0.5) * value(s) for (s, t), w in edges.items() if t == name), np.zeros_like(x))
        forms = np.sin, lambda v: 2 / (1 + np.exp(-v)) - 1, lambda v: np.exp(-(v**2)), lambda v: np.clip(v, -3, 3) / 3
        return forms[kinds[name]](np.float64(total))

    return np.stack([abs(value(f"out{o}")) for o in range(shape[2])], -1)


def test_images_are_outputs_at_each_pixel():
    genome = grown()
    assert genome.present.sum() > COUNT
    images = jax.jit(GREY.render)(genome)
    for n in range(COUNT):
        expected = drawn(links(one(genome, n)), functions(one(genome, n)), GREY.shape)
        np.testing.assert_allclose(images[n], expected, atol=1e-3)


def test_colours_are_hue_lightness_and_saturation():
    images = np.random.default_rng(0).uniform(0, 1, (2, 5, 3, 3)).astype("f")
    images[0, 0] = [[0, 0, 1], [1, 1, 1], [0.5, 0.5, 0]]
    expected = np.apply_along_axis(lambda hls: colorsys.hls_to_rgb(*hls), -1, images)
    np.testing.assert_allclose(cppn_network.rgb(jnp.asarray(images)), expected, atol=1e-5)
    encoding = CPPN((4, 3, 3), hidden=2)
    genome = encoding.sample(KEY, 3)
    hls = np.stack([drawn(links(one(genome, n)), functions(one(genome, n)), encoding.shape) for n in range(3)])
    expected = np.apply_along_axis(lambda hls: colorsys.hls_to_rgb(*hls), -1, hls)
    np.testing.assert_allclose(encoding.render(genome), expected, atol=1e-3)


def test_networks_start_without_hidden_nodes():
    genome = jax.tree.map(np.asarray, CPPN((4, 4, 3), hidden=7).sample(KEY, 50))
    assert not genome.present.any()
    expected = {(f"in{s}", f"out{o}") for s in range(INPUTS) for o in range(3)}
    assert all(set(links(one(genome, n))) == expected for n in range(50))
    assert set(np.unique(genome.function)) == {0, 1, 2, 3}
    assert 0.45 < genome.weight.mean() < 0.55 and 0 <= genome.weight.min() and genome.weight.max() <= 1


def possible(genome):
    """Ends of all possible links."""
    there = [f"h{h}" for h in np.flatnonzero(genome.present)]
    before = [f"in{s}" for s in range(INPUTS)]
    inner = {(s, t) for n, t in enumerate(there) for s in before + there[:n]}
    return inner | {(s, "out0") for s in before + there}


def test_links_lead_forward_between_present_nodes():
    genome = grown(20)
    assert genome.present.all(1).any() and genome.linked.sum((1, 2)).max() > 10
    for n in range(COUNT):
        assert set(links(one(genome, n))) <= possible(one(genome, n))


def test_a_link_is_added_where_possible():
    before, more = grown(), 0
    after = changed(cppn_mutations.add_link, before)
    for n in range(COUNT):
        old, new = links(one(before, n)), links(one(after, n))
        assert old.items() <= new.items() and set(new) - set(old) <= possible(one(before, n))
        assert len(new) - len(old) == bool(possible(one(before, n)) - set(old))
        more += len(new) - len(old)
    assert more > 20


def test_a_link_is_removed():
    before, after = grown(), changed(cppn_mutations.remove_link, grown())
    for n in range(COUNT):
        old, new = links(one(before, n)), links(one(after, n))
        assert new.items() <= old.items() and len(old) - len(new) == bool(old)


def test_a_new_node_splits_a_link():
    weights = np.random.default_rng(2).uniform(0, 1, grown().weight.shape).astype("f")  # no two are the same
    before, checked = grown()._replace(weight=weights), 0
    after = changed(cppn_mutations.add_node, before)
    images = jax.jit(GREY.render)(after)
    for n in range(COUNT):
        old, new = one(before, n), one(after, n)
        if old.present.all() or not old.linked.any():
            jax.tree.map(np.testing.assert_array_equal, old, new)
            continue
        ((weight, _),) = (Counter(links(new).values()) - Counter(links(old).values())).items()
        ((source, target),) = [ends for ends, w in links(old).items() if w == weight]
        (kind,) = Counter(new.function[:NODES][new.present]) - Counter(old.function[:NODES][old.present])
        edges = {ends: w for ends, w in links(old).items() if w != weight}
        edges |= {(source, "new"): weight, ("new", target): weight}
        expected = drawn(edges, functions(old) | {"new": kind}, GREY.shape)
        np.testing.assert_allclose(images[n], expected, atol=1e-3)
        checked += 1
    assert checked > 15


def test_a_node_is_removed_with_its_links():
    before, after = grown(), changed(cppn_mutations.remove_node, grown())
    assert before.present.any(1).sum() > 15
    for n in range(COUNT):
        old, new = one(before, n), one(after, n)
        gone = [f"h{h}" for h in np.flatnonzero(old.present & ~new.present)]
        assert len(gone) == old.present.any()
        assert links(new) == {ends: w for ends, w in links(old).items() if not set(gone) & set(ends)}


def test_a_link_moves_one_of_its_ends():
    before, after, moved = grown(), changed(cppn_mutations.move_link, grown()), []
    for n in range(COUNT):
        old, new = links(one(before, n)), links(one(after, n))
        assert set(new) <= possible(one(before, n)) and len(new) == len(old)
        if old != new:
            ((there, weight),), ((here, same),) = old.items() - new.items(), new.items() - old.items()
            assert weight == same and (there[0] == here[0]) != (there[1] == here[1])
            moved.append(there[0] == here[0])
    assert len(moved) > 20 and 3 < sum(moved) < len(moved) - 3


def test_weights_mutate_as_debs_do():
    genome = one(grown(), 3)
    found = cppn_mutations.mutate_weights(KEY, genome, 0.3, 15.0)
    picking, moving = jax.random.split(KEY)
    picks, moves = (np.asarray(jax.random.uniform(key, genome.weight.shape)) for key in (picking, moving))
    for at in np.ndindex(*genome.weight.shape):
        expected = genome.weight[at] + deb(moves[at], 15) * (picks[at] < 0.3)
        assert found.weight[at] == pytest.approx(min(max(expected, 0), 1), abs=1e-5)
    np.testing.assert_array_equal(found.linked, genome.linked)


def test_crossover_mixes_the_weights_of_shared_links():
    genome, other = one(grown(), 3), one(grown(), 4)
    found = cppn_mutations.crossover(KEY, genome, other, 10.0)
    numbers = np.asarray(jax.random.uniform(KEY, genome.weight.shape))
    both = genome.linked & other.linked
    assert 0 < both.sum() < genome.linked.sum()
    for at in np.ndindex(*both.shape):
        u = numbers[at]
        beta = (2 * u if u <= 0.5 else 1 / (2 * (1 - u))) ** (1 / 11)
        mixed = 0.5 * ((1 + beta) * genome.weight[at] + (1 - beta) * other.weight[at])
        expected = min(max(mixed, 0), 1) if both[at] else genome.weight[at]
        assert found.weight[at] == pytest.approx(expected, abs=1e-5)


def test_mutations_have_the_given_probabilities():
    genome = jax.tree.map(lambda leaf: np.repeat(leaf[:1], COUNT, 0), grown())
    runs = [_vary()(jax.random.key(n), genome, genome) for n in range(50)]
    after = jax.tree.map(lambda *leaves: np.concatenate(leaves), *runs)
    nodes = after.present.sum(1) - genome.present[0].sum()
    assert 1 < genome.present[0].sum() < NODES
    assert (nodes > 0).mean() == pytest.approx(0.5 * 0.8, abs=0.04)  # 0.8: nor is one removed
    assert (nodes < 0).mean() == pytest.approx(0.2 * 0.5, abs=0.03)
    outputs = after.function[:, NODES] != genome.function[0, NODES]
    assert outputs.mean() == pytest.approx(0.1 * 0.75, abs=0.02)  # a quarter draw the same function


def test_evolution_compiles_once_and_resumes_with_the_same_elites(resumed):
    run = functools.partial(fooling.evolve, net, GREY, 60, KEY, 20)
    TRACED.clear()
    whole, history = run()
    checks = [20, 20, 2]  # of shapes, of the target, and with another number of images
    assert [shape[0] for shape in TRACED] == [*checks, 20, 20]  # the initial elites, one program for all generations
    assert (np.diff(history, axis=0) >= 0).all() and (np.asarray(whole.confidence) > history[0]).any()
    shown = np.asarray(jax.nn.softmax(net(GREY.render(whole.x))))[range(3), range(3)]
    np.testing.assert_allclose(whole.confidence, shown, rtol=1e-4)
    assert resumed(run) == [0, 25, 25, 50]


@pytest.mark.parametrize("arguments", [((4, 4, 2),), ((4, 4, 1), 0)])
def test_other_channels_are_refused(arguments):
    with pytest.raises(ValueError, match="1 or 3 channels and a hidden node"):
        CPPN(*arguments)
