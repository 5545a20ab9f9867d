"""The numbers behind the figures of fooling images: what is measured, and what claims follow."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from configs.nguyen2015 import cppn, direct, gradient, retrain
from experiments.lib import evaluation_networks, runner
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.nguyen2015 import evolution, fooling_scores
from experiments.nguyen2015 import gradient as ascent
from experiments.nguyen2015 import retrain as rounds
from xai_jax import models
from xai_jax.data import datasets
from xai_jax.data.datasets import InMemory

RNG = np.random.default_rng(0)
OTHER = SimpleNamespace(network="digits", evaluation_network="another")


def judged(agrees=0, count=30, distance=3.0, middle=3.0, frechet=9.0):
    """Judgements of `count` images beside 99 natural ones, with distances around 1."""
    natural = np.linspace(0.5, 1.5, 99)
    return {
        "agrees": np.arange(count) < agrees,
        "known": np.arange(10) < 9,
        "distance": np.full(count, distance),
        "natural distance": natural,
        "middle distance": np.full(count, middle),
        "middle natural distance": natural,
        "frechet": np.array(frechet),
        "natural frechet": np.array(1.0),
        "middle frechet": np.array(1.0),
        "middle natural frechet": np.array(1.0),
    }


def verdicts(config=OTHER, **changes):
    return [claim.held for claim in fooling_scores.like_nothing(judged(**changes), 10, config)]


@pytest.mark.parametrize(
    "changes, held",
    [
        ({}, [True, True, True, True]),
        ({"agrees": 3}, [None, True, True, True]),  # what chance gives may be chance, or a little more
        ({"agrees": 12}, [False, True, True, True]),
        ({"distance": 1.2}, [True, False, True, True]),
        ({"middle": 1.2}, [True, True, False, True]),
        ({"frechet": 2.9}, [True, True, True, False]),
        ({"count": 4}, [None, None, None, True]),  # four images are too few for most
        ({"config": SimpleNamespace(network="digits", evaluation_network="digits")}, [None] * 4),
    ],
)
def test_images_look_like_nothing_where_a_judge_says_so(changes, held):
    assert verdicts(**changes) == held


def test_agreement_is_tested_against_chance():
    for agrees in range(31):
        more = sum(stats.binom.pmf(k, 30, 0.1) for k in range(agrees, 31))
        less = sum(stats.binom.pmf(k, 30, 0.1) for k in range(agrees + 1))
        assert fooling_scores.unseen(judged(agrees), 10)[0] is (True if less < 0.05 else False if more < 0.05 else None)
    assert "on 3 of 30, on 90 % of natural images" in fooling_scores.unseen(judged(3), 10)[1]


def test_the_median_confidence_is_what_counts():
    assert fooling_scores.sure("", np.array([0.2, 0.99995, 0.99999])).held
    claim = fooling_scores.sure("", np.array([0.2, 0.99985, 0.99999]))
    assert not claim.held and "median 99.9850 %" in claim.measured and "in 1 of 3" in claim.measured


@pytest.mark.parametrize(
    "value, words", [(1.0, "> 99.9999 %"), (0.9999901, "99.9990 %"), (0.9987, "99.9 %"), (0.431, "43.1 %")]
)
def test_no_confidence_is_called_complete(value, words):
    assert fooling_scores.percent(value) == words


def test_images_are_measured_as_they_are_and_as_whole_pixels():
    model = models.load("digits")
    x, classes = RNG.uniform(0, 1, (3, 8, 8, 1)).astype("f"), [4, 4, 1]
    found = fooling_scores.measured(model, x, classes)
    assert found["pixels"].dtype == np.uint8 and found["pixels"].shape == (3, 8, 8, 3)
    for key, shown in (("confidence", x), ("kept", np.float32(np.rint(255 * x) / 255))):
        logits = np.asarray(model.net(shown), np.float64)
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found[key], expected[range(3), classes], rtol=1e-3)
    assert [float(bound[0]) for bound in fooling_scores.bounds(model)] == [0.0, 1.0]


def test_the_judge_compares_in_two_layers_and_knows_most_natural_images():
    config = dataclasses.replace(gradient.get_config("smoke"), natural_images=40)
    judge = evaluation_networks.load(config)
    pixels = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    found = fooling_scores.judgements(judge, pixels, np.arange(5), config)
    for layer, prefix in (("relu2", ""), ("relu1", "middle ")):
        expected = evaluation_networks.evaluate(judge._replace(layer=layer), pixels, np.arange(5))
        for name in ("distance", "natural distance", "frechet", "natural frechet"):
            np.testing.assert_allclose(found[prefix + name], expected[name], rtol=1e-5)
    np.testing.assert_array_equal(fooling_scores.in_middle(found)["distance"], found["middle distance"])
    logits, data = np.asarray(judge.model.net(judge.natural)), datasets.load("digits", "test")
    np.testing.assert_array_equal(found["known"], [logits[i].argmax() == data[i][1] for i in range(40)])


def test_ascent_starts_near_the_mean_image_for_classes_out_of_all():
    np.testing.assert_array_equal(ascent.chosen(10, SimpleNamespace(classes=20)), np.arange(10))
    np.testing.assert_array_equal(ascent.chosen(1000, SimpleNamespace(classes=4)), [0, 333, 666, 999])
    model, natural = models.load("digits"), RNG.integers(0, 256, (7, 8, 8, 1)) / 255
    mean = ascent.mean_image(model, EvaluationNetwork(model, np.float32(natural), "relu2", 0))
    np.testing.assert_allclose(mean, natural.mean(0), atol=1e-5)
    config = dataclasses.replace(gradient.get_config("smoke"), steps=1, most=1e-9, batch_size=2, noise=2.0)
    found = ascent.climbed(model, mean, np.arange(5), config)
    apart = found["pixels"][..., 0] / 1.0 - 255 * natural.mean(0)[..., 0]
    assert 1.6 < apart.std() < 2.4 and found["confidence"].shape == (5,)


def test_generations_are_counted_until_asked_for():
    history = np.full((2, 6, 3), 0.5)
    history[0, 2:, :2], history[1, 3:, :2], history[1, 5:] = 0.99995, 0.99995, 0.99995
    median, every = evolution.reached(history)
    assert (median.value, median.spread) == (2.5, 0.5)
    assert every.value == 5 and "over 1" in every.note  # the first never gets there


@pytest.mark.parametrize("config, values", [(direct, {"mnist": (99.99, "")}), (cppn, {"mnist": (99.99, "")})])
def test_medians_are_taken_over_classes_then_described_over_seeds(config, values):
    number = evolution.median(np.array([[0.1, 0.9, 1.0], [0.0, 0.7, 0.8]]), values, config.get_config("smoke"))
    assert number.value == pytest.approx(80) and number.spread == pytest.approx(10)
    assert (number.paper, number.paper_tag) == (99.99, "M")


def test_a_fooling_class_is_as_large_as_others():
    images, labels = RNG.integers(0, 256, (20, 4, 4, 1)).astype(np.uint8), np.arange(20) % 2
    known = RNG.integers(0, 256, (3, 4, 4, 1)).astype(np.uint8)
    data = rounds.with_fooling(InMemory(images, labels, ("a", "b")), known, 10)
    assert len(data) == 30 and data.classes == ("a", "b", "fooling")
    for index in range(30):
        image, label = data[index]
        own = index < 20
        np.testing.assert_array_equal(image, images[index] if own else known[(index - 20) % 3])
        assert label == (labels[index] if own else 2)


@pytest.mark.parametrize(
    "first, then, held",
    [
        ([0.99999, 0.99998, 0.99997], [0.2, 0.3, 0.25], [False, True]),
        ([0.99999, 0.99998, 0.99997], [0.99999, 0.99997, 0.99998], [True, None]),
        ([0.99, 0.98, 0.97], [0.98, 0.98, 0.97], [None, None]),  # evolution was too short
        ([0.3, 0.2, 0.25], [0.9, 0.8, 0.85], [None, False]),
    ],
)
def test_retraining_is_judged_by_new_images(first, then, held):
    assert [claim.held for claim in rounds.claims(np.array([first, then]).T)] == held


def test_medians_of_rounds_are_over_classes_and_evolutions():
    history = RNG.uniform(0, 1, (2, 3, 4, 5, 7))  # chains, rounds, runs, generations, classes
    expected = [[np.median(history[c, r, :, -1]) for r in range(3)] for c in range(2)]
    np.testing.assert_allclose(rounds.medians({"history": history}), expected)


def test_numbers_of_rounds_say_what_there_is():
    found = {"history": RNG.uniform(0, 1, (2, 3, 4, 5, 7)), "error": np.ones((2, 3)), "caught": np.full((2, 3), 0.5)}
    found["caught"][:, 0] = np.nan  # nothing was taught
    run = runner.Run(Path(), "")
    rounds.report(run, found, retrain.get_config("smoke"))
    named = {number.name: number for number in run.numbers}
    assert named["median confidence, round 1"].paper == 11.7 and named["median confidence, round 2"].paper == 99.99
    assert named["fooling images taught that are known, round 2"].value == 50
    assert "fooling images taught that are known, at first" not in named and len(run.claims) == 2
