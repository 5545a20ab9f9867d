"""Activation maximisation over codes against NumPy loops written from the papers' code; checkpoints and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import dgn_am, network, targets
from xai_jax.synthesis.dgn_am import DGN, Montavon

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
NET = oracle.jax_network(oracle.random_layers())
BASIS = jnp.asarray(RNG.normal(size=(6, 19, 17, 3)).astype("f"))
CODES = jnp.asarray(RNG.normal(size=(4, 6)).astype("f"))
CLASSES = np.array([0, 1, 2, 1])


def mix(basis, codes):
    return jnp.tanh(jnp.tensordot(codes, basis, 1)) * 3


GENERATE = dgn_am.of_generator(Partial(mix, BASIS), (17, 17), lambda x: (x + 0.5) / 2)


def test_generated_images_are_cropped_and_scaled():
    images = np.asarray(mix(BASIS, CODES))
    np.testing.assert_allclose(GENERATE(CODES), (images[:, 1:18] + 0.5) / 2, rtol=1e-5)


def test_generated_images_are_clipped():
    images, lower, upper = np.asarray(GENERATE(CODES)), np.float32([-0.5, 0, -1]), np.float32([0.5, 1, 0.2])
    found = dgn_am.clip_images(GENERATE, lower, upper)(CODES)
    np.testing.assert_array_equal(found, np.minimum(np.maximum(images, lower), upper))


def gradient(code, k):
    return np.asarray(jax.grad(lambda c: NET(GENERATE(c[None]))[0, k])(jnp.asarray(code, jnp.float32)), np.float64)


@pytest.mark.parametrize("upper", [None, np.linspace(0.1, 2, 6).astype("f")], ids=["free", "bounded"])
def test_steps_are_those_of_the_code(upper):
    form, rows = DGN(learning_rate=0.8, final_learning_rate=0.1, steps=5, decay_factor=0.9), []
    for code, k in zip(np.asarray(CODES, np.float64), CLASSES, strict=True):
        for i in range(form.steps):
            g = gradient(code, k)
            code = code + (0.8 + (0.1 - 0.8) * i / 5) * g / abs(g).mean()
            code = 0.9 * (code if upper is None else np.minimum(np.maximum(code, 0), upper))
        rows.append(code)
    found = dgn_am.maximise(GENERATE, NET, targets.logit(CLASSES), CODES, form, upper)
    np.testing.assert_allclose(found.x, rows, atol=2e-3)
    logits = np.asarray(network.call(NET, GENERATE(CODES)))
    np.testing.assert_allclose(found.history["activation"][0], -logits[np.arange(4), CLASSES], rtol=1e-4)


def test_penalties_are_the_norm_and_its_square():
    problem = dgn_am.Problem(GENERATE, NET, targets.logit(CLASSES))
    norm, square = (partial(form.terms, problem) for form in (DGN(penalty=0.3), Montavon(penalty=0.3)))
    norms = np.linalg.norm(CODES, axis=1)
    np.testing.assert_allclose(norm(CODES)["penalty"], 0.3 * norms, rtol=1e-5)
    np.testing.assert_allclose(square(CODES)["penalty"], 0.3 * norms**2, rtol=1e-5)
    gradient = jax.grad(lambda codes: norm(codes)["penalty"].sum())
    np.testing.assert_allclose(gradient(CODES), 0.3 * CODES / norms[:, None], rtol=1e-4)
    assert not np.asarray(gradient(jnp.zeros_like(CODES))).any()


def test_montavons_penalty_keeps_codes_near_zero():
    target = targets.log_probability(CLASSES)
    free = dgn_am.maximise(GENERATE, NET, target, CODES, Montavon(penalty=0.0))
    near = dgn_am.maximise(GENERATE, NET, target, CODES, Montavon(penalty=0.1))
    assert (free.history["activation"][-1] < free.history["activation"][0]).all()
    assert (np.linalg.norm(near.x, axis=1) < np.linalg.norm(free.x, axis=1)).all()


def test_units_of_a_batch_are_independent():
    name = next(iter(network.layer_names(NET, GENERATE(CODES))))
    form = DGN(learning_rate=0.5, final_learning_rate=0.01, steps=8, decay_factor=1.0)
    channels = np.arange(4)
    together = dgn_am.maximise(GENERATE, NET, targets.neuron(name, channels, (3, 4)), CODES, form)
    for n in channels:
        alone = dgn_am.maximise(GENERATE, NET, targets.neuron(name, n, (3, 4)), CODES[n : n + 1], form)
        np.testing.assert_allclose(together.x[n], alone.x[0], atol=2e-3)
    assert (together.history["activation"][-1] <= together.history["activation"][0]).all()


def test_codes_without_a_gradient_do_not_change():
    def blind(codes):
        return 0.0 * mix(BASIS, codes)[:, 1:18]

    found = dgn_am.maximise(blind, NET, targets.logit(CLASSES), CODES, DGN(steps=3, decay_factor=1.0))
    np.testing.assert_array_equal(found.x, CODES)


def test_bounds_are_three_standard_deviations_above_the_mean():
    codes = RNG.normal(size=(50, 6))
    np.testing.assert_allclose(dgn_am.upper_bounds(jnp.asarray(codes)), codes.mean(0) + 3 * codes.std(0), rtol=1e-4)


def test_facets_are_means_of_the_codes_nearest_to_cluster_centres():
    centres = 10 * np.eye(4, 6)[:3]
    kind = RNG.permutation(np.repeat(np.arange(3), 20))
    codes = (centres[kind] + RNG.normal(size=(60, 6))).astype("f").reshape(60, 2, 3)
    starts, members = dgn_am.facets(jnp.asarray(codes), 3, 5, seed=1)
    assert members.shape == (3, 5) and starts.shape == (3, 2, 3)
    assert sorted(kind[members][:, 0]) == [0, 1, 2] and (kind[members] == kind[members][:, :1]).all()
    np.testing.assert_allclose(starts, codes[members].mean(1), rtol=1e-5)
    for row in members:
        cluster = codes[kind == kind[row[0]]].reshape(20, 6)
        distances = np.linalg.norm(cluster - cluster.mean(0), axis=1)
        chosen = np.linalg.norm(codes[row].reshape(5, 6) - cluster.mean(0), axis=1)
        np.testing.assert_allclose(chosen, np.sort(distances)[:5], rtol=1e-5)
    alone, members = dgn_am.facets(jnp.asarray(codes), 3, seed=1)
    np.testing.assert_array_equal(alone, codes[members[:, 0]])
    again = dgn_am.facets(jnp.asarray(codes), 3, seed=1)
    np.testing.assert_array_equal(members, again[1])


@pytest.mark.parametrize("count, averaged", [(0, 1), (5, 1), (2, 5), (2, 0)])
def test_facets_of_too_few_codes_are_refused(count, averaged):
    with pytest.raises(ValueError, match="Expected 1 to 4 facets"):
        dgn_am.facets(CODES, count, averaged, seed=0)


def test_noise_is_standard_normal():
    codes = np.asarray(dgn_am.noise(KEY, (100, 50)))
    assert abs(codes.mean()) < 0.05 and abs(codes.std() - 1) < 0.05


def test_an_interrupted_run_resumes_with_the_same_codes(resumed):
    form = DGN(learning_rate=0.5, steps=60)
    run = partial(dgn_am.maximise, GENERATE, NET, targets.logit(CLASSES), CODES, form)
    assert resumed(run) == [0, 25, 25, 50]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"codes": CODES[:, :5]}, "codes that the generator takes, got \\(5,\\)"),
        ({"codes": CODES[:0]}, "one code or more"),
        ({"upper": np.ones(5)}, "Expected bounds \\(6,\\)"),
        ({"upper": np.linspace(-0.5, 2, 6)}, "zero or more, got -0.5.*before it is rectified"),
        ({"upper": np.full(6, np.nan)}, "zero or more, got nan"),
        ({"upper": np.ones(6), "form": Montavon()}, "Expected no bounds"),
        ({"target": targets.logit(99)}, "class"),
        ({"generate": lambda codes: jnp.zeros((len(codes), 4, 4))}, "images"),
        ({"generate": dgn_am.of_generator(Partial(mix, BASIS), (20, 20))}, "images of at least \\(20, 20\\)"),
    ],
)
def test_invalid_arguments_are_refused(changes, words):
    given = {"generate": GENERATE, "net": NET, "target": targets.logit(CLASSES), "codes": CODES} | changes
    with pytest.raises(ValueError, match=words):
        dgn_am.maximise(**given)
