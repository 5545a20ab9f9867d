"""Numbers and claims of Mahendran & Vedaldi 2015: units, strengths of priors, correlations, classes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from configs.mahendran2015 import consistency as consistency_config
from configs.mahendran2015 import multiple as multiple_config
from configs.mahendran2015 import receptive_field as field_config
from configs.mahendran2015.layers import get_config
from experiments.lib import measures, preimages
from experiments.mahendran2015 import consistency, layers, multiple, receptive_field, regulariser
from xai_jax import inversion, models, network
from xai_jax.synthesis import optimize
from xai_jax.synthesis.optimize import DivergedError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def subject():
    return preimages.from_images(models.load("digits"), RNG.integers(0, 256, (4, 8, 8, 1), np.uint8), (77.8,))


def test_each_layer_is_one_program_for_all_settings_and_phases(subject):
    """One for each layer: six of the default configuration, where the issue allows eight."""
    config = dataclasses.replace(consistency_config.get_config("smoke"), strides=(8, 16), steps=(2, 3))
    strengths, before = (0.001, 0.01), optimize._step._cache_size()
    for layer, forms in consistency.forms_of(config).items():
        for form in forms:
            consistency.approximated(subject, layer, form, 0)
    assert optimize._step._cache_size() == before + len(config.layers)
    for strength in strengths:
        form = layers.recipe(get_config("smoke"), strength)
        preimages.invert(subject.represent("relu1"), subject.images, form, 4, 0)
    assert optimize._step._cache_size() == before + len(config.layers) + 1
    assert len(consistency_config.get_config("default").layers) <= 8


@pytest.mark.parametrize("name, mean", [("digits", (77.8,)), ("efficientnet_lite0", (123.0, 117.0, 104.0))])
def test_pixels_less_the_mean_become_the_networks_input(name, mean):
    model = models.load(name)
    size = models.abstract(name)[2][0]
    image = RNG.integers(0, 256, (size, size, 3), np.uint8)
    image[...] = image[..., :1]  # grey, for both
    x = image[..., : len(mean)].astype(np.float32) - np.float32(mean)
    np.testing.assert_allclose(model.from_centred(mean)(x), model.preprocess([image])[0], atol=1e-2)


def test_preimages_are_shown_in_their_full_range(subject):
    faint = jnp.asarray(RNG.uniform(-5, 5, (8, 8, 1)).astype(np.float32))
    assert np.ptp(subject.pixels(faint)) < 0.1 and (subject.scaled(faint).min(), subject.scaled(faint).max()) == (0, 1)
    ((image, found),), _ = subject.rows(1, {"row": [faint[None]]})
    np.testing.assert_array_equal(image, subject.pixels(subject.images[0]))
    np.testing.assert_array_equal(found, subject.scaled(faint))


def test_descent_that_diverges_is_repeated_with_smaller_learning_rates(monkeypatch):
    tried = []

    def invert(represent, target, shape, key, form, mask):
        tried.append(form.learning_rate)
        if form.learning_rate > limit:
            raise DivergedError("The term is nan.")
        return optimize.Result(target, {})

    monkeypatch.setattr(inversion, "invert", invert)
    arguments = (None, jnp.ones(1), (1, 1, 1), None)
    limit = 0.3
    assert preimages.descend(*arguments, inversion.CVPR(learning_rate=1.0)).tolist() == [1.0]
    assert tried == [1.0, 0.25]
    limit, tried[:] = 0.0, []
    with pytest.raises(DivergedError):
        preimages.descend(*arguments, inversion.CVPR(learning_rate=1.0))
    assert tried == [1.0, 0.25, 0.0625]


def test_strengths_grow_with_depth_and_stay():
    config = dataclasses.replace(get_config("default"), lower=2)
    assert [layers.strength_of(n, config) for n in range(8)] == [1.0] * 2 + [10.0] * 2 + [30.0] * 4
    form = layers.recipe(dataclasses.replace(config, steps=0.1), 7.0)
    assert form.total_variation == 7.0 and form.phases == ((1.0, 10), (0.1, 20), (0.01, 10)) and form.std == 61
    assert form.learning_rate == 0.001


def test_a_layer_is_inverted_in_batches_and_compared_with_its_images(subject):
    config = dataclasses.replace(get_config("smoke"), batch_size=3, total_variations=(0.001,))
    images, represent = subject.images, subject.represent("relu1")
    found = layers.inverted(subject, "relu1", 0.001, config)
    assert found["images"].shape == images.shape
    np.testing.assert_allclose(
        found["error"], inversion.error(represent, found["images"], represent(images)), rtol=1e-4
    )
    classes = [np.asarray(subject.model.net((x + 77.8) / 255)).argmax(1) for x in (images, found["images"])]
    np.testing.assert_array_equal(found["same"], classes[0] == classes[1])
    expected = measures.correlations(np.asarray(images), np.asarray(found["images"]))
    np.testing.assert_allclose(found["alike"], expected)  # lint: keep


def decisions(errors, same, correlation):
    shown = [
        {"error": np.full(10, e / 100), "same": np.arange(10) < 10 * s, "alike": np.full(10, c)}  # lint: keep
        for e, s, c in zip(errors, same, correlation, strict=True)
    ]
    return [claim.verdict.decision for claim in layers.claims(shown, "abc")]


def test_claims_follow_errors_classes_and_correlations():
    assert decisions((5, 10, 19), (1, 1, 0.9), (0.99, 0.5, 0.1)) == ["supported"] * 3
    assert decisions((5, 10, 21), (1, 1, 0.1), (0.8, 0.5, 0.1)) == ["not supported"] * 3
    assert decisions((5, 10, 19), (1, 1, 0.5), (0.95, 0.97, 0.99)) == ["supported", "inconclusive", "not supported"]


def test_the_papers_numbers_stand_beside_its_network_alone():
    paper = get_config("paper")
    names = list(layers.PAPER)
    assert len(names) == 20 and all(layers.printed(name, paper) for name in names)
    assert not layers.printed("conv1", get_config("default")) and not layers.printed("conv9", paper)


def test_distances_of_restarts_are_shares_of_those_between_images():
    found, different = RNG.normal(size=(2, 3, 5)), RNG.normal(size=(4, 5))
    between = np.mean([np.linalg.norm(a - b) for i, a in enumerate(different) for b in different[:i]])
    for group, share in zip(found, measures.relative_distances(found, different), strict=True):
        pairs = [np.linalg.norm(group[i] - group[j]) for i in range(3) for j in range(i)]
        assert share == pytest.approx(np.mean(pairs) / between)


def test_restarts_stay_with_their_image(subject):
    config = dataclasses.replace(multiple_config.get_config("smoke"), count=2, steps=0.3)
    images = np.asarray(subject.images[:2])
    found = multiple.restarts(subject.represent("relu1"), subject.images[:2], 0.0, config)
    assert found["images"].shape == (2, 3, 8, 8, 1) and found["error"].shape == (2, 3)
    own, other = (
        [[measures.correlation(each[n], x) for x in found["images"][n]] for n in (0, 1)]
        for each in (images, images[::-1])
    )
    assert (np.array(own) > other).all() and (found["pixels"] > 0.01).all()


@pytest.mark.parametrize(
    "pixels, error, decision", [((0.2, 0.5), 0.1, "supported"), ((0.5, 0.2), 0.3, "not supported")]
)
def test_claims_about_restarts_follow_distances(pixels, error, decision):
    config = dataclasses.replace(multiple_config.get_config("default"), layers=("a", "b"))
    found = {
        layer: {"pixels": np.full(10, p), "features": np.full(10, 0.15), "error": np.full((10, 4), error)}
        for layer, p in zip("ab", pixels, strict=True)
    }
    assert [claim.verdict.decision for claim in multiple.claims(found, config)] == [decision] * 2


def test_spikes_are_what_a_median_removes():
    image = np.zeros((6, 7, 1))
    image[:, 3:] = 1.0
    assert regulariser.spikes(image) == 0
    image[2, 1] = 1.0
    assert regulariser.spikes(image) == pytest.approx(np.sqrt(1 / 42) / image.std())


def test_roughness_counts_both_directions():
    image = RNG.normal(size=(3, 4, 2))
    steps = [image[i + 1, j, c] - image[i, j, c] for i in range(2) for j in range(4) for c in range(2)]
    steps += [image[i, j + 1, c] - image[i, j, c] for i in range(3) for j in range(3) for c in range(2)]
    assert measures.roughness(image) == pytest.approx(np.sqrt(np.mean(np.square(steps))) / image.std())


def test_the_middle_is_in_the_middle():
    assert receptive_field.central(7, 1).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert receptive_field.central(8, 3).tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert receptive_field.central(2, 5).tolist() == [1, 1]


def test_the_box_is_all_that_the_middle_depends_on(subject):
    net = subject.model.net
    x = RNG.random((1, 8, 8, 1)).astype(np.float32)
    top, left, bottom, right = receptive_field.box(net, "relu2", x, 1)
    maps = np.asarray(network.capture(net, x, ["conv2"])[1]["conv2"])
    position = tuple(int(np.flatnonzero(receptive_field.central(size, 1))[0]) for size in maps.shape[1:3])
    seen = np.zeros((8, 8), bool)
    for i in range(8):
        for j in range(8):
            changed = x.copy()
            changed[0, i, j] += 5
            after = np.asarray(network.capture(net, changed, ["conv2"])[1]["conv2"])
            seen[i, j] = not np.array_equal(after[0][position], maps[0][position])
    assert seen[top:bottom, left:right].any() and not np.delete(seen, np.s_[top:bottom], 0).any()
    assert not np.delete(seen, np.s_[left:right], 1).any()
    assert seen[top].any() and seen[bottom - 1].any() and seen[:, left].any() and seen[:, right - 1].any()


def test_correlations_inside_and_outside_of_the_box_differ():
    images, found = RNG.normal(size=(3, 6, 6, 1)), RNG.normal(size=(2, 6, 6, 1))
    found[:, 1:4, 2:5] = images[[0, 2], 1:4, 2:5]
    measured = receptive_field.measure(images, found, np.array([0, 2]), (1, 2, 4, 5))
    np.testing.assert_allclose(measured["inside"], 1)
    assert (measured["outside"] < 0.9).all()
    assert np.isnan(receptive_field.measure(images, found, np.array([0, 2]), (0, 0, 6, 6))["outside"]).all()


def test_images_that_hardly_excite_the_middle_are_left_out(subject):
    config = dataclasses.replace(field_config.get_config("smoke"), phases=((0.1, 2),))
    layer = subject.represent("relu1")

    def faint(x):
        """All images but the second, whose features are next to nothing; batches of fewer images are pre-images."""
        return layer(x) * (jnp.array([1.0, 1e-4, 1.0, 1.0])[:, None, None, None] if len(x) == 4 else 1.0)

    strength = (np.asarray(faint(subject.images))[:, 3, 3] ** 2).sum(-1)
    expected = np.flatnonzero(strength > 0.1 * strength.mean())
    found = receptive_field.inverted(Partial(faint), subject.images, config)
    assert 1 not in expected and found["images"].shape == (len(expected), 8, 8, 1)
    np.testing.assert_array_equal(found["kept"], expected)


def test_images_are_jittered_by_a_quarter_of_the_stride():
    config = consistency_config.get_config("paper")
    forms = consistency.forms_of(config)
    assert list(forms) == list(config.layers) and {len(each) for each in forms.values()} == {4}
    jitters = [each[0].jitter for each in forms.values()]
    assert jitters == [1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 8, 8]
    assert [form.weight for form in forms["fc8"]] == [1, 20, 100, 300]


@pytest.mark.parametrize(
    "light, heavy, decisions",
    [(0.5, 0.9, ["supported", "supported"]), (0.9, 0.2, ["not supported"] * 2), (0.6, 0.6, ["inconclusive"] * 2)],
)
def test_claims_about_consistency_follow_the_classes(light, heavy, decisions):
    config = consistency_config.get_config("default")
    config = dataclasses.replace(config, layers=("a",), weights_of_loss=(1.0, 300.0))
    found = {
        ("a", weight): {"same": np.arange(20) < 20 * share, "error": np.full(20, 0.1)}
        for weight, share in ((1.0, light), (300.0, heavy))
    }
    assert [claim.verdict.decision for claim in consistency.claims(found, config)] == decisions
