"""Planted biases: associations, effects of pasting, correlations with both, and claims."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from configs.kim2018.bias import get_config
from experiments.kim2018 import bias, bias_figures, over_seeds, small_networks
from experiments.lib.runner import Workspace
from xai_jax.data import composites, cutouts, planted
from xai_jax.data.datasets import InMemory

RNG = np.random.default_rng(0)
CONFIG = dataclasses.replace(get_config("smoke"), seeds=tuple(range(5)), layers=("pixels",), shown="pixels")
LABELS = np.arange(120, dtype=np.int32) % 3
PICTURES = InMemory(RNG.integers(0, 60, (120, 12, 12, 3), np.uint8), LABELS, CONFIG.classes)
YES, NO, OPEN = "supported", "not supported", "inconclusive"
SIZES = 5, 2, 1, 3, 2  # seeds, networks, layers, classes, attributes


def reddish(x, relu=None, tap=lambda name, value: value):
    """A network whose first class is red."""
    red = (tap("pixels", x) * np.array([1.0, -1.0, 0.0], "f")).mean((1, 2, 3))
    return tap("logits", 30 * red[:, None] * np.array([1.0, 0.0, -1.0], "f"))


def found(scores, effect, usually=1.0):
    """Results with mean scores (S, N, L, K, 2) and effects (S, N, K, 2)."""
    values = np.repeat(np.repeat(scores[:, :, None, ..., None], 3, 2), 4, -1)
    controls = 0.5 + 0.02 * RNG.normal(size=(*values.shape[:-1], 8, 4))
    rest = {"usual accuracy": np.full((5, 2), usually), "accuracy": np.full((5, 2, 2, 2), 0.5)}
    return {"values": values, "controls": controls, "effect": effect} | rest


def test_the_biased_attribute_is_as_frequent_over_all_classes_whatever_the_share():
    for share in CONFIG.shares:
        chances = bias.chances(share, CONFIG)
        assert chances["badge"][0] == share and sum(chances["badge"]) == pytest.approx(1)
        assert set(chances["star"]) == {0.5}
    expected = [[[0, 0]] * 3, [[0.9 - 0.05, 0], [0.05 - 0.475, 0], [0.05 - 0.475, 0]]]
    np.testing.assert_allclose(bias.associations(CONFIG), expected, atol=1e-12)


def test_composites_to_test_with_show_other_objects():
    config = dataclasses.replace(CONFIG, data="composites", classes=("ball", "mushroom"), side=16, images=12, checked=6)
    shown, drawn = bias.pictures(config), []
    for part, count, split in zip(shown, (12, 6), ("train", "test"), strict=True):
        assert part.images.shape == (count, 16, 16, 3) and np.bincount(part.labels).tolist() == [count // 2] * 2
        own = [cutouts.of_class(name, split=split) for name in config.classes]
        expected = [own[i % 2][i // 2 % max(map(len, own)) % len(own[i % 2])] for i in range(count)]
        images = composites.composites(expected, count, 16, int(split == "test")).arrays()[0]
        np.testing.assert_array_equal(part.images, images)
        drawn.append(set(expected))
    assert not drawn[0] & drawn[1]


def test_pasting_shows_what_a_network_relies_on():
    usual = bias.with_attributes(PICTURES, bias.chances(0.9, CONFIG), CONFIG, 1)
    found = bias.behaviour(reddish, PICTURES, usual, CONFIG, 0)
    assert found["effect"][0, 0] > 2 * abs(found["effect"][0, 1]) and found["effect"][2, 0] < -0.1
    images = [planted.planted(PICTURES, {"badge": (on,) * 3}, CONFIG.side, 1).arrays()[0] for on in (1, 0)]
    odds = [np.exp(np.asarray(reddish(np.asarray(small_networks.inputs(each))))) for each in images]
    shares = [each / each.sum(1, keepdims=True) for each in odds]
    np.testing.assert_allclose(found["effect"][:, 0], (shares[0] - shares[1]).mean(0), atol=1e-5)
    np.testing.assert_allclose(found["accuracy"][0], [(each.argmax(1) == LABELS).mean() for each in shares])


def test_tcav_finds_what_such_a_network_relies_on():
    config = dataclasses.replace(CONFIG, examples=10, controls=12, runs=3)
    usual = bias.with_attributes(PICTURES, bias.chances(0.9, config), config, 1)
    pictures = InMemory(*(np.concatenate([each] * 2) for each in PICTURES.arrays()), CONFIG.classes)
    sets = bias.concept_sets(pictures, config, 0)
    assert [len(each) for each in (*sets[0].values(), sets[1])] == [10, 10, 140]
    measured = bias.explained(reddish, usual, sets, config, 0)
    values, controls = (measured[name][None, over_seeds.MEAN] for name in ("values", "controls"))
    np.testing.assert_array_equal(over_seeds.signs(values, controls)[0, 0, :, 0], [1, 0, -1])


def test_examples_of_both_classes_are_shown_of_data_sorted_by_class():
    order = np.argsort(LABELS, kind="stable")
    shown = SimpleNamespace(training=InMemory(PICTURES.images[order], LABELS[order], CONFIG.classes))
    rows = bias.example_rows(shown, CONFIG)
    assert [len(images) for name, images in rows.items() if ":" in name] == [bias_figures.COLUMNS] * 4


def test_signs_are_those_of_holms_tests_within_a_seed():
    values, controls = RNG.normal(0, 0.1, (2, 6, 4)), RNG.normal(0, 0.4, (2, 6, 9, 4))
    values[0, :2] += 3
    values[1, 5] -= 3
    p, signs = over_seeds.p_values(values, controls), over_seeds.signs(values, controls)
    for seed in range(2):
        raw = []
        for own, others in zip(values[seed], controls[seed].mean(-1), strict=True):
            t = (own.mean() - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 9))
            raw.append(2 * stats.t.sf(abs(t), 8))
        running, expected = 0.0, np.empty(6)
        for rank, number in enumerate(np.argsort(raw)):
            running = expected[number] = max(running, min(1, (6 - rank) * raw[number]))
        np.testing.assert_allclose(p[seed], expected, rtol=1e-6)
    assert list(signs[0]) == [1, 1, 0, 0, 0, 0] and list(signs[1]) == [0, 0, 0, 0, 0, -1]
    np.testing.assert_array_equal(over_seeds.in_every_seed(np.array([[1, -1, 0, 1], [1, -1, 0, -1]])), [1, -1, 0, 0])


def test_correlations_are_spearmans_of_each_seed():
    joined = found(RNG.uniform(size=SIZES), RNG.integers(0, 4, (5, 2, 3, 2)) / 4)
    rho, own, true = bias.correlations(joined, CONFIG), bias.scores(joined)[:, :, 0], bias.associations(CONFIG)
    for seed in range(5):
        first = stats.spearmanr(own[seed, ..., 0].ravel(), true[..., 0].ravel()).statistic
        second = stats.spearmanr(own[seed, :, 0, 0], true[:, 0, 0]).statistic
        derivatives = joined["values"][seed, :, over_seeds.MEAN, 0, 0, 0].mean(-1)
        assert rho["mean"][seed] == pytest.approx(stats.spearmanr(derivatives, true[:, 0, 0]).statistic)
        assert rho["strength"][seed] == pytest.approx(first) and rho["first"][seed] == pytest.approx(second)
        expected = stats.spearmanr(own[seed].ravel(), joined["effect"][seed].ravel()).statistic
        assert rho["effect"][seed] == pytest.approx(expected)


def test_claims_follow_the_scores():
    true = np.broadcast_to(bias.associations(CONFIG)[None, :, None], SIZES)
    good = found(0.5 + true / 2 + 1e-4 * RNG.normal(size=SIZES), true[:, :, 0] + 1e-4)
    signs = np.sign(true).astype(int)

    def decisions(joined, signs, config=CONFIG):
        return [claim.verdict.decision for claim in bias.claims(joined, signs, config)]

    assert decisions(good, signs) == [YES, OPEN, YES, YES]  # no errors in so few tests prove little
    many = np.tile(signs, (1, 1, 20, 1, 1))
    assert decisions(good, many)[1] == YES and decisions(good, np.where(many == 0, 1, many))[1] == NO
    reversed_scores = found(0.5 - true / 2, true[:, :, 0])
    assert decisions(reversed_scores, many) == [NO, YES, NO, NO]
    assert decisions(found(good["values"][:, :, 0, ..., 0], true[:, :, 0], usually=0.4), signs) == [OPEN] * 4
    assert decisions(good, signs, dataclasses.replace(CONFIG, seeds=(0,))) == [OPEN] * 4


def test_figures_fill_what_is_significant():
    true = np.broadcast_to(bias.associations(CONFIG)[None, :, None], SIZES)
    joined, signs = found(0.5 + true / 2, true[:, :, 0]), np.sign(true).astype(int)
    figure = bias_figures.strengths_panel(joined, signs, CONFIG).figure
    for label, axis in enumerate(figure.axes[:3]):
        faces = [line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"]
        significant = [signs[0, n, 0, label, which] != 0 for which in (0, 1) for n in (0, 1)]
        assert [face != "white" for face in faces] == significant
    figure = bias_figures.effects_panel(joined, signs, CONFIG).figure
    assert [axis.get_title() for axis in figure.axes] == [f"seed {seed}" for seed in range(5)]


@pytest.mark.slow
def test_the_whole_experiment_with_networks_as_at_the_start(tmp_path, monkeypatch):
    def untrained(data, config, checkpoint_dir, seed):
        module = small_networks.module(config, len(data.classes))
        return Partial(module.apply, module.init(jax.random.key(seed), np.zeros((1, config.side, config.side, 3), "f")))

    monkeypatch.setattr(small_networks, "trained", untrained)
    config = dataclasses.replace(get_config("smoke"), shares=(0.9,))
    report = bias.run(config, Workspace(tmp_path, ""))
    assert report.numbers and [claim.verdict.decision for claim in report.claims] == [OPEN] * 4
    assert [panel.name for panel in report.panels] == ["strengths", "truth", "examples"]
