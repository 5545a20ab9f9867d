"""Inversion against NumPy loops written from both papers' code; masks, checkpoints and errors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import inversion, network, optimize
from xai_jax.synthesis.inversion import CVPR, IJCV

RNG = np.random.default_rng(0)
NET = oracle.jax_network(oracle.random_layers())
X = RNG.normal(size=(2, 17, 17, 3)).astype("f")
SHAPE = (4, 5, 2)
MATRIX = RNG.normal(size=(40, 6)).astype("f")
KEY = jax.random.key(0)
SHORT = CVPR(total_variation=0.3, std=2.0, norm=1e-3, learning_rate=0.002, phases=((1.0, 5), (0.1, 4), (0.01, 3)))


def linear(matrix, x):
    return x.reshape(len(x), -1) @ matrix


LINEAR = Partial(linear, MATRIX)
PICTURES = RNG.normal(size=(3, *SHAPE)).astype("f")
TARGET = jnp.asarray(LINEAR(PICTURES))


def roughness(x):
    down, right = np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])
    return (down**2 + right**2).sum()


def roughness_gradient(x):
    gradient = np.zeros_like(x)
    for axis in (0, 1):
        ends = [slice(None)] * 3
        ends[axis] = slice(-1, None)
        steps = np.diff(x, axis=axis, append=x[tuple(ends)])
        gradient -= 2 * steps
        gradient += 2 * np.roll(steps, 1, axis)  # the last step is zero, so nothing comes in from the other side
    return gradient


def by_momentum(matrix, target, x, form):
    """The code of 2015, step by step."""
    sigma, terms = form.std**2 * x.size, []
    for factor, count in form.phases:
        velocity = np.zeros_like(x)
        for _ in range(count):
            residual = x.ravel() @ matrix - target
            terms.append(sigma * (residual @ residual) / (target @ target))
            loss = sigma * 2 * (matrix @ residual).reshape(x.shape) / (target @ target)
            prior = form.norm / 2 * 6 * x**5 + form.total_variation / 2 * roughness_gradient(x)
            velocity = 0.9 * velocity - form.learning_rate * factor * (prior + loss)
            x = x + velocity
    return x, terms


def test_the_form_of_2015_takes_the_steps_of_its_code():
    found = inversion.invert(LINEAR, TARGET, SHAPE, KEY, SHORT)
    noise = SHORT.initial_noise(jax.random.split(KEY)[0], (3, *SHAPE))
    np.testing.assert_allclose(np.sqrt((np.asarray(noise) ** 2).mean((1, 2, 3))), 2.0, rtol=1e-5)
    for n in range(3):
        start = np.asarray(noise[n], np.float64)
        x, terms = by_momentum(MATRIX.astype(float), np.asarray(TARGET[n], float), start, SHORT)
        np.testing.assert_allclose(found.x[n], x, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.history["features"][:, n], terms, rtol=1e-3)
        np.testing.assert_allclose(found.history["total_variation"][0, n], 0.15 * roughness(start), rtol=1e-4)
    assert found.history["norm"].shape == (12, 3)


def by_adagrad_momentum(x, form, learning_rate, steps, loss_gradient):
    """The code of 2016 without jitter, step by step; also the images before each step."""
    squares, velocity, pixels, history = np.zeros_like(x), np.zeros_like(x), x.shape[0] * x.shape[1], []
    for _ in range(steps):
        history.append(x)
        gradient = form.weight * loss_gradient(x)
        gradient += 6 * (x**2).sum(-1, keepdims=True) ** 2 * x / pixels / form.std**6
        gradient += roughness_gradient(x) / pixels * (6.5 / form.std) ** 2
        squares = 0.9 * squares + gradient**2
        velocity = 0.9 * velocity - gradient / (1 / learning_rate + np.sqrt(squares))
        x = x + velocity
        x = x * np.minimum(1, form.max_norm / np.sqrt((x**2).sum(-1, keepdims=True)))
    return x, history


SECOND, LEARNING_RATE = IJCV(weight=20.0, std=3.0, max_norm=4.0, steps=(7, 5)), 0.05 * 9 / 6 * 20


def test_the_form_of_2016_takes_the_steps_of_its_code():
    found = inversion.invert(LINEAR, TARGET, SHAPE, KEY, SECOND)
    start = SECOND.initial_noise(jax.random.split(KEY)[0], (3, *SHAPE))
    np.testing.assert_allclose(np.quantile(start, 0.95), 3 / np.sqrt(3), rtol=1e-4)
    for n in range(3):
        x, matrix, target = np.asarray(start[n], float), MATRIX.astype(float), np.asarray(TARGET[n], float)

        def gradient(x, matrix=matrix, target=target):
            return 2 * (matrix @ (x.ravel() @ matrix - target)).reshape(x.shape) / (target @ target)

        for factor, steps in ((1, 7), (0.1, 5)):
            x, _ = by_adagrad_momentum(x, SECOND, factor * LEARNING_RATE, steps, gradient)
        np.testing.assert_allclose(found.x[n], x, rtol=2e-3, atol=2e-3)
    assert np.linalg.norm(found.x, axis=-1).max() <= 4.001 and found.history["features"].shape == (12, 3)


def test_jittered_images_are_larger_until_the_last_phase():
    seen = []

    def represent(x):
        seen.append(x.shape)
        return LINEAR(x)

    form = IJCV(weight=20.0, std=3.0, jitter=3, steps=(4, 2))
    found = inversion.invert(represent, TARGET, SHAPE, KEY, form)
    assert found.x.shape == (3, *SHAPE) and set(seen) == {(3, *SHAPE)}
    assert inversion.invert(represent, TARGET, SHAPE, KEY, form, start=np.ones((3, 6, 7, 2), "f")).x.shape[1:] == SHAPE
    with pytest.raises(ValueError, match=r"a start of shape \(3, 6, 7, 2\), got \(3, 4, 5, 2\)"):
        inversion.invert(represent, TARGET, SHAPE, KEY, form, start=PICTURES)


FORMS = (
    CVPR(total_variation=0.0, norm=0.0, phases=((1.0, 10),)),
    IJCV(norm=0.0, total_variation=0.0, max_norm=np.inf, steps=(10, 1)),
)


@pytest.mark.parametrize("form", FORMS, ids=["cvpr", "ijcv"])
def test_without_priors_a_run_that_starts_at_the_image_stays_there(form):
    represent = inversion.of_layer(NET, "relu6")
    target = jax.jit(represent)(X)
    found = inversion.invert(represent, target, X.shape[1:], KEY, form, start=X)
    np.testing.assert_allclose(found.x, X, atol=1e-4 if form is FORMS[0] else 0.02)  # IJCV amplifies rounding
    assert found.history["features"].max() < 1e-6 * (form.std**2 * X[0].size if form is FORMS[0] else 100)


def test_caricatures_take_the_steps_of_the_code():
    found, matrix = inversion.caricature(LINEAR, PICTURES, KEY, SECOND), MATRIX.astype(float)
    for n in range(3):
        target = np.maximum(PICTURES[n].astype(float).ravel() @ matrix, 0)
        gradient = -(matrix @ target).reshape(SHAPE) / (target @ target)
        x, history = by_adagrad_momentum(
            PICTURES[n].astype(float), SECOND, LEARNING_RATE, 7, lambda x, gradient=gradient: gradient
        )
        products = [(x.ravel() @ matrix) @ target / (target @ target) for x in history]
        np.testing.assert_allclose(found.x[n], x, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(found.history["features"][:, n], -20 * np.array(products), rtol=1e-3)
    assert found.history["features"].shape == (7, 3) and (found.history["features"][0] == pytest.approx(-20))
    assert (np.diff(found.history["features"], axis=0)[:3] < 0).all()


def test_the_inner_product_is_with_the_positive_part():
    represent = inversion.of_layer(NET, "conv3")
    target = jnp.maximum(jax.jit(represent)(X), 0)
    product = jax.jit(functools.partial(inversion.inner_product, represent))
    np.testing.assert_allclose(product(target, X), 1, rtol=1e-5)
    flat, features = np.asarray(target, float).reshape(2, -1), np.asarray(represent(2 * X), float).reshape(2, -1)
    np.testing.assert_allclose(product(target, 2 * X), (features * flat).sum(1) / (flat**2).sum(1), rtol=1e-4)
    assert (np.asarray(represent(X)) < 0).any()
    direction = RNG.normal(size=X.shape).astype("f")
    gradient = (jax.jit(jax.grad(lambda x: product(target, x).sum()))(X) * direction).sum()
    ahead, behind = (float(product(target, X + step * direction).sum()) for step in (0.002, -0.002))
    assert float(gradient) == pytest.approx((ahead - behind) / 0.004, rel=0.02)


def test_caricatures_of_jittered_images_keep_their_size_and_position():
    form = IJCV(weight=20.0, norm=0.0, total_variation=0.0, max_norm=np.inf, jitter=4, steps=(2, 1))
    still = inversion.caricature(LINEAR, PICTURES, KEY, dataclasses.replace(form, weight=0.0))
    np.testing.assert_array_equal(still.x, PICTURES)
    plain = np.broadcast_to([1.0, -2.0], (9, *SHAPE))  # constant images are invariant to jitter
    np.testing.assert_allclose(inversion.caricature(LINEAR, plain, KEY, form).history["features"][0], -20, rtol=1e-4)
    layer = inversion.of_layer(NET, "relu4")
    jittered = inversion.caricature(layer, X, KEY, IJCV(std=3.0, max_norm=6.0, jitter=3, steps=(20, 1)))
    assert jittered.x.shape == X.shape and np.linalg.norm(jittered.x, axis=-1).max() <= 6.001
    assert (inversion.inner_product(layer, jax.nn.relu(layer(X)), jittered.x) > 1.2).all()


@pytest.mark.parametrize(
    "represent, x, words",
    [
        (Partial(linear, -np.abs(MATRIX)), np.abs(PICTURES), r"positive somewhere, .* in number \[0, 1, 2\]"),
        (LINEAR, PICTURES[:, :3], r"images that the representation takes, got \(3, 5, 2\)"),
        (LINEAR, PICTURES[0], r"Expected images \(N, H, W, C\), got shape \(4, 5, 2\)"),
    ],
)
def test_invalid_images_of_caricatures_are_refused(represent, x, words):
    with pytest.raises(ValueError, match=words):
        inversion.caricature(represent, x, KEY)


def test_masked_parts_of_the_representation_do_not_count():
    form, mask = dataclasses.replace(SHORT, learning_rate=0.0001), np.array([1, 1, 0, 0, 0, 0], np.float32)
    found = inversion.invert(LINEAR, TARGET, SHAPE, KEY, form, mask)
    alone = inversion.invert(Partial(linear, MATRIX[:, :2]), TARGET[:, :2], SHAPE, KEY, form)
    np.testing.assert_allclose(found.x, alone.x, rtol=1e-3, atol=1e-4)
    other = TARGET.at[:, 2:].add(7.0)
    np.testing.assert_allclose(inversion.invert(LINEAR, other, SHAPE, KEY, form, mask).x, found.x, rtol=1e-4)


def test_pre_images_of_one_representation_differ_in_pixels():
    form = CVPR(total_variation=0.0, norm=0.0, std=2.0, learning_rate=0.002, phases=((1.0, 300),))
    found = inversion.invert(LINEAR, jnp.repeat(TARGET[:1], 4, 0), SHAPE, KEY, form)
    between = np.asarray([np.linalg.norm(a - b) for a in found.x for b in found.x])
    assert np.sort(between)[4] > 1
    np.testing.assert_allclose(LINEAR(found.x), np.repeat(TARGET[:1], 4, 0), atol=0.05)


def test_layers_receive_shifted_and_scaled_pixels():
    represent = inversion.of_layer(NET, "relu4", to_network := lambda x: (x + jnp.array([0.5, 0.1, 0.2])) / 3)
    x = to_network(X)
    expected = network.capture(NET, x, ["relu4"])[1]["relu4"]
    np.testing.assert_allclose(represent(X), expected, rtol=1e-5, atol=1e-6)


def test_errors_are_normalised_by_distances_between_images():
    x = PICTURES + 0.1
    flat = np.asarray(TARGET, float)
    between = np.mean([((a - b) ** 2).sum() for a in flat for b in flat])
    expected = ((np.asarray(LINEAR(x), float) - flat) ** 2).sum(1) / between
    np.testing.assert_allclose(inversion.error(LINEAR, x, TARGET), expected, rtol=1e-4)


JITTERED = IJCV(jitter=3, steps=(40, 30))
RUNS = {
    "cvpr": functools.partial(inversion.invert, LINEAR, TARGET, SHAPE, KEY, SHORT),
    "ijcv": functools.partial(inversion.invert, LINEAR, TARGET, SHAPE, KEY, JITTERED),
    "caricature": functools.partial(inversion.caricature, LINEAR, PICTURES, KEY, JITTERED),
}


@pytest.mark.parametrize("name, after", [("cvpr", 2), ("ijcv", 3), ("ijcv", 11), ("caricature", 2)])
def test_an_interrupted_run_resumes_with_the_same_result(name, after, resumed):
    ends = resumed(RUNS[name], after, chunk=5)
    assert len(ends) == len(set(ends)) + 1 if name != "ijcv" else len(ends) == 15


def test_settings_compile_once():
    inversion.invert(LINEAR, TARGET, SHAPE, KEY, SHORT)
    RUNS["caricature"]()
    before = optimize._step._cache_size()
    inversion.invert(Partial(linear, 2 * MATRIX), TARGET, SHAPE, jax.random.key(5), dataclasses.replace(SHORT))
    inversion.caricature(Partial(linear, 2 * MATRIX), PICTURES, jax.random.key(5), dataclasses.replace(JITTERED))
    assert optimize._step._cache_size() == before


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"target": TARGET[:0]}, "one representation or more, got none"),
        ({"target": TARGET[:, :5]}, r"representations of shape \(3, 6\), .* got \(3, 5\)"),
        ({"target": TARGET.at[1].set(0)}, r"not all zero, got zeros in number \[1\]"),
        ({"mask": np.zeros(6)}, r"zeros in number \[0, 1, 2\]. Usual causes: dead features, or a mask"),
        ({"mask": np.ones(4)}, r"Expected a mask for representations \(6,\), got \(4,\)"),
    ],
)
def test_invalid_targets_and_masks_are_refused(changes, words):
    arguments = {"target": TARGET, "mask": None} | changes
    with pytest.raises(ValueError, match=words):
        inversion.invert(LINEAR, arguments["target"], SHAPE, KEY, SHORT, arguments["mask"])


def test_shapes_that_the_representation_does_not_take_are_refused():
    with pytest.raises(ValueError, match=r"images that the representation takes, got \(4, 4, 2\). It said: "):
        inversion.invert(LINEAR, TARGET, (4, 4, 2), KEY, SHORT)


def test_whole_numbers_as_settings_are_those_with_a_point():
    """An integer's square times the number of values of a photograph exceeds 32 bits."""
    x = jnp.zeros((1, 224, 224, 3))

    def features(std):
        return jax.jit(lambda form: form._loss(lambda x: {"features": jnp.ones(len(x))}, x))(CVPR(std=std))["features"]

    np.testing.assert_allclose(features(128), features(128.0), rtol=1e-6)
    assert float(features(128)[0]) == 128**2 * 224 * 224 * 3
