"""What concepts are used for: sorted images, dreams, and adversarial images told from real ones."""

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
from experiments.lib.runner import Run, UserError
from xai_jax import cav, models, network
from xai_jax.data import textures

RNG = np.random.default_rng(0)
SORTING, DREAM, ADVERSARIAL = (get("smoke") for get in (sorting_config, dream_config, adversarial_config))
X = RNG.uniform(0, 1, (6, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return models.load("digits")


def test_a_quarter_of_a_photograph_shows_the_concept_and_the_rest_is_as_it_was():
    config = dataclasses.replace(SORTING, images="photographs", concepts=("red", "dots"), marked=3, plain=4)
    shown, before = sorting.pictures(config, 16, 2), textures.anything(10, 16, 6)
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


@pytest.mark.parametrize("areas, held", [((0.9, 0.85), True), ((0.9, 0.7), None), ((0.7, 0.6), False)])
def test_sorting_has_to_be_good_in_every_seed(areas, held):
    assert sorting.sorts(np.array(areas)[:, None] + [-0.05, 0.05]).held is held


def test_directions_point_from_random_images_to_the_concept(model, tmp_path):
    known = sorting.directions(model, SORTING, 8, 0, tmp_path)
    assert list(known) == list(SORTING.concepts)
    (kind,) = concept_images.drawn(SORTING.concepts, 8, 8, 8, 0)
    for name, own in known.items():
        sides = [model.preprocess(list(images)) for images in (kind.concepts[name], kind.random)]
        (first, second) = (network.capture(model.net, x, ["relu1"])[1]["relu1"].reshape(8, -1) for x in sides)
        assert own.concept == name and np.linalg.norm(own.vector) == pytest.approx(1)
        assert (first @ own.vector).mean() > (second @ own.vector).mean()


def test_dreams_should_be_nearest_to_their_own_concept():
    own = np.stack([[[0.5, 0.6], [0.2, 0.3], [0, 0]]] * 2)
    for others, image, held in [(0.1, 0.2, [True, True]), (0.55, 0.55, [None, None]), (0.7, 0.9, [False, False])]:
        own[:, 1] = image
        found = dream.claims(own, np.full((2, 3, 2), others))
        assert [claim.held for claim in found] == [*held, None]


def test_attacks_are_steps_of_the_gradients_sign_within_bounds(model):
    limits = jnp.zeros(1), jnp.ones(1)
    moved = adversarial.attacked(model.net, X, 3, jnp.float32(0.1), 1, limits)
    slope = jax.grad(lambda x: jax.nn.log_softmax(model.net(x))[:, 3].sum())(X)
    np.testing.assert_allclose(moved, np.clip(X + 0.1 * np.sign(slope), 0, 1), atol=1e-6)
    further = adversarial.attacked(model.net, X, 3, jnp.float32(0.1), 5, limits)
    assert np.abs(further - X).max() <= 0.1 + 1e-6 and further.min() >= 0 and further.max() <= 1
    gain = [np.asarray(jax.nn.log_softmax(model.net(x)))[:, 3].mean() for x in (X, moved, further)]
    assert gain[0] < gain[1] < gain[2]


def test_sensitivities_are_differences_of_logits(model, tmp_path):
    vector = RNG.normal(size=4 * 4 * 32).astype("f")
    known = [cav.CAV(vector / np.linalg.norm(vector), "", "conv2", "any", "", 1.0)]
    x, step = X, 1e-2
    delta = (step * known[0].vector).reshape(1, 4, 4, 32)
    sides = [network.perturb(model.net, "conv2", sign * delta)(x)[:, 4] for sign in (1, -1)]
    found = adversarial.sensitivities(model.net, known, x, 4, tmp_path)
    np.testing.assert_allclose(found[:, 0], (sides[0] - sides[1]) / (2 * step), rtol=0.05, atol=0.02)


def test_distances_are_of_shares_of_positive_derivatives():
    along = RNG.normal(size=(2, len(GROUPS), 9, 2, 3, 4))
    apart = adversarial.distances(along)
    for k, group in np.ndindex(apart.shape):
        gaps = [
            abs((along[k, group + 1, :, 0, layer, c] > 0).mean() - (along[k, 0, :, 0, layer, c] > 0).mean())
            for layer, c in np.ndindex(3, 4)
        ]
        assert apart[k, group] == pytest.approx(np.mean(gaps))


def test_derivatives_that_differ_tell_images_that_were_held_out():
    along = RNG.normal(size=(1, len(GROUPS), 40, 2, 1, 3))
    along[:, 3, :, 0] += 3
    told = adversarial.areas(along)
    assert told.shape == (1, len(GROUPS) - 1, 2)
    assert told[0, 2, 0] > 0.99 and abs(told[0, 2, 1] - 0.5) < 0.3 and abs(told[0, 0] - 0.5).max() < 0.3


def test_claims_about_adversarial_images_need_more_than_chance():
    near, far = RNG.uniform(0, 0.1, 10), RNG.uniform(0.2, 0.3, 10)
    apart, told = np.stack([near, near, far, near], 1), np.full((10, 4, 2), 0.9)
    told[:, 2, 0] = RNG.uniform(0.7, 0.8, 10)
    assert [claim.held for claim in adversarial.claims(apart, told)] == [True, None, False]
    told[:, 2] = told[:, 2, ::-1]
    assert [claim.held for claim in adversarial.claims(1 - apart, told)] == [False, None, True]


def test_too_few_images_of_a_class_are_named(model):
    data = concept_images.held_out("digits")
    labels = np.array([data[i][1] for i in range(len(data))])
    config = dataclasses.replace(ADVERSARIAL, images=30)
    with pytest.raises(UserError, match="Expected 60 images of each class, got"):
        adversarial.groups(model, data, labels, 3, config, RNG)


@pytest.mark.parametrize(
    "experiment, config, figures",
    [
        (sorting, dataclasses.replace(SORTING, seeds=(0,)), 2),
        pytest.param(dream, dataclasses.replace(DREAM, seeds=(0,)), 2, marks=pytest.mark.slow),
        pytest.param(adversarial, dataclasses.replace(ADVERSARIAL, seeds=(0,)), 3, marks=pytest.mark.slow),
    ],
)
def test_small_runs_draw_count_and_claim(experiment, config, figures, tmp_path):
    experiment.run(config, run := Run(tmp_path, ""))
    assert len(run.figures) == figures and all((tmp_path / each["file"]).exists() for each in run.figures)
    assert all(np.isfinite(number.value) for number in run.numbers) and run.claims
    if experiment is dream:
        dreamt, _, noise = run.arrays["seed-0/similarity"]
        assert (np.diagonal(dreamt) > np.diagonal(noise) + 0.1).all()


def test_the_papers_shapes_fit():
    for step in dream.plan(dream_config("paper")):  # those of the others are tested by their dry runs
        jax.eval_shape(step.function, *step.arguments)
