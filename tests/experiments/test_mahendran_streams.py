"""Numbers and claims of Mahendran & Vedaldi 2015, Figs. 10 and 11: halves of channels, and images of one class."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.mahendran2015 import diversity as diversity_config
from configs.mahendran2015 import streams as streams_config
from experiments.lib import preimages
from experiments.lib.measures import correlations
from experiments.mahendran2015 import diversity, streams
from xai_jax import inversion, models
from xai_jax.data.datasets import InMemory
from xai_jax.io.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    return models.load("digits")


def some_images(count):
    return jnp.asarray(RNG.uniform(0, 255, (count, 8, 8, 1)).astype(np.float32)) - 77.8


def test_every_split_has_two_halves_and_the_first_is_in_order():
    masks = streams.splits(7, 5, [0, 1])
    assert masks.shape == (6, 2, 7) and (masks.sum(1) == 1).all() and (masks.sum(2) == [3, 4]).all()
    assert masks[0].tolist() == [[1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]]
    assert len(np.unique(masks[:, 0], axis=0)) > 1
    np.testing.assert_array_equal(masks, streams.splits(7, 5, [0, 1]))
    assert not np.array_equal(masks, streams.splits(7, 5, [0, 2]))


def waves(image):
    """Coefficients of the orthonormal cosine transform of one channel, from its sum."""
    height, width = image.shape
    found = np.zeros(image.shape)
    for u in range(height):
        for v in range(width):
            rows = np.cos(np.pi * (np.arange(height) + 0.5) * u / height) * np.sqrt((1 + (u > 0)) / height)
            columns = np.cos(np.pi * (np.arange(width) + 0.5) * v / width) * np.sqrt((1 + (v > 0)) / width)
            found[u, v] = (image * rows[:, None] * columns).sum()
    return found


def test_frequency_is_the_mean_of_the_shared_energy():
    a = RNG.normal(size=(5, 6, 2))
    b = a + 0.3 * RNG.normal(size=a.shape)
    energy = sum(waves(a[..., c]) * waves(b[..., c]) for c in range(2))
    top = sum(energy[u, v] * np.hypot(u / 10, v / 12) for u in range(5) for v in range(6) if u or v)
    assert streams.frequency(a, b) == pytest.approx(top / (energy.sum() - energy[0, 0]))


@pytest.mark.parametrize("cycles", [1, 2, 3.5])
def test_frequency_of_a_wave_is_its_own_whatever_the_brightness_and_the_rest_of_the_other(cycles):
    wave = np.cos(2 * np.pi * cycles * (np.arange(14) + 0.5) / 14)[:, None, None] * np.ones((1, 9, 3))
    other = wave + np.cos(2 * np.pi * 4 * (np.arange(9) + 0.5) / 9)[None, :, None]
    assert streams.frequency(wave + 5, 3 * other - 2) == pytest.approx(cycles / 14)


def test_colour_is_the_share_of_differences_between_channels():
    a, b = RNG.normal(size=(2, 6, 5, 3))
    b += a
    x, y = (image - image.mean((0, 1)) for image in (a, b))
    differing = sum(
        (x[i, j, c] - x[i, j].mean()) * (y[i, j, c] - y[i, j].mean())
        for i in range(6)
        for j in range(5)
        for c in range(3)
    )
    assert streams.colour(a, b) == pytest.approx(differing / (x * y).sum())
    grey = np.repeat(a[..., :1], 3, axis=-1) + [0, 7, -3]
    assert streams.colour(grey, grey) == pytest.approx(0)
    tinted = a[..., :1] * np.array([1.0, -1.0, 0.0])
    assert streams.colour(tinted, tinted) == pytest.approx(1)


def test_each_half_is_inverted_by_its_mask(digits):
    config = dataclasses.replace(streams_config.get_config("smoke"), steps=0.2)
    images, to_input = some_images(3), digits.from_centred(config.mean)
    represent = inversion.of_layer(digits.net, "relu1", to_input)
    masks = streams.splits(16, 2, 0)
    found = streams.inverted(represent, images, masks, config)
    assert found["images"].shape == (2, 2, 3, 8, 8, 1) and found["frequency"].shape == (3, 2, 3)
    target = np.asarray(represent(images))
    for split, side in np.ndindex(2, 2):
        x, mask = found["images"][split, side], masks[split, side]
        off = ((np.asarray(represent(x)) - target) * mask) ** 2
        np.testing.assert_allclose(
            found["error"][split, side], off.sum((1, 2, 3)) / ((target * mask) ** 2).sum((1, 2, 3)), rtol=1e-3
        )
        np.testing.assert_allclose(found["alike"][split, side], correlations(np.asarray(images), x))  # lint: keep
        expected = [streams.frequency(*pair) for pair in zip(np.asarray(images), x, strict=True)]
        np.testing.assert_allclose(found["frequency"][split, side], expected)
    errors = [((np.asarray(represent(x)) - target) ** 2 * masks[0, 0]).sum() for x in found["images"][0]]
    assert errors[0] < errors[1]


def test_splits_are_compared_with_the_first():
    values = RNG.uniform(1, 2, (20, 3)) * [1, 10, 100]
    values[0] = 0.9 * values[1:].min(0)
    assert streams.at_least_as_different(values).all()
    values[0] = 1.1 * values[1:].max(0)
    assert streams.at_least_as_different(values).sum() == 1
    values[0, :2] = 0
    scores = [np.mean([values[s, n] / values[:, n].mean() for n in range(3)]) for s in range(20)]
    np.testing.assert_array_equal(streams.at_least_as_different(values), [s >= scores[0] for s in scores])


def measures(finer, colourful, count=10, splits=39):
    """Two layers with random splits whose sides are similar; the second half is finer, more colourful by so much."""
    found, rng = {}, np.random.default_rng(1)
    for layer in "ab":
        arrays = {key: rng.normal(0, 0.1, (1 + splits, 2, count)) for key in ("frequency", "colour")}
        arrays["frequency"][0, 1] += finer
        arrays["colour"][0, 1] += colourful
        arrays["alike"] = arrays["error"] = np.zeros((1 + splits, 2, count))  # lint: keep
        found[layer] = arrays
    return found


BOTH = ["frequency", "colour"]


@pytest.mark.parametrize(
    "groups, kinds, finer, colourful, decisions",
    [
        (2, BOTH, 1, -1, ["supported"]),
        (2, BOTH, -1, 1, ["supported"]),
        (2, BOTH, 1, 1, ["not supported"]),
        (2, BOTH, 1, 0, ["inconclusive"]),
        (2, ["frequency"], 1, 0, ["inconclusive"]),
        (1, ["frequency"], 0, 0, ["inconclusive", "inconclusive"]),
        (1, ["frequency"], 1, 0, ["inconclusive", "not supported"]),
        (1, BOTH, 1, -1, ["inconclusive", "not supported"]),
    ],
)
def test_claims_about_halves_compare_them_with_random_ones(groups, kinds, finer, colourful, decisions):
    config = dataclasses.replace(streams_config.get_config("default"), groups=groups)
    found = measures(finer, colourful, splits=39 if groups == 2 else config.splits)
    assert [claim.verdict.decision for claim in streams.claims(found, kinds, config)] == decisions
    name = "difference of halves in mean frequency (cycles per pixel), b"
    number = next(n for n in streams.numbers(found, kinds) if n.name == name)
    first, second = found["b"]["frequency"][0]
    assert number.value == pytest.approx(abs(first.mean() - second.mean()))


def test_specialisation_has_the_p_values_of_two_sided_and_permutation_tests():
    config = dataclasses.replace(streams_config.get_config("default"), groups=2)
    found = measures(0.1, -0.1)
    (claim,) = streams.claims(found, BOTH, config)
    paired = [stats.ttest_rel(*each[kind][0]).pvalue for each in found.values() for kind in BOTH]
    ranks = [streams.at_least_as_different(streams.differences(found, kind)).mean() for kind in BOTH]
    assert claim.verdict.p == pytest.approx(max(paired + ranks)) and claim.verdict.decision == "supported"


def test_halves_that_hardly_differ_are_no_streams():
    found = measures(0, 0, splits=19)
    for each in found.values():
        each["frequency"][0] = 0
    claim = streams.control(found, ["frequency"])
    assert claim.verdict.decision == "supported" and claim.verdict.p == pytest.approx(0.5**19)
    assert "of 19 random halves, those that differ as much in frequency: 19 in a, 19 in b." in claim.measured


def test_few_splits_or_images_are_inconclusive():
    config = dataclasses.replace(streams_config.get_config("default"), groups=2)
    few = measures(1, -1, splits=3)
    assert streams.specialisation(few, BOTH, config).verdict.decision == "inconclusive"
    assert streams.control(few, BOTH).verdict.decision == "inconclusive"
    assert streams.specialisation(measures(1, -1, count=2), BOTH, config).verdict.decision == "inconclusive"


def test_sides_of_all_splits_are_compared_by_paired_tests_as_scipy_does():
    found = measures(1, 0)
    p, values = streams.paired_p_values(found, "frequency"), found["b"]["frequency"][7]
    assert p.shape == (40, 2) and p[7, 1] == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue)


def data_of(labels):
    images = np.zeros((len(labels), 8, 8, 1), np.uint8)
    return InMemory(images, np.array(labels, np.int32), tuple("abcd"))


def test_images_are_the_first_of_the_first_classes_with_enough():
    data = data_of([3, 0, 0, 1, 3, 2, 1, 2, 0])
    assert diversity.first_of_classes(data, 2, 2).tolist() == [[0, 4], [1, 2]]
    assert diversity.first_of_classes(data, 1, 3).tolist() == [[1, 2, 8]]
    assert diversity.first_of_classes(data, 4, 1).tolist() == [[0], [1], [3], [5]]
    with pytest.raises(UserError, match="Expected 2 classes with 3 images or more, found 1"):
        diversity.first_of_classes(data, 2, 3)


def test_restarts_differ_and_are_measured(digits):
    config = dataclasses.replace(diversity_config.get_config("smoke"), batch_size=2, steps=0.2)
    data = InMemory(RNG.integers(0, 256, (5, 8, 8, 1), np.uint8), np.arange(5, dtype=np.int32), tuple("abcde"))
    subject = preimages.from_images(digits, (data[n][0] for n in (3, 0, 4)), config.mean)
    np.testing.assert_allclose(subject.images[1, ..., 0], data.images[0, ..., 0] - 77.8, atol=1e-3)
    found = [diversity.inverted(subject, config, seed) for seed in (0, 1)]
    represent = subject.represent("pool1")
    assert found[0]["images"].shape == (3, 8, 8, 1) and not np.allclose(found[0]["images"], found[1]["images"], atol=5)
    np.testing.assert_allclose(
        found[1]["error"], inversion.error(represent, found[1]["images"], represent(subject.images)), rtol=1e-3
    )
    assert found[0]["same"].shape == (3,)


def test_pre_images_are_compared_with_every_image():
    found, images = RNG.normal(size=(3, 2, 4, 5, 2)), RNG.normal(size=(3, 4, 5, 2))
    similarity = diversity.correlations(found, images)
    for n, r, m in np.ndindex(3, 2, 3):
        assert similarity[n, r, m] == pytest.approx(np.corrcoef(found[n, r].ravel(), images[m].ravel())[0, 1])


@pytest.mark.parametrize("size", [2, 3, 6])
def test_an_image_is_identified_within_its_group(size):
    similarity = np.random.default_rng(size).uniform(-1, 1, (6, 30, 6))
    found = diversity.best_match(similarity, size)
    assert found.shape == (6, 30) and found.any() and not found.all()
    for n, r in np.ndindex(6, 30):
        group = range(n // size * size, n // size * size + size)
        assert found[n, r] == all(similarity[n, r, n] > similarity[n, r, m] for m in group if m != n)


def mean_distance(*groups):
    return np.mean([np.linalg.norm(a - b) for group in groups for a, b in itertools.combinations(group, 2)])


@pytest.mark.parametrize("kept, decisions", [(0.9, ["supported"] * 2), (0.0, ["inconclusive", "not supported"])])
def test_claims_about_diversity_follow_what_pre_images_keep(kept, decisions):
    config = dataclasses.replace(diversity_config.get_config("default"), classes=5, each=4, restarts=3)
    rng = np.random.default_rng(0)
    classes, own = rng.normal(size=(5, 1, 6, 6, 1)), rng.normal(size=(5, 4, 6, 6, 1))
    images = (classes + own).reshape(20, 6, 6, 1)
    noise = rng.normal(size=(1, 3, 6, 6, 1)) + 0.1 * rng.normal(size=(20, 3, 6, 6, 1))  # most of it the restart's own
    found = (classes + kept * own).reshape(20, 1, 6, 6, 1) + 0.2 * noise
    distances = diversity.distances_in_class(images, found, config)
    matches = [diversity.best_match(diversity.correlations(found, images), size) for size in (20, 4)]
    assert [claim.verdict.decision for claim in diversity.claims(matches, distances, config)] == decisions
    by_class = found.reshape(5, 4, 3, 6, 6, 1)
    expected = images.reshape(5, 4, -1), by_class.swapaxes(1, 2).reshape(15, 4, -1), found
    for values, groups in zip(distances, expected, strict=True):
        assert values.mean() == pytest.approx(mean_distance(*groups) / mean_distance(images))
