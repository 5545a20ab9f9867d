"""Uses of CAVs: sorted images, dreams, and adversarial images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.kim2018.adversarial import get_config as adversarial_config
from configs.kim2018.dream import get_config as dream_config
from configs.kim2018.sorting import get_config as sorting_config
from experiments.kim2018 import adversarial, concept_images, dream, sorting
from experiments.kim2018.adversarial_figures import GROUPS
from experiments.lib.runner import Workspace
from xai_jax import cav, models, network
from xai_jax.data import textures
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
    shown, before = sorting.photographs(config, 16, 2), textures.anything(10, 16, 6)
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


def test_cavs_point_from_random_images_to_the_concept(model, tmp_path):
    cavs = sorting.fit_cavs(model, SORTING, 8, 0, tmp_path)
    assert list(cavs) == list(SORTING.concepts)
    (kind,) = concept_images.drawn(SORTING.concepts, 8, 8, 8, 0)
    for name, own in cavs.items():
        sets = [model.preprocess(list(images)) for images in (kind.concepts[name], kind.random)]
        (first, second) = (network.capture(model.net, x, ["relu1"])[1]["relu1"].reshape(8, -1) for x in sets)
        assert own.concept == name and np.linalg.norm(own.vector) == pytest.approx(1)
        assert (first @ own.vector).mean() > (second @ own.vector).mean()


def test_dreams_should_be_nearest_to_their_own_concept():
    own = np.stack([[[0.5, 0.6], [0.2, 0.3], [0, 0]]] * 3)
    for others, image, expected in [(0.1, 0.2, YES), (0.55, 0.55, OPEN), (0.7, 0.9, NO)]:
        own[:, 1] = image
        found = dream.claims(own, np.full((3, 3, 2), others))
        assert [claim.verdict.decision for claim in found] == [expected, expected, OPEN]


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
    along[:, 3, :, 0] += 3
    area = adversarial.areas(along)
    assert area.shape == (1, len(GROUPS) - 1, 2)
    assert area[0, 2, 0] > 0.99 and abs(area[0, 2, 1] - 0.5) < 0.3 and abs(area[0, 0] - 0.5).max() < 0.3


def test_claims_about_adversarial_images_are_tested_over_classes():
    near, far = RNG.uniform(0, 0.1, 10), RNG.uniform(0.2, 0.3, 10)
    distance, area = np.stack([near, near, far, near], 1), np.full((10, 4, 2), 0.9)
    area[:, 2, 0] = RNG.uniform(0.7, 0.8, 10)
    assert [claim.verdict.decision for claim in adversarial.claims(distance, area)] == [YES, OPEN, NO]
    area[:, 2] = area[:, 2, ::-1]
    assert [claim.verdict.decision for claim in adversarial.claims(1 - distance, area)] == [NO, OPEN, YES]


def test_too_few_images_of_a_class_are_named(model):
    data = concept_images.held_out("digits")
    labels = np.array([data[i][1] for i in range(len(data))])
    config = dataclasses.replace(ADVERSARIAL, images=30)
    with pytest.raises(UserError, match="Expected 60 images of each class, got"):
        adversarial.image_groups(model, data, labels, 3, config, RNG)


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
