"""The numbers behind Mahendran & Vedaldi's photographs and caricatures: answers, trends, strokes, claims."""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from configs.mahendran2015 import caricature as caricature_config
from configs.mahendran2015 import photographs as photographs_config
from experiments.lib import generator_codes, measures, preimages, runner
from experiments.mahendran2015 import caricature, photographs, streams
from xai_jax import inversion, models, network
from xai_jax.units.receptive_field import receptive_field

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def subject():
    digits = models.load("digits")
    return preimages.from_images(digits, RNG.integers(0, 256, (3, 8, 8, 1), np.uint8), (77.8,))


def probabilities(subject, x):
    logits = np.asarray(subject.model.net(subject.inputs(x)), float)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_answers_are_told_beside_the_photographs_class(subject):
    x = jnp.asarray(RNG.normal(0, 90, (3, 8, 8, 1)).astype(np.float32))
    own, found = probabilities(subject, subject.images), probabilities(subject, x)
    answers = photographs.answers(subject, x)
    np.testing.assert_array_equal(answers["answer"], found.argmax(1))
    np.testing.assert_allclose(answers["sure"], found.max(1), rtol=1e-4)
    expected = [found[n, own[n].argmax()] for n in range(3)]
    np.testing.assert_allclose(answers["probability"], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("config", [photographs_config, caricature_config])
@pytest.mark.parametrize("tier", ["smoke", "default", "paper"])
def test_strides_are_those_of_the_layers(config, tier):
    """Layers that see all pixels at once have the stride of the last map below."""
    config = config.get_config(tier)
    module, variables, shape = models.abstract(config.network)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    net, expected = jax.tree_util.Partial(module.apply, variables), 1
    for layer, stride in zip(config.layers, config.strides, strict=True):
        if len(network.layer_names(net, x)[layer].shape) == 4:
            expected = receptive_field(net, layer, x).stride[0]
            assert stride == expected, layer
        else:
            assert stride >= expected, layer


def test_a_layer_is_inverted_and_measured(subject):
    config = photographs_config.get_config("smoke")
    form = inversion.IJCV(weight=100.0, total_variation=0.001, steps=(20, 5))
    found = photographs.one(subject, "relu1", form, config.seed)
    assert found["images"].shape == (3, 8, 8, 1)
    represent = subject.represent("relu1")
    wanted, here = np.asarray(represent(subject.images)), np.asarray(represent(found["images"]))
    expected = np.sqrt(((here - wanted) ** 2).sum((1, 2, 3)) / (wanted**2).sum((1, 2, 3)))
    np.testing.assert_allclose(found["error"], expected, rtol=1e-3)
    np.testing.assert_allclose(found["alike"], measures.correlations(np.asarray(subject.images), found["images"]))
    np.testing.assert_array_equal(found["answer"], probabilities(subject, found["images"]).argmax(1))


def test_a_fall_with_depth_is_told_from_a_rise_and_from_neither():
    values = np.linspace(1, 0, 5) + RNG.normal(0, 0.05, (4, 5))
    assert photographs.falls(values)[0] is True and photographs.falls(-values)[0] is False
    mixed = np.concatenate([values, -values])
    assert photographs.falls(mixed)[0] is None
    assert photographs.falls(values[:1])[0] is None and photographs.falls(values[:, :2])[0] is None


def test_a_fall_is_judged_by_all_orders_that_the_layers_could_have():
    values, places = RNG.permuted(np.tile([3.0, 5.0, 7.0, 9.0], (2, 1)), axis=1), np.arange(4)
    statistic = [(places * order).sum() for order in itertools.permutations(range(4))]
    found = (places * values.argsort(1).argsort(1)).sum()
    sums = [a + b for a, b in itertools.product(statistic, statistic)]
    down, up = np.mean([each <= found for each in sums]), np.mean([each >= found for each in sums])
    assert photographs.falls(values)[1] == f"Page's test: p = {down:.2g} for a fall, {up:.2g} for a rise"


@pytest.mark.parametrize("yes, count, held", [(5, 5, True), (4, 5, None), (0, 5, False), (4, 4, None), (15, 20, True)])
def test_most_are_told_by_a_binomial_test(yes, count, held):
    found, words = generator_codes.mostly(np.arange(count) < yes)
    assert found is held and words.startswith(f"{yes} of {count};")


def test_long_answers_are_cut_under_their_panel():
    axes = Figure().subplots(1, 2, squeeze=False)
    photographs.write_below(axes, [[("espresso", 0.944), ("a name of more than twenty letters", 0.05)]])
    assert [axis.get_xlabel() for axis in axes[0]] == ["espresso: 0.94", "a name of more tha…: 0.05"]


def inverted(alike, same):
    config = dataclasses.replace(photographs_config.get_config("default"), layers=tuple("abc"), strides=(1, 1, 1))
    found = {
        (layer, 100.0): {
            "error": np.full(5, 0.1),
            "alike": value + RNG.normal(0, 1e-3, 5),
            "same": np.arange(5) < same,
            "probability": np.full(5, 0.3),
        }
        for layer, value in zip("abc", alike, strict=True)
    }
    run = runner.Run(Path(), "")
    photographs.report(run, found, 100.0, config)
    return run


@pytest.mark.parametrize(
    "alike, same, held",
    [
        ((0.95, 0.5, 0.1), 5, [True, True]),
        ((0.8, 0.5, 0.1), 4, [False, None]),
        ((0.95, 0.96, 0.99), 0, [False, False]),
        ((0.95, 0.99, 0.95), 3, [None, None]),
    ],
)
def test_claims_about_preimages_follow_likeness_and_answers(alike, same, held):
    run = inverted(alike, same)
    assert [claim.held for claim in run.claims] == held
    numbers = {number.name: number.value for number in run.numbers}
    assert numbers["same class, c, C = 100"] == pytest.approx(same / 5)
    assert numbers["relative error, a, C = 100"] == pytest.approx(0.1)


def test_what_is_added_is_beside_all_mixtures_of_the_photographs_colours():
    image, strokes = RNG.normal(size=(2, 6, 5, 3))
    design = np.concatenate([image.reshape(30, 3), np.ones((30, 1))], 1)
    strokes = strokes - (design @ np.linalg.pinv(design) @ strokes.reshape(30, 3)).reshape(strokes.shape)
    mixed = image @ RNG.normal(size=(3, 3)) + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(caricature.added(image, mixed + strokes), strokes, atol=1e-9)
    np.testing.assert_allclose(caricature.added(image, mixed), 0, atol=1e-9)


def test_a_layer_is_exaggerated_and_measured(subject, monkeypatch):
    monkeypatch.setattr(caricature, "BATCH", 2)
    config = dataclasses.replace(caricature_config.get_config("smoke"), steps=20)
    form = caricature.forms_of(config)["relu2"]
    assert (form.weight, form.jitter, form.steps[0], form.total_variation) == (100, 1, 20, 0.001)
    found = caricature.one(subject, "relu2", form, 0)
    represent, images = subject.represent("relu2"), np.asarray(subject.images)
    wanted, here = np.asarray(represent(images)), np.asarray(represent(found["images"]))
    expected = (wanted * here).sum((1, 2, 3)) / (wanted**2).sum((1, 2, 3))
    np.testing.assert_allclose(found["product"], expected, rtol=1e-3)
    assert (expected > 1.05).all()
    strokes = [caricature.added(*pair) for pair in zip(images, np.asarray(found["images"]), strict=True)]
    np.testing.assert_allclose(found["frequency"], [streams.frequency(s, s) for s in strokes])
    np.testing.assert_allclose(found["alike"], measures.correlations(images, np.asarray(found["images"])))
    assert found["probability"].shape == (3,)


def test_images_are_jittered_by_a_quarter_of_the_stride():
    forms = caricature.forms_of(caricature_config.get_config("default"))
    assert [form.jitter for form in forms.values()] == [1, 4, 8, 8]


@pytest.mark.parametrize(
    "product, fineness, after, held",
    [
        ((1.5, 2.0, 3.0), (0.3, 0.2, 0.1), 0.9, [True, True, True]),
        ((1.5, 0.9, 3.0), (0.1, 0.2, 0.3), 0.1, [False, False, False]),
        ((1.5, 1.1, 3.0), (0.2, 0.3, 0.2), 0.5, [True, None, False]),
    ],
)
def test_claims_about_caricatures_follow_what_layers_and_the_network_see(product, fineness, after, held):
    config = dataclasses.replace(caricature_config.get_config("default"), layers=tuple("abc"), strides=(1, 1, 1))
    found = {
        layer: {
            "product": np.full(5, p),
            "alike": np.full(5, 0.8),
            "frequency": f + RNG.normal(0, 1e-3, 5),
            "probability": np.full(5, after),
        }
        for layer, p, f in zip("abc", product, fineness, strict=True)
    }
    run = runner.Run(Path(), "")
    caricature.report(run, {"probability": np.full(5, 0.5)}, found, config)
    assert [claim.held for claim in run.claims] == held
    numbers = {number.name: number.value for number in run.numbers}
    assert numbers["inner product of features as a multiple of the photograph's, b"] == pytest.approx(product[1])
