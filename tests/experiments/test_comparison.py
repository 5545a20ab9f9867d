"""Which neurons are shown in Springenberg et al.'s figures, and what is kept of their maps."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from configs.springenberg2015.comparison import get_config
from experiments.lib import measures
from experiments.springenberg2015 import comparison
from xai_jax import models, saliency, targets


def test_strong_neurons_are_of_different_channels_and_not_near_the_border():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    x[0, 0, 3, :] = 90  # at the border
    x[0, 4, 5, 1], x[1, 2, 3, 2], x[0, 3, 2, 0] = 50, 40, 30

    def net(x, relu, tap):
        return tap("layer", x).mean((1, 2))

    found = comparison.strong_neurons(net, jnp.asarray(x), "layer", 3)
    np.testing.assert_array_equal(found.T, [(0, 1, 4, 5), (1, 2, 2, 3), (0, 0, 3, 2)])


def test_cosines_are_of_all_neurons_and_maps_of_those_in_the_figure(monkeypatch):
    monkeypatch.setattr(comparison, "ROWS", 2)
    model = models.load("digits")
    x = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    config = dataclasses.replace(get_config("smoke"), neurons=5)
    pixels = model.to_pixels(x)
    found = comparison.neuron_maps(model.net, jnp.asarray(x), pixels, "relu2", config)
    assert found["maps"].shape == (3, 2, 8, 8, 1) and found["boxes"].shape == (5, 4)
    np.testing.assert_array_equal(found["pixels"], pixels[found["image"][:2]])
    image, channel, row, column = comparison.strong_neurons(model.net, jnp.asarray(x), "relu2", 5)
    target = targets.neuron("relu2", channel, (row, column))
    pair = [
        np.asarray(method(model.net, x[image], target)) for method in (saliency.deconvnet, saliency.guided_backprop)
    ]
    np.testing.assert_allclose(found["cosine"], measures.cosine(*pair), rtol=1e-4)
