"""Fooling images: measures of confidence and realism, retraining, and claims."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from configs.nguyen2015 import cppn, direct, gradient
from experiments.lib import evaluation_networks
from experiments.lib.evaluation_networks import EvaluationNetwork
from experiments.nguyen2015 import evolution, fooling_scores
from experiments.nguyen2015 import gradient as ascent
from experiments.nguyen2015 import retrain as rounds
from xai_jax import models
from xai_jax.data import datasets
from xai_jax.data.datasets import InMemory

RNG = np.random.default_rng(0)
OTHER = SimpleNamespace(network="digits", evaluation_network="another")


def evaluated(agrees=0, count=30, distance=3.0, middle=3.0, frechet=9.0):
    """Realism of `count` images beside 99 natural ones, with distances around 1."""
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


YES, NO, OPEN = "supported", "not supported", "inconclusive"


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, [YES, YES, YES, YES]),
        ({"agrees": 3}, [OPEN, YES, YES, YES]),  # agreement at chance level
        ({"agrees": 12}, [NO, YES, YES, YES]),
        ({"distance": 1.2}, [YES, NO, YES, YES]),
        ({"middle": 1.2}, [YES, YES, NO, YES]),
        ({"frechet": 2.9}, [YES, YES, YES, NO]),
        ({"count": 4}, [OPEN, OPEN, OPEN, YES]),  # too few images for tests
        ({"config": SimpleNamespace(network="digits", evaluation_network="digits")}, [OPEN] * 4),
    ],
)
def test_images_are_unrecognisable_to_an_independent_network(changes, expected):
    config = changes.pop("config", OTHER)
    claims = fooling_scores.realism_claims(evaluated(**changes), 10, config)
    assert [claim.verdict.decision for claim in claims] == expected
    assert (
        "3 of 30; binomial test against 0.1" in fooling_scores.realism_claims(evaluated(3), 10, OTHER)[0].verdict.text
    )


@pytest.mark.parametrize("low, expected", [(1, YES), (5, OPEN), (9, NO)])
def test_most_images_need_the_median_confidence_of_the_abstract(low, expected):
    confidence = np.where(np.arange(10) < low, 0.99985, 0.99995)
    claim = fooling_scores.confidence_claim("", confidence)
    assert claim.verdict.decision == expected and "the lowest 99.9850 %" in claim.measured


@pytest.mark.parametrize(
    "value, text", [(1.0, "> 99.9999 %"), (0.9999901, "99.9990 %"), (0.9987, "99.9 %"), (0.431, "43.1 %")]
)
def test_no_confidence_is_rounded_to_one(value, text):
    assert fooling_scores.percent(value) == text


def test_images_are_measured_as_they_are_and_as_whole_pixels():
    model = models.load("digits")
    x, classes = RNG.uniform(0, 1, (3, 8, 8, 1)).astype("f"), [4, 4, 1]
    found = fooling_scores.measure(model, x, classes)
    assert found["pixels"].dtype == np.uint8 and found["pixels"].shape == (3, 8, 8, 3)
    for key, shown in (("confidence", x), ("kept", np.float32(np.rint(255 * x) / 255))):
        logits = np.asarray(model.net(shown), np.float64)
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found[key], expected[range(3), classes], rtol=1e-3)
    assert [float(bound[0]) for bound in fooling_scores.bounds(model)] == [0.0, 1.0]


def test_realism_is_measured_in_two_layers_beside_accuracy_on_natural_images():
    config = dataclasses.replace(gradient.get_config("smoke"), natural_images=40)
    evaluator = evaluation_networks.load(config)
    pixels = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    found = fooling_scores.evaluate(evaluator, pixels, np.arange(5), config)
    for layer, prefix in (("relu2", ""), ("relu1", "middle ")):
        expected = evaluation_networks.evaluate(evaluator._replace(layer=layer), pixels, np.arange(5))
        for name in ("distance", "natural distance", "frechet", "natural frechet"):
            np.testing.assert_allclose(found[prefix + name], expected[name], rtol=1e-5)
    np.testing.assert_array_equal(fooling_scores.in_middle(found)["distance"], found["middle distance"])
    logits, data = np.asarray(evaluator.model.net(evaluator.natural)), datasets.load("digits", "test")
    np.testing.assert_array_equal(found["known"], [logits[i].argmax() == data[i][1] for i in range(40)])


def test_ascent_starts_near_the_mean_image_for_classes_out_of_all():
    np.testing.assert_array_equal(ascent.chosen_classes(10, SimpleNamespace(classes=20)), np.arange(10))
    np.testing.assert_array_equal(ascent.chosen_classes(1000, SimpleNamespace(classes=4)), [0, 333, 666, 999])
    model, natural = models.load("digits"), RNG.integers(0, 256, (7, 8, 8, 1)) / 255
    mean = ascent.mean_image(model, EvaluationNetwork(model, np.float32(natural), "relu2", 0))
    np.testing.assert_allclose(mean, natural.mean(0), atol=1e-5)
    config = dataclasses.replace(gradient.get_config("smoke"), steps=1, most=1e-9, batch_size=2, noise=2.0)
    found = ascent.ascend(model, mean, np.arange(5), config)
    noise = found["pixels"][..., 0] / 1.0 - 255 * natural.mean(0)[..., 0]
    assert 1.6 < noise.std() < 2.4 and found["confidence"].shape == (5,)


def test_generations_are_counted_until_confidence_is_high():
    history = np.full((2, 6, 3), 0.5)
    history[0, 2:, :2], history[1, 3:, :2], history[1, 5:] = 0.99995, 0.99995, 0.99995
    median, every = evolution.generation_numbers(history)
    assert (median.value, median.spread) == (2.5, 0.5)
    assert every.value == 5 and "over 1" in every.note  # the first never gets there


@pytest.mark.parametrize("config, values", [(direct, {"mnist": (99.99, "")}), (cppn, {"mnist": (99.99, "")})])
def test_medians_over_classes_have_a_spread_over_seeds(config, values):
    number = evolution.median_number(np.array([[0.1, 0.9, 1.0], [0.0, 0.7, 0.8]]), values, config.get_config("smoke"))
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
    "first, then, expected",
    [
        ([0.99999, 0.99998, 0.99997], [0.2, 0.3, 0.25], [NO, YES]),
        ([0.99999, 0.99998, 0.99997], [0.99999, 0.99997, 0.99998], [YES, OPEN]),
        ([0.99, 0.98, 0.97], [0.98, 0.98, 0.97], [OPEN, OPEN]),  # evolution was too short
        ([0.3, 0.2, 0.25], [0.9, 0.8, 0.85], [OPEN, NO]),
    ],
)
def test_claims_about_retraining_are_about_new_images(first, then, expected):
    medians = np.array([first, then]).T
    confidence = np.broadcast_to(medians[..., None, None], (3, 2, 2, 5))  # chains, rounds, runs, classes
    assert [claim.verdict.decision for claim in rounds.claims(confidence)] == expected


def test_medians_of_rounds_are_over_classes_and_evolutions():
    history = RNG.uniform(0, 1, (2, 3, 4, 5, 7))  # chains, rounds, runs, generations, classes
    expected = [[np.median(history[c, r, :, -1]) for r in range(3)] for c in range(2)]
    np.testing.assert_allclose(rounds.medians({"history": history}), expected)


def test_numbers_of_rounds_leave_out_what_is_not_defined():
    found = {"history": RNG.uniform(0, 1, (2, 3, 4, 5, 7)), "error": np.ones((2, 3)), "recall": np.full((2, 3), 0.5)}
    found["recall"][:, 0] = np.nan  # no fooling images yet
    named = {number.name: number for number in rounds.numbers(found)}
    assert named["median confidence, round 1"].paper == 11.7 and named["median confidence, round 2"].paper == 99.99
    assert named["recall of fooling images, round 2"].value == 50
    assert "recall of fooling images, at first" not in named
