"""Generators that are trained on first use."""

import jax
import numpy as np
import pytest

from xai_jax import models, network
from xai_jax.data import cutouts, datasets
from xai_jax.io import files
from xai_jax.models import generators
from xai_jax.models.pretrained import shipped
from xai_jax.weights import safetensors_file


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        generators._load.cache_clear()
        generator = generators.load("digits_conv2")
        (folder,) = files.cache_dir("").glob("digits_conv2-*")
        yield generator, folder
    generators._load.cache_clear()


def test_images_of_codes_resemble_what_the_codes_are_of(digits):
    generator, folder = digits
    model, data = models.load(generator.network), datasets.load("digits", "test")
    pixels = np.stack([data[i][0] for i in range(64)])
    x = pixels.astype(np.float32) / 255
    codes = network.call(generator.encode, x)
    assert codes.shape[1:] == generator.upper.shape
    found = np.asarray(network.call(generator.generate, codes))
    assert found.shape == x.shape and ((found - x) ** 2).mean() < 0.5 * x.var()
    kept = np.asarray(network.call(model.net, found)).argmax(1) == np.asarray(network.call(model.net, x)).argmax(1)
    assert kept.mean() > 0.8
    assert (folder / "generator.safetensors").exists() and (folder / "metrics.jsonl").exists()


def test_bounds_are_those_of_the_codes(digits):
    generator, _ = digits
    data = datasets.load("digits", "train")
    count = min(len(data), generators.BOUNDED_BY)
    x = np.stack([data[i][0] for i in range(count)]).astype(np.float32) / 255
    codes = np.asarray(network.call(generator.encode, x))
    np.testing.assert_allclose(generator.upper, codes.mean(0) + 3 * codes.std(0), rtol=1e-3, atol=1e-4)


def test_other_weights_have_a_generator_of_their_own(digits, tmp_path):
    generator, folder = digits
    path = tmp_path / "other.safetensors"
    variables = safetensors_file.flatten(models.load("digits").variables)
    for sign in (-1, 1):  # the same path with other content
        safetensors_file.write(path, {name: sign * np.asarray(value) for name, value in variables.items()})
        other = generators.load("digits_conv2", weights=path)
        codes = np.asarray(network.call(generator.encode, np.ones((1, 8, 8, 1), np.float32)))
        own = np.asarray(network.call(other.encode, np.ones((1, 8, 8, 1), np.float32)))
        assert np.allclose(own, codes, atol=1e-5) == (sign > 0)
        assert generators.load("digits_conv2", weights=path) is other
    assert len(list(folder.parent.glob("digits_conv2-*"))) == 2


@pytest.mark.parametrize("name", generators.names())
def test_sizes_are_known_without_training(name):
    module, variables, code = generators.abstract(name)
    shape = models.abstract(generators._ENTRIES[name].network)[2]
    images = jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct((2, *code), np.float32))
    assert images.shape[1] >= shape[0] and images.shape[2] >= shape[1] and images.shape[3] == shape[2]


def test_a_shipped_generator_draws_what_the_codes_are_of():
    generator, about = generators.load("photo_fc6"), shipped.read("photo_fc6")[1]
    assert about["recipe"] == generators.recipe("photo_fc6")
    assert generator.upper.shape == (384,) and (generator.upper > 0).all()


@pytest.mark.skipif(cutouts.PACKAGE.find() is None, reason="the cut-outs are not on this machine")
def test_the_shipped_generator_keeps_objects():
    generator, model = generators.load("photo_fc6"), models.load("photo_maxpool_objects")
    data = datasets.load("portraits_64", "train")
    x = model.preprocess([data[index][0] for index in range(195)])
    images = network.call(generator.generate, network.call(generator.encode, x))
    assert ((images - x) ** 2).mean() < 0.3 * x.var()
    kept = np.asarray(network.call(model.net, images)).argmax(1) == np.asarray(network.call(model.net, x)).argmax(1)
    assert kept.mean() > 0.5


@pytest.mark.skipif(cutouts.PACKAGE.find() is None, reason="the cut-outs are not on this machine")
def test_the_first_step_of_the_shipped_generator_is_repeated():
    expected = shipped.read("photo_fc6")[1]["losses"]
    (found,) = generators.first_lines("photo_fc6", 1)
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), rtol=2e-3)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="photo_fc6, .*caffenet_fc7, got 'nothing'"):
        generators.load("nothing")
