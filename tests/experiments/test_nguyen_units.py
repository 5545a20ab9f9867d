"""The numbers behind preferred inputs of hidden units, facets, pairs of units and prototypes, on small arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from configs.nguyen2016 import combine as combine_config
from configs.nguyen2016 import facets as facets_config
from configs.nguyen2016 import hidden as hidden_config
from configs.nguyen2016 import montavon as montavon_config
from experiments.lib import evaluation_networks, generator_codes, measures, runner, top_activations
from experiments.nguyen2016 import combine, facets, hidden, montavon
from xai_jax import dgn_am, network, targets
from xai_jax.data.datasets import InMemory
from xai_jax.models import LoadedModel
from xai_jax.models.generators import LoadedGenerator
from xai_jax.models.input_scaling import Input
from xai_jax.synthesis.dgn_am import DGN, Montavon

RNG = np.random.default_rng(0)
BASIS, WEIGHTS = (jnp.asarray(RNG.normal(size=s).astype("f")) for s in ((5, 4, 4, 1), (16, 3)))


def net(weights, x, relu=jax.nn.relu, tap=network.keep):
    flat = tap("flat", x.reshape(len(x), -1))
    return tap("logits", tap("map", x * 3.0).reshape(flat.shape) @ weights)


def mix(basis, z):
    return jnp.tensordot(z, basis, 1) / 4 + 0.5


def encode(x):
    return x.reshape(len(x), -1)[:, :5]


MODEL = LoadedModel(Partial(net, WEIGHTS), Input(4, 1.0, (0.0,), (255.0,)), "abc", None, {})
GENERATOR = LoadedGenerator(Partial(mix, BASIS), Partial(encode), jnp.full(5, 0.7), "small", "flat")
CUT = GENERATOR._replace(generate=dgn_am.clip_images(GENERATOR.generate, *generator_codes.input_range(MODEL)))


def test_images_have_whole_numbers_between_black_and_white():
    images = RNG.uniform(-0.5, 1.5, (2, 4, 4, 1)).astype("f")
    expected = np.minimum(np.maximum(np.round(images * 255), 0), 255) / 255
    np.testing.assert_allclose(generator_codes.quantised(MODEL, jnp.asarray(images)), expected, atol=1e-6)
    np.testing.assert_allclose(generator_codes.input_range(MODEL), [[0], [1]], atol=1e-6)


def test_measures_of_codes_are_those_of_rounded_images():
    classes, form = np.array([0, 1, 2, 1]), DGN(learning_rate=0.1, steps=7)
    starts = generator_codes.initial_codes(GENERATOR, 4, 3)
    found = generator_codes.maximise(GENERATOR, MODEL, targets.logit(classes), starts, form, 2)
    last = dgn_am.maximise(GENERATOR.generate, MODEL.net, targets.logit(classes), starts, form, GENERATOR.upper).x
    pictures = np.round(np.clip(mix(BASIS, last), 0, 1) * 255) / 255
    np.testing.assert_allclose(found["images"], pictures, atol=1.1 / 255)  # a step of rounding either way
    np.testing.assert_allclose(found["logits"], 3 * found["images"].reshape(4, -1) @ np.asarray(WEIGHTS), rtol=1e-4)
    odds = np.exp(found["logits"] - found["logits"].max(1, keepdims=True))
    expected = (odds / odds.sum(1, keepdims=True))[np.arange(4), classes]
    np.testing.assert_allclose(generator_codes.confidence(found["logits"], classes), expected, rtol=1e-4)
    np.testing.assert_allclose(generator_codes.medians(np.arange(4.0), classes), [0, 2, 2])


def test_the_first_images_of_each_class_are_members():
    data = InMemory(np.zeros((7, 2, 2, 1), np.uint8), np.array([2, 0, 1, 1, 0, 0, 2]), "abc")
    assert generator_codes.first_of_each_class(data, (2, 0), 2) == [[0, 6], [1, 4]]
    with pytest.raises(runner.UserError, match="Expected 3 images of each class, got 2"):
        generator_codes.first_of_each_class(data, (0, 1), 3)


def test_activations_are_shares_of_natural_maxima_of_living_units():
    activations = np.array([[3.0, 9, 1], [5, 5, 5], [8, 0, 2.0]])  # the second unit is dead
    natural = np.array([2.0, 0, 4])
    found = hidden.measure(activations[[0, 2]], natural, np.array([0, 2]))
    np.testing.assert_allclose(found["reached"], [1.5, 0.5])
    np.testing.assert_array_equal(found["selective"], [True, False])
    found = hidden.measure(activations[[2]], natural, np.array([2]))  # one of the units was chosen
    assert (found["reached"], found["selective"], found["chance"]) == ([0.5], [False], 0.5)


def test_units_are_chosen_among_those_that_some_image_activates():
    config = dataclasses.replace(hidden_config.get_config("smoke"), layers=("a", "b"), units=3)
    maxima = np.array([1.0, 0, 2, 3, -1, 4, 5, 6])
    first, second = (hidden.chosen_units(maxima, layer, config).tolist() for layer in config.layers)
    assert len({*first}) == 3 and {*first} <= {0, 2, 3, 5, 6, 7} and first == sorted(first) != second
    assert hidden.chosen_units(maxima, "a", dataclasses.replace(config, units=0)).tolist() == [0, 2, 3, 5, 6, 7]


def test_the_unit_of_a_channel_is_in_the_middle_of_its_map():
    assert top_activations.unit("digits", "pool1") == (16, (2, 2))
    assert top_activations.unit("digits", "logits") == (10, None)


def test_preferred_inputs_activate_their_own_units(monkeypatch):
    monkeypatch.setattr(hidden, "unit", lambda name, layer: (3, None) if layer == "logits" else (1, (2, 1)))
    config = dataclasses.replace(hidden_config.get_config("smoke"), batch_size=3, learning_rate=0.2, steps=10)
    found = hidden.preferred_inputs(CUT, MODEL, "logits", np.arange(3), config)
    np.testing.assert_allclose(found["activations"], net(WEIGHTS, found["images"]), rtol=1e-4)
    assert (np.diag(found["activations"]) == found["activations"].max(0)).all()
    found = hidden.preferred_inputs(CUT, MODEL, "logits", np.array([2, 1]), config)
    assert found["activations"].shape == (2, 3) and found["activations"][:, [2, 1]].argmax(0).tolist() == [0, 1]
    found = hidden.preferred_inputs(CUT, MODEL, "map", np.arange(1), config)
    np.testing.assert_allclose(found["activations"], 3 * found["images"][:, 2, 1], rtol=1e-4)


def test_similarity_ranks_the_own_top_images_among_others():
    shown, top = np.array([[0.0, 0], [5, 0], [9, 0]]), np.array([[1.0, 0], [9, 0], [6, 0]])
    np.testing.assert_allclose(hidden.farther_fraction(shown, top), [1, 0, 0.5])


YES, NO, OPEN = "supported", "not supported", "inconclusive"


def decisions(numbers, claims):
    assert all(number.value is not None for number in numbers)
    return [claim.verdict.decision for claim in claims]


def test_claims_about_hidden_units_concern_most_of_every_layer():
    config = hidden_config.get_config("default")
    yes, no = np.ones(10, bool), np.zeros(10, bool)
    found = {n: {"reached": np.full(10, 1.5), "selective": yes} for n in ("conv", "fc8")}
    assert decisions(*hidden.findings(found, {"fc8": np.full(10, 0.9)}, config)) == [YES, YES, YES]
    found["conv"] = {"reached": np.linspace(0.5, 1.5, 10), "selective": no}
    assert decisions(*hidden.findings(found, {"fc8": np.full(10, 0.1)}, config)) == [OPEN, NO, NO]
    assert decisions(*hidden.findings(found, {"fc8": np.linspace(0.1, 0.9, 10)}, config))[2] == OPEN
    smoke = hidden_config.get_config("smoke")
    assert decisions(*hidden.findings(found, {"fc8": np.full(10, 0.9)}, smoke))[2] == OPEN


def test_starts_are_codes_of_images_and_means_of_several(monkeypatch):
    images = RNG.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
    data = InMemory(images, np.repeat([0, 1], 20), "ab")
    monkeypatch.setattr(facets.datasets, "load", lambda *_: data)
    config = dataclasses.replace(facets_config.get_config("smoke"), classes=(1, 0), pool=20, facets=3, averaged=4)
    found = facets.initial_codes(GENERATOR, MODEL, config)
    assert found["shown"].shape == (6, 4, 4, 1) and found["average"].shape == (6, 5)
    np.testing.assert_allclose(found["image"], encode(found["shown"]), rtol=1e-5)
    x = images / np.float32(255)
    for row, (shown, average) in enumerate(zip(found["shown"], found["average"], strict=True)):
        own = encode(x[20:] if row < 3 else x[:20])
        assert (abs(own - encode(shown[None])).max(1) < 1e-6).any()
        assert (average >= own.min(0) - 1e-6).all() and (average <= own.max(0) + 1e-6).all()


def test_images_are_compared_with_natural_ones_of_their_class():
    images, real = (RNG.integers(0, 256, (6, 4, 4, 1)) / np.float32(255) for _ in range(2))
    images[[0, 4]] = real[[0, 4]]
    before = real[[1, 0, 2, 3, 4, 5]]
    classes = np.array([2, 2, 2, 0, 0, 0])
    evaluator = evaluation_networks.EvaluationNetwork(
        MODEL, jnp.asarray(RNG.uniform(size=(20, 4, 4, 1)), jnp.float32), "flat", 0
    )
    found = facets.compared(evaluator, MODEL, {"shown": real}, {"images": images, "before": before}, classes)
    a, b = images.reshape(6, -1), real.reshape(6, -1)
    first = measures.relative_distances(a[None, :3], b[:3])
    np.testing.assert_allclose(
        found["spread"], [first[0], measures.relative_distances(a[None, 3:], b[3:])[0]], rtol=1e-4
    )
    nearest = [np.argmin([np.sum((a[i] - b[j]) ** 2) for j in range(i // 3 * 3, i // 3 * 3 + 3)]) for i in range(6)]
    np.testing.assert_array_equal(found["nearest"], nearest == np.tile(np.arange(3), 2))
    np.testing.assert_array_equal(found["nearest before"], [False, False, True, True, True, True])
    np.testing.assert_allclose(found["spread before"], 1, rtol=1e-5)
    assert found["correlation"][0] == pytest.approx(1, abs=1e-5) and found["nearest"][[0, 4]].all()


def test_claims_about_facets():
    config = facets_config.get_config("default")
    classes = np.repeat(np.arange(10), 5)

    def results(spread, nearest, confidence, agrees):
        found = {"confidence": np.full(50, confidence), "confidence before": np.full(50, 0.5)}
        measured = {"spread": spread + np.linspace(0, 0.1, 10), "nearest": np.arange(50) < nearest}
        measured |= {"spread before": np.ones(10), "nearest before": np.ones(50), "correlation": np.zeros(50)}
        measured |= {"agrees": np.repeat(np.arange(10) < agrees, 5), "distance": np.ones(50)}
        return found, measured | {"natural distance": np.ones(9), "frechet": 1.0, "natural frechet": 1.0}

    kinds = {"noise": results(0.3, 0, 1.0, 10), "average": results(0.3, 0, 1.0, 10)}
    for image, expected in (
        (results(0.8, 45, 0.999, 9), [YES, YES, YES]),
        (results(0.1, 5, 0.98, 10), [NO, NO, NO]),
        (results(0.3, 25, 0.999, 8), [OPEN, OPEN, OPEN]),
    ):
        found, evaluated = ({k: v[n] for k, v in (kinds | {"image": image}).items()} for n in (0, 1))
        claims = facets.claims(found, evaluated, classes, config)
        assert decisions(facets.numbers(found, evaluated), claims) == expected


def test_pairs_maximise_the_sum_and_blends_are_means_of_single_images():
    config = dataclasses.replace(
        combine_config.get_config("smoke"), classes=(2, 0), batch_size=6, learning_rate=0.1, steps=4
    )
    found = combine.preferred(CUT, MODEL, "logit", config)
    assert found["images"].shape == (3, 2, 4, 4, 1)
    starts, form = generator_codes.initial_codes(CUT, 6, config.seed), DGN(learning_rate=0.1, steps=config.steps)
    both = generator_codes.maximise(CUT, MODEL, targets.logit(2) + targets.logit(0), starts[2:4], form, 2)
    np.testing.assert_allclose(found["images"][1], both["images"], atol=1.1 / 255)
    alone = generator_codes.maximise(CUT, MODEL, targets.logit(2), starts[:2], form, 2)
    np.testing.assert_allclose(found["images"][0], alone["images"], atol=1.1 / 255)
    seen = combine.predictions(MODEL, MODEL, found["images"], config)
    np.testing.assert_allclose(seen["evaluated"], found["logits"], rtol=1e-3, atol=1e-3)
    blend = generator_codes.quantised(MODEL, jnp.asarray(found["images"][[0, 2]].mean(0)))
    np.testing.assert_allclose(seen["blended"][1], net(WEIGHTS, blend), rtol=1e-4)


def test_forms_have_their_own_generators_and_starts(monkeypatch):
    monkeypatch.setattr(montavon.models, "abstract", lambda name: (None, None, (4, 4, 1)))
    classes, mean, config = np.array([0, 2]), np.arange(5, dtype="f") / 9, montavon_config.get_config("default")

    def problem(name):
        return montavon.problem(CUT, MODEL, name, 0.3, mean, classes, config)

    z = np.random.default_rng(0).normal(size=(2, 5)).astype("f")  # not RNG's, which depends on the tests before
    images = np.asarray(CUT.generate(z))
    pixels, start, target, form = problem("pixels")
    assert start.shape == (2, 4, 4, 1) and 0 <= start.min() and start.max() <= 1 and start.std() > 0.2
    np.testing.assert_allclose(pixels.generate(3 * images - 1), np.clip(3 * images - 1, 0, 1), atol=1e-6)
    assert form == Montavon(config.pixel_learning_rate, config.steps, 0.3)
    logits, k = np.asarray(net(WEIGHTS, images), np.float64), np.arange(2)
    expected = logits[k, classes] - np.log(np.exp(logits).sum(1))
    np.testing.assert_allclose(target(jnp.asarray(logits, jnp.float32), {}), expected, rtol=1e-4)
    np.testing.assert_allclose(problem("codes")[0].generate(z), images)
    np.testing.assert_allclose(problem("codes less their mean")[0].generate(z - mean), images, atol=1e-5)
    bounded = problem("DGN")
    assert isinstance(bounded[3], DGN) and bounded[0] is CUT
    np.testing.assert_array_equal(bounded[1], problem("codes")[1])


def test_means_are_of_other_images_for_each_start(monkeypatch):
    images = RNG.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)
    monkeypatch.setattr(montavon.datasets, "load", lambda *_: InMemory(images, np.arange(30) % 2, "ab"))
    config = dataclasses.replace(montavon_config.get_config("smoke"), classes=(1, 0), starts=2, averaged=5)
    found = montavon.class_means(GENERATOR, MODEL, config)
    pixels = [images[1:11:2], images[0:10:2], images[11:21:2], images[10:20:2]]  # start by start
    expected = [np.round(each.mean(0)) / 255 for each in pixels]
    np.testing.assert_allclose(found["images"], expected, atol=0.51 / 255)
    firsts = np.concatenate([images[1:11:2], images[0:10:2]]) / np.float32(255)
    np.testing.assert_allclose(found["code"], encode(firsts).mean(0), rtol=1e-5)


def test_forms_are_compared_each_at_its_best_penalty():
    config, rows = montavon_config.get_config("default"), np.tile(np.arange(13), 3)

    def evaluated(agrees, distance, frechet):
        return {"agrees": np.full(39, agrees), "distance": distance + rows / 100, "frechet": frechet}

    table = {("pixels", 0.0): evaluated(0.5, 2.0, 9.0), ("pixels", 1.0): evaluated(0.8, 3.0, 5.0)}
    table |= {("codes", 0.1): evaluated(0.9, 2.5, 4.0), ("codes", 1.0): evaluated(0.2, 1.9, 8.0)}
    np.testing.assert_allclose(montavon.best(table, "pixels", "agrees", rows), 0.8)

    def claim(first, second, config=config):
        return montavon.realism_claim("c", "s", first, second, table, config)

    better = claim("codes", "pixels")
    assert better.verdict.decision == YES and "0.90 and 0.80" in better.measured and "4.00 and 5.00" in better.measured
    assert "nearest natural image" in better.measured
    assert claim("pixels", "codes").verdict.decision == NO
    dependent = dataclasses.replace(config, evaluation_network="photo_maxpool")  # the explained network itself
    assert claim("codes", "pixels", dependent).verdict.decision == OPEN


def test_prototypes_are_compared_with_class_means():
    config, rows = montavon_config.get_config("default"), np.tile(np.arange(13), 3)
    table = {"agrees": np.ones(39), "distance": np.ones(39), "natural distance": np.ones(9)}
    table |= {"correlation": np.zeros(39), "frechet": 1.0, "natural frechet": 1.0}
    evaluated = dict.fromkeys(montavon.jobs(config), table)
    found = {job: {"confidence": 0.5 + rows / 100} for job in evaluated}
    assert decisions(*montavon.findings(found, evaluated, config)) == [OPEN, OPEN, OPEN]
    found["class means", 0.0] = {"confidence": 0.2 + rows / 50}
    assert decisions(*montavon.findings(found, evaluated, config))[1] == YES
