"""The numbers behind Zeiler & Fergus's figures 2, 4 and 5: tiles, purities, correlations, transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.zeiler2014 import evolution, features, invariance
from xai_jax import deconvnet, models, network


@pytest.fixture(scope="module")
def digits():
    return models.load("digits")


def test_a_tile_is_the_receptive_field_with_its_unit_in_the_same_place():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap(
            "conv",
            jax.lax.conv_general_dilated(
                x, jnp.ones((5, 3, 1, 1)), (2, 1), [(2, 2), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
            ),
        ).mean((1, 2))

    image = np.arange(1.0, 101, dtype=np.float32).reshape(10, 10, 1)
    field = deconvnet.receptive_field(net, "conv", image[None])
    padded = np.pad(image, ((2, 2), (1, 1), (0, 0)))
    for row in range(5):
        for column in range(10):
            expected = padded[2 * row : 2 * row + 5, column : column + 3]
            np.testing.assert_array_equal(features.tile(image, field, row, column), expected)


def test_tiles_are_never_larger_than_the_image(digits):
    x = np.ones((1, 8, 8, 1), np.float32)
    field = deconvnet.receptive_field(digits.net, "relu2", x)
    assert features.tile(x[0], field, 0, 3).shape == (8, 8, 1)


def test_mosaic_lays_out_row_by_row():
    tiles = [np.full((2, 3, 1), i, np.float32) for i in range(5)]
    sheet = features.mosaic(tiles, 2, 1, -1)
    assert sheet.shape == (8, 7, 1)
    assert [sheet[0, 0, 0], sheet[0, 4, 0], sheet[3, 0, 0], sheet[6, 0, 0], sheet[6, 4, 0]] == [0, 1, 2, 4, -1]
    assert (sheet[2] == -1).all() and (sheet[:, 3] == -1).all()


def test_purity_counts_the_commonest_class():
    np.testing.assert_allclose(features.purity(np.array([[1, 1, 2], [3, 3, 3], [0, 1, 2]])), [2 / 3, 1, 1 / 3])


def test_correlations_are_numpys_and_undefined_for_dead_maps():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7, 3, 3, 4))
    b[..., 2] = 5
    found = evolution.correlations(a, b)
    for channel in (0, 1, 3):
        expected = np.corrcoef(a[..., channel].ravel(), b[..., channel].ravel())[0, 1]
        np.testing.assert_allclose(found[channel], expected)
    assert np.isnan(found[2])


def test_transformations_move_enlarge_and_turn():
    image = np.zeros((9, 9, 1), np.float32)
    image[4, 6] = 1
    moved = invariance.transform(image, "translation", 2)
    assert np.argwhere(moved > 0.5).tolist() == [[6, 6, 0]]
    turned = invariance.transform(image, "rotation", 90)
    assert np.argwhere(turned > 0.5).tolist() == [[2, 4, 0]]
    image[3:6, 3:6] = 1
    assert (invariance.transform(image, "scale", 2.0) > 0.5).sum() > 2 * image.sum()
    for kind, none in (("translation", 0), ("scale", 1), ("rotation", 0)):
        np.testing.assert_allclose(invariance.transform(image, kind, none), image, atol=1e-6)


def test_distances_are_shares_of_those_between_images(digits):
    x = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    config = type("Config", (), {"layers": ("relu1", "relu2")})
    found = invariance.measure(digits.net, x, np.array([1, 2, 3]), "translation", np.array([0.0, 1.0]), config)
    maps = np.asarray(network.capture(digits.net, jnp.asarray(x), ["relu1"])[1]["relu1"]).reshape(3, -1)
    apart = np.mean([np.linalg.norm(maps[i] - maps[j]) for i in range(3) for j in range(3) if i != j])
    moved = np.stack([invariance.transform(image, "translation", 1.0) for image in x])
    shifted = np.asarray(network.capture(digits.net, jnp.asarray(moved), ["relu1"])[1]["relu1"]).reshape(3, -1)
    np.testing.assert_allclose(found["relu1"][:, 1], np.linalg.norm(shifted - maps, axis=1) / apart, rtol=1e-5)
    np.testing.assert_allclose(found["relu1"][:, 0], 0, atol=1e-6)
    probabilities = np.asarray(jax.nn.softmax(digits.net(jnp.asarray(x))))
    np.testing.assert_allclose(found["probability"][:, 0], probabilities[[0, 1, 2], [1, 2, 3]], rtol=1e-5)


def test_epochs_that_were_not_kept_are_named(tmp_path):
    from configs.zeiler2014.evolution import get_config
    from experiments.runner import UserError

    config = get_config("paper")
    config.weights = str(tmp_path)
    with pytest.raises(UserError, match=r"after the epochs \(1, 2, 5.*keep_epochs=True"):
        evolution.kept(config, None, tmp_path)
