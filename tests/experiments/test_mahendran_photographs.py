"""Numbers and claims of Mahendran & Vedaldi 2016: pre-images of photographs, and caricatures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.mahendran2015 import caricature as caricature_config
from configs.mahendran2015 import photographs as photographs_config
from experiments.lib import measures, preimages
from experiments.mahendran2015 import caricature, photographs, streams
from xai_jax import inversion, models, network
from xai_jax.units.receptive_field import receptive_field

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def subject():
    digits = models.load("digits")
    return preimages.from_images(digits, RNG.integers(0, 256, (3, 8, 8, 1), np.uint8), (77.8,))


def probabilities(subject, x):
    return special.softmax(np.asarray(subject.model.net(subject.inputs(x)), float), 1)


def test_predictions_include_the_probability_of_the_photographs_class(subject):
    x = jnp.asarray(RNG.normal(0, 90, (3, 8, 8, 1)).astype(np.float32))
    own, expected = probabilities(subject, subject.images), probabilities(subject, x)
    top, confidence, probability = photographs.predictions(subject, x).values()
    np.testing.assert_array_equal(top, expected.argmax(1))
    np.testing.assert_allclose(confidence, expected.max(1), rtol=1e-4)
    np.testing.assert_allclose(probability, expected[np.arange(3), own.argmax(1)], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("config", [photographs_config, caricature_config])
@pytest.mark.parametrize("tier", ["smoke", "default", "paper"])
def test_strides_are_those_of_the_layers(config, tier):
    """Layers that see all pixels at once have the stride of the last map below."""
    config = config.get_config(tier)
    x, expected = jax.ShapeDtypeStruct((1, config.side, config.side, len(config.mean)), jnp.float32), 1
    for layer, stride in zip(config.layers, config.strides, strict=True):
        module, variables, _ = models.abstract(photographs.network_of(layer, config))
        net = jax.tree_util.Partial(module.apply, variables)
        if len(network.layer_names(net, x)[layer].shape) == 4:
            expected = receptive_field(net, layer, x).stride[0]
            assert stride == expected, layer
        else:
            assert stride >= expected, layer


def test_a_layer_is_inverted_and_measured(subject):
    form = inversion.IJCV(weight=100.0, total_variation=0.001, steps=(20, 5))
    found = photographs.inverted(subject, subject, "relu1", form, 0)
    represent, x = subject.represent("relu1"), found["images"]
    target, features = np.asarray(represent(subject.images)), np.asarray(represent(x))
    expected = np.sqrt(((features - target) ** 2).sum((1, 2, 3)) / (target**2).sum((1, 2, 3)))
    np.testing.assert_allclose(found["error"], expected, rtol=1e-3)
    correlations = measures.correlations(np.asarray(subject.images), x)
    np.testing.assert_allclose(found["alike"], correlations)  # lint: keep
    np.testing.assert_array_equal(found["answer"], probabilities(subject, x).argmax(1))  # lint: keep


def test_inner_layers_have_fewer_images_and_the_last_is_the_classifiers():
    config = dataclasses.replace(photographs_config.get_config("smoke"), classifier="digits", count=3, inner=2)
    subject, classifier, data = photographs.load(config)
    assert len(data.images) == 3 and subject.model is not classifier.model
    pairs = [photographs.of_layer(layer, subject, classifier, config) for layer in config.layers]
    assert [len(own.images) for own, _ in pairs] == [len(other.images) for _, other in pairs] == [3, 2, 3]
    assert [own.model is classifier.model for own, _ in pairs] == [False, False, True]


def test_measures_that_a_photograph_lacks_are_left_out_of_the_tests():
    similar = {"a": np.full(8, 0.95), "b": np.array([0.8, 0.7]), "c": np.array([0.5, 0.4]), "logits": np.full(8, 0.6)}
    found = {layer: {"alike": each, "same": np.ones(8)} for layer, each in similar.items()}  # lint: keep
    expected = np.full(8, np.nan)
    expected[:2] = 0.8, 0.7
    np.testing.assert_array_equal(photographs.stacked(found, "alike")[:, 1], expected)  # lint: keep
    (claim, _) = photographs.claims_of(found, 100.0, "efficientnet_lite0")
    assert claim.verdict.decision == "supported" and "0.45 in c" in claim.measured
    assert "n = 8" in claim.verdict.text and "n = 2" in claim.verdict.text


def test_long_class_names_are_shortened():
    assert photographs.prediction_label("espresso", 0.944) == "espresso: 0.94"
    assert photographs.prediction_label("a name of more than twenty letters", 0.05) == "a name of more tha…: 0.05"


@pytest.mark.parametrize(
    "correlations, same, decisions",
    [
        ((0.95, 0.5, 0.1), 5, ["supported", "supported"]),
        ((0.8, 0.5, 0.1), 4, ["inconclusive", "inconclusive"]),
        ((0.95, 0.96, 0.99), 0, ["not supported", "not supported"]),
        ((0.95, 0.99, 0.95), 3, ["inconclusive", "inconclusive"]),
    ],
)
def test_claims_about_preimages_follow_correlations_and_classes(correlations, same, decisions):
    found = {
        layer: {
            "error": np.full(5, 0.1),
            "alike": value + RNG.normal(0, 1e-3, 5),  # lint: keep
            "same": np.arange(5) < same,
            "probability": np.full(5, 0.3),
        }
        for layer, value in zip("abc", correlations, strict=True)
    }
    assert [claim.verdict.decision for claim in photographs.claims_of(found, 100.0)] == decisions
    numbers = {number.name: number.value for number in photographs.numbers_of(found, 100.0)}
    assert numbers["same class, c, C = 100"] == pytest.approx(same / 5)
    assert numbers["relative error, a, C = 100"] == pytest.approx(0.1)


def test_added_patterns_are_orthogonal_to_all_mixtures_of_the_photographs_colours():
    image, pattern = RNG.normal(size=(2, 6, 5, 3))
    design = np.concatenate([image.reshape(30, 3), np.ones((30, 1))], 1)
    pattern = pattern - (design @ np.linalg.pinv(design) @ pattern.reshape(30, 3)).reshape(pattern.shape)
    mixed = image @ RNG.normal(size=(3, 3)) + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(caricature.added_pattern(image, mixed + pattern), pattern, atol=1e-9)
    np.testing.assert_allclose(caricature.added_pattern(image, mixed), 0, atol=1e-9)


def test_a_layer_is_amplified_and_measured(subject, monkeypatch):
    monkeypatch.setattr(caricature, "BATCH", 2)
    form = caricature.forms_of(dataclasses.replace(caricature_config.get_config("smoke"), steps=20))["relu2"]
    assert (form.weight, form.jitter, form.steps[0], form.total_variation) == (100, 1, 20, 0.001)
    found = caricature.amplified(subject, subject, "relu2", form, 0)
    represent, images, x = subject.represent("relu2"), np.asarray(subject.images), np.asarray(found["images"])
    target, features = np.asarray(represent(images)), np.asarray(represent(x))
    expected = (target * features).sum((1, 2, 3)) / (target**2).sum((1, 2, 3))
    np.testing.assert_allclose(found["product"], expected, rtol=1e-3)
    assert (expected > 1.05).all()
    patterns = map(caricature.added_pattern, images, x)
    np.testing.assert_allclose(found["frequency"], [streams.frequency(each, each) for each in patterns])
    np.testing.assert_allclose(found["alike"], measures.correlations(images, x))  # lint: keep
    assert found["probability"].shape == (3,)


def test_images_are_jittered_by_a_quarter_of_the_stride():
    forms = caricature.forms_of(caricature_config.get_config("default"))
    assert [form.jitter for form in forms.values()] == [1, 1, 1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    "product, frequency, after, decisions",
    [
        ((1.5, 2.0, 3.0), (0.3, 0.2, 0.1), 0.9, ["supported"] * 3),
        ((1.5, 0.9, 3.0), (0.1, 0.2, 0.3), 0.1, ["not supported"] * 3),
        ((1.5, 1.1, 3.0), (0.2, 0.3, 0.2), 0.5, ["supported", "inconclusive", "not supported"]),
    ],
)
def test_claims_about_caricatures_follow_layers_and_predictions(product, frequency, after, decisions):
    found = {
        layer: {
            "product": np.full(5, p),
            "alike": np.full(5, 0.8),  # lint: keep
            "frequency": f + RNG.normal(0, 1e-3, 5),
            "probability": np.full(5, after),
        }
        for layer, p, f in zip("abc", product, frequency, strict=True)
    }
    before = {"probability": np.full(5, 0.5)}
    assert [claim.verdict.decision for claim in caricature.claims(before, found)] == decisions
    numbers = {number.name: number.value for number in caricature.numbers(before, found)}
    assert numbers["inner product of features as a multiple of the photograph's, b"] == pytest.approx(product[1])
