"""Fooling images: ascent and evolution against NumPy loops; checkpoints and errors."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import special

from xai_jax import fooling
from xai_jax.synthesis.fooling import Ascent, Direct

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
WEIGHTS = jnp.asarray(RNG.normal(size=(12, 3)).astype("f"))
SHAPE = (2, 3, 2)


def net(x, relu=jax.nn.relu, tap=lambda name, value: value):
    return tap("logits", relu(tap("flat", x.reshape(len(x), -1) - 0.3)) @ WEIGHTS)


def probabilities(x):
    return special.softmax(np.asarray(net(jnp.asarray(x, jnp.float32)), np.float64), 1)


@pytest.mark.parametrize(
    "form", [Ascent(steps=6), Ascent(steps=6, decay=0.0, max_increase=0.02, max_learning_rate=0.05)]
)
def test_ascent_takes_the_steps_of_the_code(form):
    start, classes = RNG.uniform(0, 1, (3, *SHAPE)).astype("f"), np.array([0, 1, 1])
    expected = []
    for x, k in zip(start, classes, strict=True):
        for _ in range(form.steps):
            p = probabilities(x[None])[0, k]
            g = np.asarray(jax.grad(lambda x, k=k: jax.nn.softmax(net(x[None]))[0, k])(jnp.asarray(x, jnp.float32)))
            increase = min(form.max_increase, form.relative_increase * (1 - p))
            learning_rate = min(increase / (g**2).sum(), form.max_learning_rate)
            x = np.clip((x + learning_rate * g) * (1 - form.decay), 0.1, 0.9)
        expected.append(x)
    found = fooling.ascend(net, classes, start, form, 0.1, 0.9)
    np.testing.assert_allclose(found.x, expected, atol=1e-4)
    np.testing.assert_allclose(found.history["probability"][0], -probabilities(start)[range(3), classes], rtol=1e-4)


def test_ascent_without_a_gradient_changes_nothing():
    dark = np.zeros((2, *SHAPE), np.float32)  # no ReLU is active
    np.testing.assert_array_equal(fooling.ascend(net, [0, 1], dark, Ascent(steps=3)).x, dark)


def test_ascent_increases_the_confidence_within_the_range():
    start = 0.5 + 0.01 * RNG.normal(size=(3, *SHAPE)).astype("f")
    found = fooling.ascend(net, [0, 1, 2], start, Ascent(decay=0.0))
    assert (-found.history["probability"][-1] > -found.history["probability"][0] + 0.2).all()
    assert 0 <= found.x.min() and found.x.max() <= 1


def deb(u, eta):
    """The change of a gene in [0, 1] by polynomial mutation."""
    return (2 * u) ** (1 / (eta + 1)) - 1 if u < 0.5 else 1 - (2 * (1 - u)) ** (1 / (eta + 1))


def test_children_follow_debs_operators():
    encoding, key = Direct(SHAPE, mutation_probability=0.5), jax.random.key(5)
    first, second = RNG.uniform(0, 1, (2, 40, *SHAPE)).astype("f")
    found = np.asarray(encoding.vary(key, (jnp.asarray(first), jnp.asarray(second)), jnp.int32(1999)))
    mixing, spreading, picking, moving = jax.random.split(key, 4)
    mixes = np.asarray(jax.random.bernoulli(mixing, 0.5, (40, 1, 1, 1)))
    draws = [np.asarray(jax.random.uniform(k, first.shape)) for k in (spreading, picking, moving)]
    for n in range(40):
        for at in np.ndindex(SHAPE):
            spread, pick, move = (draw[(n, *at)] for draw in draws)
            value = first[(n, *at)]
            if mixes[n, 0, 0, 0]:
                beta = (2 * spread if spread <= 0.5 else 1 / (2 * (1 - spread))) ** (1 / 11)
                value = 0.5 * ((1 + beta) * value + (1 - beta) * second[(n, *at)])
            if pick < 0.25:  # halved once
                value += deb(move, 15)
            assert found[(n, *at)] == pytest.approx(min(max(value, 0), 1), abs=1e-4)
    assert 5 < mixes.sum() < 35


def test_a_generation_keeps_the_best_child_of_each_class():
    encoding, key = Direct(SHAPE), jax.random.key(7)
    before = fooling._initial_elites(encoding, Partial(net), (jnp.float32(0), jnp.float32(1)), KEY, 30, 1)
    np.testing.assert_allclose(before.confidence, probabilities(before.x)[range(3), range(3)], rtol=1e-4)
    after, terms = fooling._generation(encoding, Partial(net), (jnp.float32(0), jnp.float32(1)), before, key, 30, 1)
    drawing, varying = jax.random.split(jax.random.fold_in(key, 0))
    rows = np.asarray(jax.random.randint(drawing, (2, 30), 0, 3))
    elites = np.asarray(before.x)
    children = np.asarray(encoding.vary(varying, tuple(jnp.asarray(elites[row]) for row in rows), jnp.int32(0)))
    confidence = probabilities(children)
    for k in range(3):
        best = int(confidence[:, k].argmax())
        new, old = confidence[best, k], float(before.confidence[k])
        np.testing.assert_allclose(after.x[k], children[best] if new > old else elites[k], atol=1e-5)
        assert float(after.confidence[k]) == pytest.approx(max(new, old), rel=1e-4)
    np.testing.assert_array_equal(terms["confidence"], before.confidence)
    assert int(after.step) == 1


def test_confidence_never_decreases_in_evolution():
    elites, history = fooling.evolve(net, Direct(SHAPE), 60, KEY, population=50)
    assert history.shape == (60, 3) and (np.diff(history, axis=0) >= 0).all()
    assert (np.asarray(elites.confidence) > history[0]).all()
    np.testing.assert_allclose(elites.confidence, probabilities(elites.x)[range(3), range(3)], rtol=1e-4)
    again, _ = fooling.evolve(net, Direct(SHAPE), 60, KEY, population=50)
    np.testing.assert_array_equal(again.x, elites.x)
    other, _ = fooling.evolve(net, Direct(SHAPE), 60, jax.random.key(1), population=50)
    assert not np.array_equal(other.x, elites.x)


def test_images_are_scaled_to_the_networks_range():
    elites, _ = fooling.evolve(net, Direct(SHAPE), 5, KEY, population=20, lower=[-1.0, 0.0], upper=[1.0, 3.0])
    shown = np.asarray(elites.x) * [2, 3] + [-1, 0]
    np.testing.assert_allclose(elites.confidence, probabilities(shown)[range(3), range(3)], rtol=1e-4)


def test_an_interrupted_evolution_resumes_with_the_same_elites(resumed, tmp_path):
    assert resumed(partial(fooling.evolve, net, Direct(SHAPE), 60, KEY, 20)) == [0, 25, 25, 50]
    with pytest.raises(ValueError, match="checkpoint of this problem"):
        fooling.evolve(net, Direct(SHAPE), 60, jax.random.key(1), 20, checkpoint=tmp_path / "new" / "run.npz")


@pytest.mark.parametrize(
    "call, words",
    [
        (partial(fooling.ascend, net, [0, 9], np.zeros((2, *SHAPE), "f")), "class"),
        (partial(fooling.ascend, net, [0], np.zeros((1, 5, 5, 2), "f")), "images that the network can read"),
        (partial(fooling.evolve, net, Direct((5, 5, 2)), 3, KEY), "images that the network can read"),
        (partial(fooling.evolve, net, Direct(SHAPE), 0, KEY), "1 or more generations"),
        (partial(fooling.evolve, net, Direct(SHAPE), 3, KEY, 0), "1 or more children"),
    ],
)
def test_invalid_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_encoding_that_is_no_pytree_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Own:
        def sample(self, key, count):
            return jnp.zeros((count, 2, 2, 1))

    with pytest.raises(TypeError, match="Expected an encoding that is a pytree, such as Direct, got Own. Register"):
        fooling.evolve(lambda x, relu, tap: x.sum((1, 2)), Own(), 1, jax.random.key(0))
