"""Which layer to invert, and another network explained: units, averages, and what claims follow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from configs.nguyen2016 import code_layer as layer_config
from configs.nguyen2016 import transfer as transfer_config
from experiments.nguyen2016 import code_layer, prior_comparison, transfer
from xai_jax import network
from xai_jax.models import Input, LoadedModel, generators
from xai_jax.models.generators import LoadedGenerator

RNG = np.random.default_rng(0)


def ways(**means):
    """Measures of five groups around a mean for each way, better for more of it in all measures."""
    noise, signs = (
        np.linspace(-0.01, 0.01, 5),
        {name: 1 if m.more else -1 for name, m in prior_comparison.REALISM.items()},
    )
    return {name: {key: sign * (mean + noise) for key, sign in signs.items()} for name, mean in means.items()}


def held(measures, **changes):
    config = dataclasses.replace(layer_config.get_config("default"), **changes)
    return [claim.held for claim in code_layer.claims(measures, config)]


def test_connected_layers_are_compared_as_a_kind_and_the_best_with_each():
    assert held(ways(pool2=1.0, pool3=2.0, fc6=4.0, fc7=3.0, fc8=1.5)) == [True, True] * 3
    assert held(ways(pool2=1.0, pool3=4.5, fc6=4.0, fc7=3.0, fc8=1.5)) == [True, False] * 3  # pool3 alone is best
    assert held(ways(pool2=5.0, pool3=1.0, fc6=4.0, fc7=2.0, fc8=0.5)) == [False, False] * 3
    assert held(ways(pool2=1.0, pool3=2.0, fc6=3.0, fc7=3.0, fc8=1.5)) == [True, None] * 3
    assert (
        held(ways(pool2=1.0, pool3=2.0, fc6=4.0, fc7=3.0, fc8=1.5), evaluation_network="fashion_maxpool")
        == [None, None] * 3
    )


def test_averages_are_taken_group_by_group():
    a, b = ({"x": RNG.normal(size=4)} for _ in range(2))
    np.testing.assert_allclose(code_layer.average([a, b])["x"], (a["x"] + b["x"]) / 2)


@pytest.mark.parametrize("tier", ["smoke", "default", "paper"])
def test_every_layer_has_a_generator_of_it(tier):
    config = layer_config.get_config(tier)
    assert {config.best, *config.connected} <= {*config.layers} and not {*config.layers} <= {*config.connected}
    for layer in config.layers:
        named = code_layer.named(config, layer)
        assert generators.network_of(named.generator) == config.network
        inverted = generators._ENTRIES[named.generator].layer
        assert inverted in (layer, layer.replace("fc", "relu"), layer.replace("conv", "relu"))
        assert bool(named.generator_weights) == (tier == "paper")


def test_brief_generators_are_trained_alike():
    entries = [generators._ENTRIES[name] for name in layer_config.get_config("default").generators]
    assert len({(entry.recipe, entry.compared, entry.discriminator, entry.data) for entry in entries}) == 1


def model(deviation, shift, side):
    """A network of (pixels + shift) / deviation, of images of one side."""
    return LoadedModel(
        lambda x, **_: x.mean((1, 2)), Input(side, 1.0, (-shift,) * 3, (deviation,) * 3), "abc", None, {}
    )


def test_images_are_translated_to_another_networks_size_and_units():
    home, away = model(50.0, 3.0, 8), model(2.0, -100.0, 6)
    images = jnp.asarray(RNG.normal(size=(2, 8, 8, 3)), jnp.float32)
    generator = LoadedGenerator(Partial(lambda x, codes: x, images), None, jnp.ones(4), "home", "layer")
    found = network.call(transfer.translated(generator, home, away).generate, jnp.zeros((2, 4)))
    pixels = np.asarray(images, np.float64) * 50 - 3
    np.testing.assert_allclose(found, ((pixels - 100) / 2)[:, 1:7, 1:7], rtol=1e-4, atol=1e-3)
    same = network.call(transfer.translated(generator, home, home).generate, jnp.zeros((2, 4)))
    np.testing.assert_allclose(same, images, atol=1e-5)


def test_transfer_claims_that_the_other_network_is_sure_and_its_images_are_worse():
    config, classes = transfer_config.get_config("default"), np.tile(np.arange(4), 5)
    logits = np.full((20, 4), -10.0)
    logits[np.arange(20), classes] = 0
    found = {transfer.OWN: {"logits": logits}, transfer.OTHER: {"logits": logits.copy()}}

    def judged(config=config, **means):
        measures = dict(zip((transfer.OWN, transfer.OTHER), ways(**means).values(), strict=True))
        return [claim.held for claim in transfer.claims(found, measures, classes, config)]

    assert judged(own=2.0, another=1.0) == [True] * 4
    assert judged(own=1.0, another=2.0) == [True] + [False] * 3
    assert judged(own=1.0, another=1.0) == [True] + [None] * 3
    assert (
        judged(dataclasses.replace(config, evaluation_network=config.explained), own=2.0, another=1.0)
        == [True] + [None] * 3
    )
    found[transfer.OTHER]["logits"][[1, 5, 9], :] = 0.0  # three of five starts of one class
    assert judged(own=2.0, another=1.0)[0] is False


def test_dry_runs_take_the_other_networks_gradient():
    step = transfer.away(transfer_config.get_config("smoke"), 40)
    slope = jax.eval_shape(step.function, *step.arguments)
    assert slope.shape == step.arguments[2].shape and step.repeats == 30
