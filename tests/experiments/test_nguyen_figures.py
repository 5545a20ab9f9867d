"""Realism by an evaluation network, and claims about preferred inputs of classes."""

import dataclasses

import numpy as np
import pytest

from configs.nguyen2016.classes import get_config
from experiments.lib import evaluation_networks
from experiments.nguyen2016 import classes as experiment
from xai_jax import realism
from xai_jax.models import LoadedModel
from xai_jax.models.input_scaling import Input

RNG = np.random.default_rng(0)
CONFIG = dataclasses.replace(get_config("default"), starts=3)


def net(x, relu=None, tap=lambda name, value: value):
    maps = tap("relu2", x * 2.0)
    return tap("logits", maps.sum((1, 2)))


def test_realism_is_measured_in_another_networks_features():
    images, x = RNG.integers(0, 256, (6, 2, 2, 3), np.uint8), RNG.normal(size=(40, 2, 2, 3)).astype("f")
    model = LoadedModel(net, Input(2, 1.0, (99.0,) * 3, (99.0,) * 3), "abc", None, {})
    meant, shown = np.array([0, 1, 2, 0, 1, 2]), images / 99 - 1
    found = evaluation_networks.evaluate(
        evaluation_networks.EvaluationNetwork(model, x, "relu2", CONFIG.seed), images, meant
    )
    means, natural = (2 * a.mean((1, 2)) for a in (shown, x))
    np.testing.assert_array_equal(found["agrees"], shown.sum((1, 2)).argmax(1) == meant)
    distances, neighbours = realism.nearest(means, natural[:20])
    np.testing.assert_allclose(found["distance"], distances, rtol=1e-4)
    np.testing.assert_array_equal(found["neighbour"], neighbours)
    np.testing.assert_allclose(found["natural distance"], realism.nearest(natural[20:], natural[:20])[0], rtol=1e-4)
    assert found["frechet"] == pytest.approx(realism.frechet(means, natural[:20]), rel=1e-4)
    rows = np.random.default_rng(CONFIG.seed).permutation(20)[:6]
    assert found["natural frechet"] == pytest.approx(realism.frechet(natural[20:][rows], natural[:20]), rel=1e-4)


@pytest.mark.parametrize("failing, expected", [(0, "supported"), (2, "inconclusive"), (9, "not supported")])
def test_claims_concern_the_medians_of_most_classes(failing, expected):
    confidence, agrees = np.full((3, 10), 0.995), np.ones((3, 10), bool)
    confidence[0], agrees[1] = 0.2, False  # one start in three may fail
    confidence[1, :failing], agrees[0, :failing] = 0.2, False
    found = {"confidence": np.ravel(confidence)}
    evaluated = {"agrees": np.ravel(agrees), "distance": np.ones(30), "natural distance": np.ones(9)}
    evaluated |= {"frechet": np.array(3.0), "natural frechet": np.array(1.0)}

    def decisions(config):
        claims = experiment.findings(found, evaluated, np.tile(np.arange(10), 3), config)[1]
        return [claim.verdict.decision for claim in claims]

    assert decisions(CONFIG) == [expected] * 2
    assert decisions(get_config("smoke")) == [expected, "inconclusive"]  # the explained network itself evaluates there


def test_features_are_means_over_positions_in_any_batches():
    x = RNG.normal(size=(150, 2, 2, 3)).astype("f")
    np.testing.assert_allclose(evaluation_networks.features(lambda x: x, x), x.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(evaluation_networks.features(lambda x: x.sum((1, 2)), x).shape, (150, 3))


def test_some_classes_may_be_named():
    config = dataclasses.replace(CONFIG, classes=(2, 0), starts=2, shown=1)
    model = LoadedModel(net, Input(2, 1.0, (99.0,) * 3, (99.0,) * 3), "abc", None, {})
    x, classes = RNG.normal(size=(6, 2, 2, 3)).astype("f"), np.array([2, 0, 2, 0])
    evaluator = evaluation_networks.EvaluationNetwork(model, x, "relu2", CONFIG.seed)
    found, evaluated = {"images": x[:4], "confidence": np.full(4, 0.5)}, {"neighbour": np.array([0, 1, 2, 0])}
    panel = experiment.classes_panel(model, evaluator, found, evaluated, classes, config)
    assert [axis.get_title() for axis in panel.figure.axes[:2]] == ["c", "a"]
    smoke = dataclasses.replace(get_config("smoke"), classes=(2, 0))
    assert experiment.plan(smoke)[0].arguments[2].shape[0] == 2 * smoke.starts
