"""Drawn concepts: what makes each of them, measured by twins; the same from the same seed; folders of images."""

import colorsys

import numpy as np
import pytest
from PIL import Image

from xai_jax.data import textures

SIZE = 64


def _strength(image):
    """Amplitudes of frequencies of the lightness, (SIZE, SIZE), the mean left out."""
    grey = image.astype(float) @ textures.LIGHTNESS
    return abs(np.fft.fft2(grey - grey.mean()))


def _directedness(image):
    """From 0 to 1: how much the strength of frequencies lies along one direction, by the angle doubled."""
    power = _strength(image) ** 2
    y, x = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    return abs((power * np.exp(2j * np.arctan2(y, x))).sum() / power.sum())


def test_marks_by_formula():
    u, v = np.mgrid[0:3:61j, 0:3:61j]
    rng = lambda: np.random.default_rng(1)  # noqa: E731

    def away(x):
        return np.array([[abs(each % 1 - 0.5) for each in row] for row in x])

    half = np.random.default_rng(1).uniform(0.2, 0.3)
    np.testing.assert_allclose(textures.stripes(u, v, rng()), half - away(u))
    chance = np.random.default_rng(1)
    moved, radius = chance.choice([0.0, 0.5]), chance.uniform(0.22, 0.36)
    shifted = u + moved * (v.astype(int) % 2)
    np.testing.assert_allclose(textures.dots(u, v, rng()), radius - np.sqrt(away(shifted) ** 2 + away(v) ** 2))
    for mark in textures.TEXTURES.values():
        share = (mark(u, v, rng()) > 0).mean()
        assert 0.1 < share < 0.65


def test_textures_have_their_periods_and_stripes_one_direction():
    directed = {
        name: np.mean([_directedness(x) for x in textures.images(name, 30, SIZE, 0)]) for name in textures.NAMES
    }
    assert directed["stripes"] > 0.75
    assert directed["dots"] < 0.5 and directed["meshes"] < 0.5
    for image in textures.images("stripes", 10, SIZE, 1):
        strongest = np.unravel_index(_strength(image).argmax(), (SIZE, SIZE))
        cycles = np.hypot(*(min(f, SIZE - f) for f in strongest))
        assert textures.PERIODS[0] - 1.5 <= cycles <= textures.PERIODS[1] + 1.5


@pytest.mark.parametrize(
    "name, low, high", [("red", 0.93, 0.05), ("yellow", 0.1, 0.19), ("green", 0.28, 0.4), ("orange", 0.04, 0.12)]
)
def test_colours_have_their_hue(name, low, high):
    for image in textures.images(name, 20, 16, 0):
        hue, saturation, _ = colorsys.rgb_to_hsv(*image.mean((0, 1)) / 255)
        assert saturation > 0.5 and (low < hue < high if low < high else hue > low or hue < high)


@pytest.mark.parametrize("name", textures.TEXTURES)
def test_textures_contrast_in_lightness(name):
    for image in textures.images(name, 20, SIZE, 2):
        light = np.percentile(image @ textures.LIGHTNESS, [2, 98])
        assert np.ptp(light) > 0.7 * textures.CONTRAST


@pytest.mark.parametrize("name", textures.NAMES)
def test_images_vary_and_depend_on_seed_and_number_alone(name):
    found = textures.images(name, 4, 24, 3)
    assert found.shape == (4, 24, 24, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[:2], textures.images(name, 2, 24, 3))
    others = [*found[1:], *textures.images(name, 2, 24, 4)]
    assert all((found[0] != other).mean() > 0.3 for other in others)


def test_folders_of_concepts(tmp_path):
    for name, shade, sizes in (("striped", 200, ((40, 40), (60, 40))), ("dotted", 50, ((30, 44),))):
        (tmp_path / name).mkdir()
        for number, size in enumerate(sizes):
            Image.new("RGB", size, (shade, 10, 20)).save(tmp_path / name / f"{number}.png")
    found = textures.from_folder(tmp_path, 16)
    assert {name: images.shape for name, images in found.items()} == {
        "dotted": (1, 16, 16, 3),
        "striped": (2, 16, 16, 3),
    }
    assert (found["striped"] == (200, 10, 20)).all() and (found["dotted"] == (50, 10, 20)).all()
    with pytest.raises(FileNotFoundError, match="not a folder"):
        textures.from_folder(tmp_path / "none", 16)


@pytest.mark.parametrize(
    "name, count, size, words",
    [
        ("checks", 1, 16, "a concept out of stripes, dots, zigzags, meshes, red"),
        ("dots", 0, 16, "got 0 of 16"),
        ("dots", 1, 4, "at least 8 pixels, got 1 of 4"),
    ],
)
def test_mistakes(name, count, size, words):
    with pytest.raises(ValueError, match=words):
        textures.images(name, count, size, 0)
