"""The numbers behind Mahendran & Vedaldi's Figs. 10 and 11: halves of channels, frequencies, likeness, claims."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.mahendran2015 import diversity as diversity_config
from configs.mahendran2015 import streams as streams_config
from experiments.lib import preimages, runner
from experiments.lib.measures import correlations
from experiments.mahendran2015 import diversity, streams
from xai_jax import inversion, models
from xai_jax.data.datasets import InMemory

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
    found = streams.one(represent, images, masks, config)
    assert found["images"].shape == (2, 2, 3, 8, 8, 1) and found["frequency"].shape == (3, 2, 3)
    wanted = np.asarray(represent(images))
    for split, side in np.ndindex(2, 2):
        x, mask = found["images"][split, side], masks[split, side]
        off = ((np.asarray(represent(x)) - wanted) * mask) ** 2
        np.testing.assert_allclose(
            found["error"][split, side], off.sum((1, 2, 3)) / ((wanted * mask) ** 2).sum((1, 2, 3)), rtol=1e-3
        )
        np.testing.assert_allclose(found["alike"][split, side], correlations(np.asarray(images), x))
        expected = [streams.frequency(*pair) for pair in zip(np.asarray(images), x, strict=True)]
        np.testing.assert_allclose(found["frequency"][split, side], expected)
    errors = [((np.asarray(represent(x)) - wanted) ** 2 * masks[0, 0]).sum() for x in found["images"][0]]
    assert errors[0] < errors[1]


def test_the_rank_of_the_first_split_is_the_share_as_far_apart():
    apart = RNG.uniform(1, 2, (20, 3)) * [1, 10, 100]
    apart[0] = 0.9 * apart[1:].min(0)
    assert streams.rank(apart) == 1
    apart[0] = 1.1 * apart[1:].max(0)
    assert streams.rank(apart) == 0.05
    apart[0, :2] = 0
    scores = [np.mean([apart[s, n] / apart[:, n].mean() for n in range(3)]) for s in range(20)]
    assert streams.rank(apart) == np.mean([score >= scores[0] for score in scores])


def measures(finer, colourful, count=10):
    """Two layers with 19 random splits whose sides are alike; the second half is finer, more colourful by so much."""
    found, rng = {}, np.random.default_rng(1)
    for layer in "ab":
        arrays = {"frequency": rng.normal(0, 0.1, (20, 2, count)), "colour": rng.normal(0, 0.1, (20, 2, count))}
        arrays["frequency"][0, 1] += finer
        arrays["colour"][0, 1] += colourful
        arrays["alike"] = arrays["error"] = np.zeros((20, 2, count))
        found[layer] = arrays
    return found


@pytest.mark.parametrize(
    "groups, kinds, finer, colourful, held",
    [
        (2, ["frequency", "colour"], 1, -1, [True]),
        (2, ["frequency", "colour"], 1, 1, [False]),
        (2, ["frequency", "colour"], 1, 0, [False]),
        (2, ["frequency"], 1, 0, [None]),
        (1, ["frequency"], 0, 0, [None, None]),
        (1, ["frequency"], 1, 0, [None, False]),
        (1, ["frequency", "colour"], 1, -1, [None, False]),
    ],
)
def test_claims_about_halves_compare_them_with_random_ones(groups, kinds, finer, colourful, held):
    config = dataclasses.replace(streams_config.get_config("default"), groups=groups)
    run, found = runner.Run(Path(), ""), measures(finer, colourful)
    streams.report(run, found, kinds, config)
    assert [claim.held for claim in run.claims] == held
    number = next(n for n in run.numbers if n.name == "difference of halves in mean frequency (cycles per pixel), b")
    first, second = found["b"]["frequency"][0]
    assert number.value == pytest.approx(abs(first.mean() - second.mean()))


def test_halves_that_hardly_differ_are_no_streams():
    config = dataclasses.replace(streams_config.get_config("default"), groups=1)
    found = measures(0, 0)
    for each in found.values():
        each["frequency"][0] = 0
    claim = streams.arbitrary(found, ["frequency"], config)
    assert claim.held and "in 19 of 19; binomial test against a half: p = 1.9e-06 (19 in a, 19 in b)" in claim.measured


def test_few_splits_or_images_tell_nothing():
    found = {layer: {k: v[:4] for k, v in each.items()} for layer, each in measures(1, -1).items()}
    config = dataclasses.replace(streams_config.get_config("default"), splits=3, groups=2)
    kinds = ["frequency", "colour"]
    assert streams.specialised(found, kinds, config).held is None
    assert streams.arbitrary(found, kinds, config).held is None
    config = dataclasses.replace(config, splits=19, count=2)
    assert streams.specialised(measures(1, -1, 3), kinds, config).held is None


def test_random_halves_are_told_apart_by_paired_tests_as_scipy_does():
    found = measures(1, 0)
    p = streams.paired(found, "frequency")
    values = found["b"]["frequency"][7]
    assert p.shape == (20, 2) and p[7, 1] == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue)


def data_of(labels):
    images = np.zeros((len(labels), 8, 8, 1), np.uint8)
    return InMemory(images, np.array(labels, np.int32), tuple("abcd"))


def test_images_are_the_first_of_the_first_classes_with_enough():
    data = data_of([3, 0, 0, 1, 3, 2, 1, 2, 0])
    assert diversity.chosen(data, 2, 2).tolist() == [[0, 4], [1, 2]]
    assert diversity.chosen(data, 1, 3).tolist() == [[1, 2, 8]]
    assert diversity.chosen(data, 4, 1).tolist() == [[0], [1], [3], [5]]
    with pytest.raises(runner.UserError, match="Expected 2 classes with 3 images or more, found 1"):
        diversity.chosen(data, 2, 3)


def test_restarts_differ_and_are_measured(digits):
    config = dataclasses.replace(diversity_config.get_config("smoke"), batch_size=2, steps=0.2)
    data = InMemory(RNG.integers(0, 256, (5, 8, 8, 1), np.uint8), np.arange(5, dtype=np.int32), tuple("abcde"))
    subject = preimages.from_images(digits, (data[n][0] for n in (3, 0, 4)), config.mean)
    np.testing.assert_allclose(subject.images[1, ..., 0], data.images[0, ..., 0] - 77.8, atol=1e-3)
    found = [diversity.one(subject, config, seed) for seed in (0, 1)]
    represent = subject.represent("pool1")
    assert found[0]["images"].shape == (3, 8, 8, 1) and not np.allclose(found[0]["images"], found[1]["images"], atol=5)
    np.testing.assert_allclose(
        found[1]["error"], inversion.error(represent, found[1]["images"], represent(subject.images)), rtol=1e-3
    )
    assert found[0]["same"].shape == (3,)


def test_pre_images_are_compared_with_every_image():
    found, images = RNG.normal(size=(3, 2, 4, 5, 2)), RNG.normal(size=(3, 4, 5, 2))
    likeness = diversity.correlations(found, images)
    for n, r, m in np.ndindex(3, 2, 3):
        assert likeness[n, r, m] == pytest.approx(np.corrcoef(found[n, r].ravel(), images[m].ravel())[0, 1])


@pytest.mark.parametrize("size", [2, 3, 6])
def test_an_image_is_identified_within_its_group(size):
    likeness = np.random.default_rng(size).uniform(-1, 1, (6, 30, 6))
    found = diversity.identified(likeness, size)
    assert found.shape == (6, 30) and found.any() and not found.all()
    for n, r in np.ndindex(6, 30):
        group = range(n // size * size, n // size * size + size)
        assert found[n, r] == all(likeness[n, r, n] > likeness[n, r, m] for m in group if m != n)


@pytest.mark.parametrize("kept, held", [(0.9, [True, True]), (0.0, [None, False])])
def test_claims_about_diversity_follow_what_pre_images_keep(kept, held):
    config = dataclasses.replace(diversity_config.get_config("default"), classes=5, each=4, restarts=3)
    rng = np.random.default_rng(0)
    classes, own = rng.normal(size=(5, 1, 6, 6, 1)), rng.normal(size=(5, 4, 6, 6, 1))
    images = (classes + own).reshape(20, 6, 6, 1)
    noise = rng.normal(size=(1, 3, 6, 6, 1)) + 0.1 * rng.normal(size=(20, 3, 6, 6, 1))  # mostly the restart's own
    pictures = (classes + kept * own).reshape(20, 1, 6, 6, 1) + 0.2 * noise
    found = {"images": pictures, "error": np.zeros((20, 3)), "same": np.ones((20, 3), bool)}
    run = runner.Run(Path(), "")
    diversity.report(run, images, found, diversity.correlations(pictures, images), config)
    assert [claim.held for claim in run.claims] == held
    numbers = {number.name: number.value for number in run.numbers}
    again = numbers["distance of pre-images of one image, as such a share"]
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(images) for b in images[:i]]
    restarts = [np.linalg.norm(x[i] - x[j]) for x in pictures for i in range(3) for j in range(i)]
    assert again == pytest.approx(np.mean(restarts) / np.mean(pairs))
    inside = [
        np.linalg.norm(pictures[4 * c + i, r] - pictures[4 * c + j, r])
        for c in range(5)
        for r in range(3)
        for i in range(4)
        for j in range(i)
    ]
    others = numbers["distance of pre-images of different images of one class, as such a share"]
    assert others == pytest.approx(np.mean(inside) / np.mean(pairs))
