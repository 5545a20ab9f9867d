"""Random crops, jitter and their padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import inversion, priors, targets, transforms
from xai_jax.synthesis.activation_maximisation import Fourier, Yosinski, maximise
from xai_jax.synthesis.fooling import Direct
from xai_jax.synthesis.inversion import IJCV

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("f")


def test_random_crops_reach_every_position():
    images = np.arange(6 * 7, dtype=np.float32).reshape(1, 6, 7, 1).repeat(200, 0)
    found = np.asarray(jax.jit(functools.partial(transforms.random_crop, size=(4, 6)))(jax.random.key(0), images))
    positions = {divmod(int(crop[0, 0, 0]), 7) for crop in found}
    assert positions == {(i, j) for i in range(3) for j in range(2)}
    for crop in found:
        i, j = divmod(int(crop[0, 0, 0]), 7)
        np.testing.assert_array_equal(crop, images[0, i : i + 4, j : j + 6])
    with pytest.raises(ValueError, match=r"at most \(6, 7\), .* got \(7, 7\)"):
        transforms.random_crop(jax.random.key(0), images, (7, 7))


def test_central_crops_have_normal_positions():
    images, key = np.arange(9 * 14, dtype=np.float32).reshape(1, 9, 14, 1).repeat(400, 0), jax.random.key(0)
    found = np.asarray(jax.jit(functools.partial(transforms.random_central_crop, size=(5, 4), std=0.4))(key, images))
    for crop, (down, right) in zip(found, np.asarray(jax.random.normal(key, (400, 2))), strict=True):
        i, j = int(np.clip(2 + 0.4 * 4 * down, 0, 4)), int(np.clip(5 + 0.4 * 10 * right, 0, 10))
        np.testing.assert_array_equal(crop, images[0, i : i + 5, j : j + 4])
    np.testing.assert_array_equal(transforms.random_central_crop(key, X, (5, 6), 0.3), X)
    with pytest.raises(ValueError, match="Expected crops of at most"):
        transforms.random_central_crop(key, X, (6, 6), 0.3)


@pytest.mark.parametrize("extent", [0, 1, 2, 3, 4])
def test_padding_for_jitter_is_undone_by_the_centre_crop(extent):
    padded = np.asarray(transforms.pad_for_jitter(X, extent))
    assert padded.shape == (2, 5 + max(extent - 1, 0), 6 + max(extent - 1, 0), 3)
    np.testing.assert_array_equal(transforms.undo_padding(padded, extent), X)
    jittered = np.asarray(transforms.jitter(jax.random.key(0), padded, extent))
    assert jittered.shape == X.shape and (extent > 1 or (jittered == X).all())


@pytest.mark.parametrize("extent", [-1, 1.5, "2", None, True])
def test_invalid_jitter_is_refused(extent):
    for call in (transforms.pad_for_jitter, transforms.undo_padding, functools.partial(transforms.jitter, KEY)):
        with pytest.raises(ValueError, match="Expected 0 or more pixels of jitter, an integer, got"):
            call(X, extent)


def mean_colour(x, relu=jax.nn.relu, tap=None):
    return x.mean((1, 2))


@pytest.mark.parametrize(
    "none, same",
    [
        (Fourier(steps=3, jitter=0), Fourier(steps=3, jitter=1)),
        (IJCV(steps=(3, 0), jitter=0), IJCV(steps=(3, 0), jitter=1)),
        (Yosinski(steps=5, blur_every=0), Yosinski(steps=5, blur_std=0.0)),
    ],
)
def test_zero_is_none(none, same):
    start = jnp.zeros((2, 8, 8, 3)) + jnp.linspace(0, 1, 8)[:, None]
    found = [maximise(mean_colour, targets.logit(0), start, KEY, form, -9.0, 9.0).x for form in (none, same)]
    np.testing.assert_array_equal(*found)


def test_phases_without_steps_are_left_out():
    target, shape = jnp.ones((1, 3)), (6, 6, 3)
    for jitter in (0, 1, 3):
        both, first, last = (
            inversion.invert(mean_colour, target, shape, KEY, IJCV(steps=steps, jitter=jitter))
            for steps in ((2, 3), (2, 0), (0, 3))
        )
        assert both.x.shape == first.x.shape == last.x.shape == (1, *shape)
        assert [len(each.history["features"]) for each in (both, first, last)] == [5, 2, 3]
        np.testing.assert_array_equal(both.history["features"][:2], first.history["features"])
    with pytest.raises(ValueError, match="at least one step"):
        inversion.invert(mean_colour, target, shape, KEY, IJCV(steps=(0, 0)))


def test_blurs_of_zero_pixels_and_mutations_that_are_never_halved():
    np.testing.assert_array_equal(priors.blur(X, 0.0), X)
    parents, late = (jnp.full((4, 3, 3, 1), 0.5),) * 2, jnp.asarray(5000)
    never, much_later = (Direct((3, 3, 1), halving=halving) for halving in (0, 10**6))
    np.testing.assert_array_equal(never.vary(KEY, parents, late), much_later.vary(KEY, parents, late))
