"""Uses of CAVs: sorted images, dreams, and adversarial images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.kim2018.adversarial import get_config as adversarial_config
from configs.kim2018.dream import get_config as dream_config
from configs.kim2018.sorting import get_config as sorting_config
from experiments.kim2018 import adversarial, concept_images, dream, grey_objects, scenes, sorting
from experiments.kim2018.adversarial_figures import GROUPS
from experiments.lib.runner import Workspace
from xai_jax import cav, models, network
from xai_jax.data import cutouts, textures
from xai_jax.io.errors import UserError

RNG = np.random.default_rng(0)
YES, NO, OPEN = "supported", "not supported", "inconclusive"
SORTING, DREAM, ADVERSARIAL = (get("smoke") for get in (sorting_config, dream_config, adversarial_config))
X = RNG.uniform(0, 1, (6, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return models.load("digits")


def test_a_quarter_of_a_photograph_shows_the_concept_and_the_rest_is_unchanged():
    config = dataclasses.replace(SORTING, images="photographs", concepts=("red", "dots"), marked=3, plain=4)
    shown, before = sorting.photographs(config, 16, 2), scenes.anything(10, 16, 6, half=concept_images.SORTED)
    assert shown.planted.tolist() == [0, 0, 0, 1, 1, 1, -1, -1, -1, -1]
    np.testing.assert_array_equal(shown.images[6:], before[6:])
    for number in range(6):
        rows, columns = np.nonzero((shown.images[number] != before[number]).any(-1))
        assert np.ptp(rows) < 8 and np.ptp(columns) < 8 and len(rows) > 32
        if number < 3:
            red, green, _ = shown.images[number][rows, columns].mean(0)
            assert red > green + 60


def test_areas_count_pairs_that_are_in_order():
    similarity, planted = RNG.normal(size=(3, 20)), RNG.integers(-1, 3, 20)
    for number, area in enumerate(sorting.areas(similarity, planted)):
        first, second = (similarity[number][planted == number], similarity[number][planted != number])
        assert area == pytest.approx((first[:, None] > second).mean())


@pytest.mark.parametrize(
    "areas, expected", [((0.9, 0.85, 0.88), YES), ((0.9, 0.7, 0.8), OPEN), ((0.7, 0.6, 0.65), NO), ((0.9, 0.9), OPEN)]
)
def test_sorting_is_tested_over_seeds(areas, expected):
    claim = sorting.sorting_claim(np.array(areas)[:, None] + [-0.05, 0.05])
    assert claim.verdict.decision == expected


def test_cavs_point_from_other_concepts_and_photographs_to_the_concept(model, tmp_path):
    cavs = sorting.fit_cavs(model, SORTING, 8, 0, tmp_path)
    assert list(cavs) == list(SORTING.concepts)
    shown = {name: textures.images(name, 8, 8, 0) for name in cavs}
    natural = concept_images.photographs(SORTING.images, 8, 8, 1)
    for name, other in zip(cavs, reversed(cavs), strict=True):
        sets = [model.preprocess(list(images)) for images in (shown[name], shown[other], natural)]
        along = [network.capture(model.net, x, ["relu1"])[1]["relu1"].reshape(8, -1) @ cavs[name].vector for x in sets]
        assert cavs[name].concept == name and np.linalg.norm(cavs[name].vector) == pytest.approx(1)
        assert along[0].mean() > max(along[1].mean(), along[2].mean())


def test_what_is_sorted_is_not_what_cavs_were_fitted_to():
    table = scenes.table()
    sorted_rows, fitted = (set(table[half]) for half in (concept_images.SORTED, concept_images.FITTED))
    assert not sorted_rows & fitted and len(sorted_rows) + len(fitted) == len(table)
    few = scenes.everything(16, 0, slice(0, None, 100))
    assert few.shape == (len(table[::100]), 16, 16, 3) and len(np.unique(few, axis=0)) == len(few)


def test_dreams_should_be_nearest_to_their_own_concept():
    own = np.stack([[[0.5, 0.6], [0.2, 0.3], [0, 0]]] * 3)
    for others, image, expected in [(0.1, 0.2, YES), (0.55, 0.55, OPEN), (0.7, 0.9, NO)]:
        own[:, 1] = image
        found = dream.claims(own, np.full((3, 3, 2), others))
        assert [claim.verdict.decision for claim in found] == [expected, expected]


def test_attacks_are_steps_of_the_gradients_sign_within_bounds(model):
    limits = jnp.zeros(1), jnp.ones(1)
    moved = adversarial.attack(model.net, X, 3, jnp.float32(0.1), 1, limits)
    gradient = jax.grad(lambda x: jax.nn.log_softmax(model.net(x))[:, 3].sum())(X)
    np.testing.assert_allclose(moved, np.clip(X + 0.1 * np.sign(gradient), 0, 1), atol=1e-6)
    further = adversarial.attack(model.net, X, 3, jnp.float32(0.1), 5, limits)
    assert np.abs(further - X).max() <= 0.1 + 1e-6 and further.min() >= 0 and further.max() <= 1
    gain = [np.asarray(jax.nn.log_softmax(model.net(x)))[:, 3].mean() for x in (X, moved, further)]
    assert gain[0] < gain[1] < gain[2]


def test_sensitivities_are_differences_of_logits(model, tmp_path):
    vector = RNG.normal(size=4 * 4 * 32).astype("f")
    cavs = [cav.CAV(vector / np.linalg.norm(vector), "", "conv2", "any", "", 1.0)]
    x, step = X, 1e-2
    delta = (step * cavs[0].vector).reshape(1, 4, 4, 32)
    sides = [network.perturb(model.net, "conv2", sign * delta)(x)[:, 4] for sign in (1, -1)]
    found = adversarial.sensitivities(model.net, cavs, x, 4, tmp_path)
    np.testing.assert_allclose(found[:, 0], (sides[0] - sides[1]) / (2 * step), rtol=0.05, atol=0.02)


def test_distances_are_of_fractions_of_positive_derivatives():
    along = RNG.normal(size=(2, len(GROUPS), 9, 2, 3, 4))
    distances = adversarial.distances(along)
    for k, group in np.ndindex(distances.shape):
        gaps = [
            abs((along[k, group + 1, :, 0, layer, c] > 0).mean() - (along[k, 0, :, 0, layer, c] > 0).mean())
            for layer, c in np.ndindex(3, 4)
        ]
        assert distances[k, group] == pytest.approx(np.mean(gaps))


def test_derivatives_that_differ_distinguish_held_out_images():
    along = RNG.normal(size=(1, len(GROUPS), 40, 2, 1, 3))
    along[:, 3, :, 0] += 30
    area = adversarial.areas(along)
    assert area.shape == (1, len(GROUPS) - 1, 2)
    few = adversarial.areas(along[:, :, :2])  # as many folds as images
    assert few.shape == area.shape and few[0, 2, 0] == 1
    assert area[0, 2, 0] > 0.99 and abs(area[0, 2, 1] - 0.5) < 0.3 and abs(area[0, 0] - 0.5).max() < 0.3


def test_claims_about_adversarial_images_are_tested_over_classes():
    near, far = RNG.uniform(0, 0.1, 10), RNG.uniform(0.2, 0.3, 10)
    distance, area = np.stack([near, near, far, near], 1), np.full((10, 4, 2), 0.9)
    area[:, 2, 0] = RNG.uniform(0.7, 0.8, 10)
    assert [claim.verdict.decision for claim in adversarial.claims(distance, area)] == [YES, OPEN, NO]
    area[:, 2] = area[:, 2, ::-1]
    assert [claim.verdict.decision for claim in adversarial.claims(1 - distance, area)] == [NO, OPEN, YES]


def test_too_few_images_of_a_class_are_named(model):
    with pytest.raises(UserError, match="Expected 60 images of each class, got"):
        adversarial.natural_images(model, dataclasses.replace(ADVERSARIAL, images=30), 0)


def test_natural_images_are_of_their_class_and_attacks_start_at_others(model):
    config = dataclasses.replace(ADVERSARIAL, steps=1, most=0.0, most_noise=0.0)
    natural = adversarial.natural_images(model, config, 0)
    data = concept_images.held_out("digits")
    for number, name in enumerate(config.targets):
        own = {data[i][0].tobytes() for i in range(len(data)) if data[i][1] == int(name)}
        assert {image[..., :1].tobytes() for image in natural[number]} <= own and len(natural[number]) == 16
    others = natural[1:].reshape(-1, 8, 8, 3)
    groups = adversarial.image_groups(model, natural[0], others, 0, config, RNG)
    expected = model.preprocess(list(natural[0]))
    np.testing.assert_allclose(np.concatenate(groups[:2]), expected, atol=1e-6)
    np.testing.assert_allclose(groups[2], groups[3], atol=0.01)
    rest = {each.tobytes() for each in np.asarray(model.preprocess(list(others)))}
    assert {each.tobytes() for each in np.asarray(groups[2])} <= rest


def test_objects_in_grey_keep_their_shape_and_no_lightness():
    (lemon,) = (row for row in cutouts.table() if row.name == "lemon")
    (zebra,) = (row for row in cutouts.table() if row.name == "zebra")
    hues = ("red", "orange", "yellow", "green", "blue")
    assert grey_objects.own_colour(lemon, hues) == "yellow" and grey_objects.own_colour(zebra, hues) is None
    assert grey_objects.own_colour(lemon, ("red", "blue")) is None
    for row in (lemon, zebra):
        grey, colour = grey_objects.views(row, 64)
        inside = cutouts.on_grey(row, 64)[1] > 0.99
        np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
        assert grey[inside].mean() == pytest.approx(128, abs=8) and (grey[0, 0] == 128).all()
        light = colour[inside] @ textures.LIGHTNESS
        assert np.corrcoef(grey[inside][:, 0], light)[0, 1] > 0.95


def test_objects_without_a_colour_of_their_own_are_left_out(monkeypatch):
    rows = [row for row in cutouts.table() if row.name in ("lemon", "zebra", "tomato")]
    monkeypatch.setattr(cutouts, "table", lambda: tuple(rows))
    config = dataclasses.replace(SORTING, images="photographs", concepts=("stripes", "yellow", "red"))
    found = grey_objects.load(config, 32)
    names = [row.name for row in rows if row.name != "zebra"]
    assert found.hues == ("yellow", "red") and found.grey.shape == found.colour.shape == (2, 32, 32, 3)
    assert [found.hues[own] for own in found.own] == [{"lemon": "yellow", "tomato": "red"}[name] for name in names]
    assert grey_objects.load(SORTING, 32) is None


def test_objects_with_the_colour_that_they_lack_first_are_a_bias():
    own = np.arange(60) % 3
    objects = grey_objects.Objects(np.zeros((60, 4, 4, 3)), np.zeros((60, 4, 4, 3)), own, ("red", "yellow", "blue"))
    noise = RNG.normal(size=(3, 60))
    biased = noise + 2 * (np.arange(3)[:, None] == own)
    assert grey_objects.claim(objects, biased).verdict.decision == YES
    assert grey_objects.claim(objects, noise - biased).verdict.decision == NO
    assert grey_objects.claim(None, None).verdict.decision == OPEN
    z = (biased - biased.mean(1, keepdims=True)) / biased.std(1, keepdims=True)
    found = grey_objects.excess(biased, own)
    assert found[4] == pytest.approx(z[1, 4] - (z[0, 4] + z[2, 4]) / 2)


def test_another_network_identifies_images_that_it_was_fitted_to():
    images = [textures.images(name, DREAM.examples, 8, 3) for name in DREAM.concepts]
    found, swapped = (dream.recognised(sets, DREAM, 8, 1) for sets in (images, images[::-1]))
    assert found.shape == (2, DREAM.examples) and found.mean() > 0.8
    np.testing.assert_array_equal(found, ~swapped)


def test_identified_dreams_are_counted_and_a_study_with_people_is_not_made_up():
    config = dataclasses.replace(DREAM, concepts=tuple("abcde"), evaluation_network="another")
    for share, expected in ((0.9, YES), (0.0, NO)):
        claims = dream.recognition_claims(RNG.random((4, 5, 1)) < share, config)
        assert [claim.verdict.decision for claim in claims] == [expected, OPEN]
    same = dataclasses.replace(config, evaluation_network=config.network)
    assert dream.recognition_claims(np.ones((4, 5, 1), bool), same)[0].verdict.decision == OPEN


def test_share_that_people_must_recognise_for_the_test_to_have_power():
    share, needed = dream._detectable_share(15, 5), 7
    chances = [np.random.default_rng(0).binomial(15, p, 20000) for p in (0.2, share)]
    assert (chances[0] >= needed).mean() < 0.05 < (chances[0] >= needed - 1).mean()
    assert (chances[1] >= needed).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    "experiment, config, figures",
    [
        (sorting, dataclasses.replace(SORTING, seeds=(0,)), 2),
        pytest.param(dream, dataclasses.replace(DREAM, seeds=(0,)), 2, marks=pytest.mark.slow),
        pytest.param(adversarial, dataclasses.replace(ADVERSARIAL, seeds=(0,)), 3, marks=pytest.mark.slow),
    ],
)
def test_small_runs_give_panels_numbers_and_claims(experiment, config, figures, tmp_path):
    report = experiment.run(config, work := Workspace(tmp_path, ""))
    assert len(report.panels) == figures and report.claims
    assert all(np.isfinite(number.value) for number in report.numbers)
    if experiment is dream:
        dreams, _, noise = work.arrays["seed-0/similarity"]
        assert (np.diagonal(dreams) > np.diagonal(noise) + 0.1).all()
