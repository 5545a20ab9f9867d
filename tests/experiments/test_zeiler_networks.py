"""Zeiler & Fergus's Fig. 6 and the design of Table 3: measures of filters, changes of layers, claims."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import signal

from configs.zeiler2014 import ablation as ablation_config
from configs.zeiler2014 import architecture as architecture_config
from experiments.zeiler2014 import ablation, architecture
from xai_jax import network
from xai_jax.architectures.caffenet import CaffeNet
from xai_jax.architectures.zfnet import ZFNet

RNG = np.random.default_rng(0)


def test_the_share_of_power_that_a_stride_aliases_is_that_of_fast_waves():
    x = np.arange(64)
    slow, fast = np.sin(2 * np.pi * x / 16), np.sin(2 * np.pi * x / 3.2)
    waves = [(slow, slow), (fast, slow), (slow, fast), (fast, fast)]
    responses = np.stack([5 + np.outer(a, b) for a, b in waves], axis=-1)[None]
    np.testing.assert_allclose(architecture.aliased(responses, 4), [0, 1, 1, 1], atol=0.02)
    np.testing.assert_allclose(architecture.aliased(responses, 1), 0, atol=1e-9)
    mixed = 2 * responses[..., :1] + responses[..., 1:2]
    np.testing.assert_allclose(architecture.aliased(mixed, 4), 1 / 5, atol=0.02)
    assert architecture.aliased(np.zeros((1, 8, 8, 1)), 2) == [0]


def test_responses_are_correlations_at_every_position():
    x, kernel = RNG.normal(size=(1, 6, 7, 2)).astype("f"), RNG.normal(size=(3, 3, 2, 4)).astype("f")
    found = np.asarray(architecture.respond(x, kernel, 1))
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    expected = [signal.correlate(padded, kernel[..., channel], "valid") for channel in range(4)]
    np.testing.assert_allclose(found[0], np.concatenate(expected, -1), rtol=1e-4, atol=1e-5)


def test_similarity_is_the_greatest_cosine_with_another_filter():
    kernel = RNG.normal(size=(3, 3, 1, 5))
    kernel[..., 3] = -2 * kernel[..., 1]
    kernel[..., 4] = 0
    flat = [kernel[..., n].ravel() for n in range(4)]
    cosine = [[abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for b in flat] for a in flat]
    expected = [max(cosine[i][j] for j in range(4) if i != j) for i in range(4)]
    np.testing.assert_allclose(architecture.similarity(kernel), [*expected, 0], atol=1e-9)
    assert expected[1] == pytest.approx(1)


def test_the_three_networks_differ_in_one_thing_each():
    config = architecture_config.get_config("default")
    modules = {name: architecture.build(name, config) for name in architecture.KINDS}
    assert modules["unlimited"] == modules["zfnet"] and isinstance(modules["krizhevsky"], CaffeNet)
    limits = {name: architecture.recipe_of(name, config).renormalise for name in architecture.KINDS}
    assert limits == {"unlimited": None, "krizhevsky": 0.04, "zfnet": 0.04}
    narrow = dataclasses.replace(config, widths=(4,) * 5, hidden=4)
    x = np.zeros((1, config.side, config.side, 1), np.float32)
    for name, kind in architecture.KINDS.items():
        module = architecture.build(name, narrow)
        variables = jax.jit(module.init)(jax.random.key(0), x)
        responses = architecture.respond(x, variables["params"]["conv1"]["kernel"], kind.padding)
        shape = network.layer_names(Partial(module.apply, variables), x)["conv1"].shape
        assert shape[1] == -(-responses.shape[1] // kind.stride)


def spread(value):
    return np.array([value, value, value]) + np.array([-0.1, 0, 0.1])[:, None]


def decisions(experiment, *arguments):
    return [claim.verdict.decision for claim in experiment.findings(*arguments)[1]]


YES, NO, OPEN = "supported", "not supported", "inconclusive"


def test_claims_about_first_layers_follow_the_measures():
    good = {measure: np.array([1.0, 1.1, 0.9]) for measure in architecture.MEASURES}
    bad = {measure: np.array([2.0, 2.1, 1.9]) for measure in architecture.MEASURES}
    assert decisions(architecture, {"unlimited": bad, "krizhevsky": bad, "zfnet": good}) == [YES] * 4
    assert decisions(architecture, {"unlimited": good, "krizhevsky": good, "zfnet": bad}) == [NO] * 4
    assert decisions(architecture, {"unlimited": good, "krizhevsky": good, "zfnet": good}) == [OPEN] * 4


def test_changes_are_made_to_zfnet_and_cost_what_the_paper_says():
    config = dataclasses.replace(ablation_config.get_config("default"), changes=())
    modules = ablation.build(config)
    assert len(modules) == 9 and all(isinstance(module, ZFNet) for module in modules.values())
    assert modules["zfnet"].widths == (12, 32, 48, 48, 32) and modules["zfnet"].hidden == 512
    assert modules["without_3467"].without == (3, 4, 6, 7) and modules["halved"].hidden == 256
    assert modules["wider_doubled"].widths == (12, 32, 64, 128, 64) and modules["wider_doubled"].hidden == 1024
    np.testing.assert_allclose(ablation.cost("without_67"), [27.4 - 35.1, 44.8 - 40.5, 22.4 - 18.1])
    np.testing.assert_allclose(ablation.cost("doubled"), [22.0 - 33.1, 38.8 - 38.4, 17.0 - 16.5])
    with pytest.raises(ValueError, match="Expected changes out of without_34, .* got without_5"):
        ablation.build(dataclasses.replace(config, changes=("without_5",)))


def test_claims_about_changes_follow_the_papers_costs_and_stay_open_at_chance_level():
    config = ablation_config.get_config("default")
    found = {"zfnet": spread((33.1, 38.4, 16.5))}
    found |= {name: found["zfnet"] + ablation.cost(name) for name in ablation.CHANGES}
    assert decisions(ablation, found, config) == [YES] * 6
    opposite = {name: 60 - (values - 60) * 0.5 for name, values in found.items()}
    assert decisions(ablation, opposite, config) == [NO] * 6
    idle = found | {"without_3467": spread((90, 90, 50))}
    assert decisions(ablation, idle, config) == [YES, OPEN, YES, YES, YES, OPEN]
    few = {"zfnet": found["zfnet"], "halved": found["halved"]}
    assert decisions(ablation, few, config) == [OPEN, OPEN, YES, OPEN, OPEN, OPEN]
