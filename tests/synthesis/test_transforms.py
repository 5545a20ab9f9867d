"""Random crops, jitter and their padding."""

import functools

import jax
import numpy as np
import pytest

from xai_jax import transforms

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


@pytest.mark.parametrize("extent", [1, 2, 3, 4])
def test_padding_for_jitter_is_undone_by_the_centre_crop(extent):
    padded = np.asarray(transforms.pad_for_jitter(X, extent))
    assert padded.shape == (2, 4 + extent, 5 + extent, 3)
    np.testing.assert_array_equal(transforms.undo_padding(padded, extent), X)
    jittered = np.asarray(transforms.jitter(jax.random.key(0), padded, extent))
    assert jittered.shape == X.shape and (extent > 1 or (jittered == X).all())
