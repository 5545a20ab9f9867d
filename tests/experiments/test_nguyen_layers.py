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


def conditions(**means):
    """Measures of five groups around a mean for each condition, where a higher mean is better in all measures."""
    noise, signs = (
        np.linspace(-0.01, 0.01, 5),
        {name: 1 if m.higher else -1 for name, m in prior_comparison.REALISM.items()},
    )
    return {name: {key: sign * (mean + noise) for key, sign in signs.items()} for name, mean in means.items()}


YES, NO, OPEN = "supported", "not supported", "inconclusive"


def decisions(measures, **changes):
    config = dataclasses.replace(layer_config.get_config("default"), **changes)
    return [claim.verdict.decision for claim in code_layer.claims(measures, config)]


def test_connected_layers_are_compared_as_a_kind_and_the_best_with_each():
    assert decisions(conditions(pool2=1.0, pool3=2.0, fc6=4.0, fc7=3.0, fc8=1.5)) == [YES, YES] * 3
    assert (
        decisions(conditions(pool2=1.0, pool3=4.5, fc6=4.0, fc7=3.0, fc8=1.5)) == [YES, NO] * 3
    )  # pool3 alone is best
    assert decisions(conditions(pool2=5.0, pool3=1.0, fc6=4.0, fc7=2.0, fc8=0.5)) == [NO, NO] * 3
    assert decisions(conditions(pool2=1.0, pool3=2.0, fc6=3.0, fc7=3.0, fc8=1.5)) == [YES, OPEN] * 3
    assert (
        decisions(conditions(pool2=1.0, pool3=2.0, fc6=4.0, fc7=3.0, fc8=1.5), evaluation_network="fashion_maxpool")
        == [OPEN, OPEN] * 3
    )


def test_averages_are_taken_group_by_group():
    a, b = ({"x": RNG.normal(size=4)} for _ in range(2))
    np.testing.assert_allclose(code_layer.average([a, b])["x"], (a["x"] + b["x"]) / 2)


@pytest.mark.parametrize("tier", ["smoke", "default", "paper"])
def test_every_layer_has_a_generator_of_it(tier):
    config = layer_config.get_config(tier)
    assert {config.best, *config.connected} <= {*config.layers} and not {*config.layers} <= {*config.connected}
    for layer in config.layers:
        named = code_layer.generator_config(config, layer)
        assert generators.network_of(named.generator) == config.network
        inverted = generators._ENTRIES[named.generator].layer
        assert inverted in (layer, layer.replace("fc", "relu"), layer.replace("conv", "relu"))
        assert bool(named.generator_weights) == (tier == "paper")


def test_brief_generators_have_the_same_recipe():
    entries = [generators._ENTRIES[name] for name in layer_config.get_config("default").generators]
    assert len({(entry.recipe, entry.compared, entry.discriminator, entry.data) for entry in entries}) == 1


def model(std, shift, side):
    """A network of (pixels + shift) / std, of images of one side."""
    return LoadedModel(lambda x, **_: x.mean((1, 2)), Input(side, 1.0, (-shift,) * 3, (std,) * 3), "abc", None, {})


def test_images_are_translated_to_another_networks_size_and_units():
    home, away = model(50.0, 3.0, 8), model(2.0, -100.0, 6)
    images = jnp.asarray(RNG.normal(size=(2, 8, 8, 3)), jnp.float32)
    generator = LoadedGenerator(Partial(lambda x, codes: x, images), None, jnp.ones(4), "home", "layer")
    found = network.call(transfer.adapted(generator, home, away).generate, jnp.zeros((2, 4)))
    pixels = np.asarray(images, np.float64) * 50 - 3
    np.testing.assert_allclose(found, ((pixels - 100) / 2)[:, 1:7, 1:7], rtol=1e-4, atol=1e-3)
    same = network.call(transfer.adapted(generator, home, home).generate, jnp.zeros((2, 4)))
    np.testing.assert_allclose(same, images, atol=1e-5)


@pytest.mark.parametrize(
    "means, evaluation, expected",
    [((2.0, 1.0), None, YES), ((1.0, 2.0), None, NO), ((1.0, 1.0), None, OPEN), ((2.0, 1.0), "same", OPEN)],
)
def test_claims_about_realism_need_a_third_network(means, evaluation, expected):
    config = transfer_config.get_config("default")
    config = dataclasses.replace(
        config, evaluation_network=config.explained if evaluation else config.evaluation_network
    )
    measures = dict(zip((transfer.OWN, transfer.OTHER), conditions(a=means[0], b=means[1]).values(), strict=True))
    assert {claim.verdict.decision for claim in transfer.realism_claims(measures, config)} == {expected}


@pytest.mark.parametrize("failing, expected", [(0, YES), (2, OPEN), (7, NO)])
def test_claim_about_confidence_concerns_most_classes(failing, expected):
    classes, logits = np.tile(np.arange(8), 5), np.full((40, 8), -10.0)
    logits[np.arange(40), classes] = 0
    for k in range(failing):
        logits[[k, k + 8, k + 16]] = 0  # three of five starts of one class
    found = {transfer.OTHER: {"logits": logits}}
    assert transfer.confidence_claim(found, classes).verdict.decision == expected


def test_dry_runs_take_the_other_networks_gradient():
    step = transfer.other_network_steps(transfer_config.get_config("smoke"), 40)
    gradient = jax.eval_shape(step.function, *step.arguments)
    assert gradient.shape == step.arguments[2].shape and step.repeats == 30
