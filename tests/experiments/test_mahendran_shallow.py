"""Numbers and claims of two comparisons: HOG and dense SIFT, and inversion by a trained network."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs.mahendran2015 import learned as learned_config
from configs.mahendran2015 import shallow as shallow_config
from experiments.lib import preimages
from experiments.mahendran2015 import learned, shallow
from xai_jax import hog_dsift, models

RNG = np.random.default_rng(0)


def test_bars_lie_along_edges():
    cells = np.zeros((1, 2, 27))
    cells[0, 0, 18] = 1  # a gradient to the right: the edge is upright
    cells[0, 1, 18 + 4] = 0.5  # at 80 degrees: nearly level
    drawn, middle = shallow.hog_glyphs(cells), shallow.GLYPH // 2
    upright, level = drawn[:, : shallow.GLYPH], drawn[:, shallow.GLYPH :]
    assert upright[:, middle].all() and not np.delete(upright, middle, axis=1).any()
    assert level.max() == 0.5 and set(np.nonzero(level)[0]) <= {middle - 1, middle, middle + 1}


def test_features_of_the_configuration_are_those_of_the_library():
    x = jnp.asarray(RNG.uniform(0, 255, (2, 27, 34, 1)).astype(np.float32))
    functions = (hog_dsift.hog, hog_dsift.hogb, hog_dsift.dsift)
    for (name, found), function in zip(
        shallow.features(shallow_config.get_config("smoke")).items(), functions, strict=True
    ):
        np.testing.assert_array_equal(found(x), function(x), err_msg=name)


@pytest.mark.parametrize(
    "errors, roughness, decision", [((0.3, 0.1), (1.0, 0.5), "supported"), ((0.1, 0.3), (0.5, 1.0), "not supported")]
)
def test_claims_follow_errors_and_roughness(errors, roughness, decision):
    config, noise = shallow_config.get_config("smoke"), np.array([-0.01, 0.0, 0.01])
    weak, strong = config.total_variations
    rough, smooth = roughness[0] + noise, roughness[1] + noise**2
    found = {
        (name, strength): {"error": error, "alike": noise, "roughness": values}  # lint: keep
        for name, strength, error, values in (
            ("HOG", weak, errors[0] + noise, rough),
            ("HOGb", weak, errors[1] + noise**2, rough),
            ("HOG", strong, 0.5 + noise, smooth),
        )
    }
    assert [claim.verdict.decision for claim in shallow.claims(found, config)] == [decision] * 2
    numbers = {number.name: number for number in shallow.numbers(found, config)}
    assert numbers["error, HOG, penalty 0.05"].paper == 28.1 and numbers["error, HOG, penalty 5"].paper is None


def test_inverses_of_a_trained_network(tmp_path):
    """Digits: shapes, and errors normalised by the distance between images."""
    config = learned_config.get_config("smoke")
    subject = preimages.load(config)
    found = learned.learned(subject, "relu2", tmp_path / "inverse.npz", config)
    assert found["images"].shape == subject.images.shape and (tmp_path / "inverse.npz").exists()
    flat = np.asarray(subject.images).reshape(6, -1)
    between = np.mean([[((a - b) ** 2).sum() for a in flat] for b in flat])
    expected = [((np.asarray(x).ravel() - y) ** 2).sum() / between for x, y in zip(found["images"], flat, strict=True)]
    np.testing.assert_allclose(found["pixels"], expected, rtol=1e-4)
    classes = np.asarray(models.load("digits").net(jnp.asarray(subject.images + 77.8) / 255)).argmax(1)
    np.testing.assert_array_equal(found["same"], classes == subject.classes(found["images"]))


@pytest.mark.parametrize(
    "pixels, features, decision", [((0.9, 0.1), (0.1, 0.9), "supported"), ((0.1, 0.9), (0.9, 0.1), "not supported")]
)
def test_claims_follow_pixels_and_features(pixels, features, decision):
    config, noise = learned_config.get_config("smoke"), 0.01 * RNG.normal(size=6)
    found = {
        (layer, method): {"pixels": p + noise * n, "features": f - noise * n}
        for layer in config.layers
        for n, (method, p, f) in enumerate(zip(learned.METHODS, pixels, features, strict=True))
    }
    assert [claim.verdict.decision for claim in learned.claims(found, config)] == [decision] * 2
