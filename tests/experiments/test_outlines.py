"""Where maps lie: the neuron on the object, and three measures of its maps, on small arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs.springenberg2015.outlines import Config
from experiments.springenberg2015 import outlines
from xai_jax import models
from xai_jax.data import composites, photographs


def test_positions_that_the_object_covers_by_half():
    outline = np.zeros((8, 8), np.float32)
    outline[2:6, 4:8] = 1
    expected = np.zeros((4, 4), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(outlines.covered(outline, (4, 4)), expected)
    np.testing.assert_array_equal(outlines.covered(outline, (8, 8)), outline == 1)


def test_a_small_object_has_one_position():
    outline = np.zeros((12, 12), np.float32)
    outline[9, 10] = 1
    found = outlines.covered(outline, (3, 3))
    assert found[2, 2] and found.sum() == 1


def test_the_neuron_stands_out_on_the_object_and_not_elsewhere():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 6, 6, 3)).astype(np.float32)
    x[..., 2] *= 100  # a channel that is large everywhere does not stand out
    inside = np.zeros((20, 6, 6), np.float32)
    inside[:, 3:, 3:] = 1
    for i in range(20):
        x[i, 4, 5, i % 2], x[i, 0, 0, 1] = 30, 60

    def net(x, relu, tap):
        return tap("layer", x).mean((1, 2))

    row, column, channel = outlines.strongest(net, jnp.asarray(x), inside, "layer")
    assert set(row) == {4} and set(column) == {5}
    np.testing.assert_array_equal(channel, np.arange(20) % 2)


def test_measures_of_known_maps():
    inside = np.zeros((3, 4, 4), np.float32)
    inside[:, :2] = 1
    maps = np.zeros((3, 4, 4, 2), np.float32)
    maps[0, 0, 0] = [3, -3]  # 6 on the object
    maps[0, 3, 3] = [1, 1]  # 2 beside it
    maps[1, 3, 3] = [0, -1]
    edges = np.zeros((3, 4, 4))
    edges[:, 0, 0] = 5
    found = outlines.measure(maps, inside, edges)
    np.testing.assert_allclose(found["inside"], [6 / 8, 0, np.nan])
    np.testing.assert_allclose(found["peak"], [1, 0, np.nan])
    np.testing.assert_allclose(found["edges"], [6 / np.sqrt(40), 0, np.nan])


@pytest.mark.parametrize("better, expected", [(0.2, "supported"), (-0.2, "not supported"), (0.0, "inconclusive")])
def test_claims_compare_guided_maps_with_both_others(better, expected):
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.6, 60)
    scores = {name: {"inside": base, "edges": base, "peak": (base > 0.45) * 1.0} for name in outlines.METHODS}
    scores["guided backprop"] = {
        "inside": base + better + rng.normal(0, 0.05, 60),
        "edges": base + better + rng.normal(0, 0.05, 60),
        "peak": np.where(rng.random(60) < 3 * abs(better), float(better > 0), base > 0.45),
    }
    assert {claim.verdict.decision for claim in outlines.claims(scores)} == {expected}


def test_outlines_have_the_crop_of_the_images():
    model = models.load("digits")
    outline = np.zeros((16, 20), np.uint8)
    outline[:, 10:] = 255
    fitted = outlines.fitted([outline], model)
    np.testing.assert_array_equal(fitted, model.to_pixels(model.preprocess([outline]))[..., 0] / np.float32(255))
    assert fitted.shape == (1, 8, 8) and fitted[0, 0, 0] == 0 and fitted[0, 0, 7] == 1


@pytest.mark.skipif(
    None in (photographs.PACKAGE.find(), composites.cutouts.PACKAGE.find()),
    reason="Debian's packages of images are not installed",
)
def test_scenes_depend_on_the_seed_and_show_different_objects():
    first, again, other = (outlines.scenes(Config(count=5, seed=seed)) for seed in (0, 0, 1))
    assert len(set(first[2])) == 5 and first[2] == again[2] != other[2]
    for image, same, outline in zip(first[0], again[0], first[1], strict=True):
        np.testing.assert_array_equal(image, same)
        assert image.shape == (256, 256, 3) and 0.02 < (outline > 127).mean() < 0.9
