"""Contrast normalisation, whitening, crops, flips and shifts, each against a slow and obvious NumPy twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.linalg import sqrtm

from xai_jax.data import augmentation, crops, pictures, preprocessing
from xai_jax.models import Input

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4, 3), np.uint8)
PHOTO = RNG.integers(0, 256, (30, 47, 3), np.uint8)


def test_contrast_normalisation():
    centred = [image - image.mean() for image in IMAGES.astype(np.float64)]
    expected = [55 * image / np.linalg.norm(image) for image in centred]
    given = preprocessing.contrast_normalise(IMAGES)
    assert given.dtype == jnp.float32
    np.testing.assert_allclose(given, expected, atol=1e-4)
    np.testing.assert_allclose(jax.jit(preprocessing.contrast_normalise)(IMAGES), expected, atol=1e-4)
    np.testing.assert_allclose(preprocessing.contrast_normalise(IMAGES, 1.0), np.array(expected) / 55, atol=1e-5)


def test_images_without_contrast_become_zeros_and_faint_ones_do_not():
    shape = (256, 32, 32, 3)
    flat = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], shape)
    assert not np.any(preprocessing.contrast_normalise(flat))
    assert not np.any(preprocessing.contrast_normalise(flat.astype(np.float32) / np.float32(255)))
    faint = flat.copy()
    faint[:, 3, 3, 0] ^= 1
    norms = np.linalg.norm(preprocessing.contrast_normalise(faint).reshape(256, -1), axis=1)
    np.testing.assert_allclose(norms, 55, rtol=1e-3)


def _twin(images, bias):
    rows = images.reshape(len(images), -1).astype(np.float64)
    covariance = np.cov(rows, rowvar=False, bias=True) + bias * np.eye(rows.shape[1])
    return rows.mean(axis=0), np.linalg.inv(np.real(sqrtm(covariance)))


@pytest.mark.parametrize("chunk", [7, 4096])
def test_zca(chunk, monkeypatch):
    monkeypatch.setattr(preprocessing, "CHUNK", chunk)
    images = preprocessing.contrast_normalise(IMAGES)
    zca = preprocessing.fit_zca(images)
    images = np.asarray(images)
    mean, matrix = _twin(images, 0.1)
    assert zca.mean.dtype == zca.matrix.dtype == jnp.float32
    np.testing.assert_allclose(zca.matrix, matrix, atol=1e-4)
    np.testing.assert_allclose(zca.mean, mean, atol=1e-4)
    other = images[:3, ::-1]
    expected = ((other.reshape(3, -1) - mean) @ matrix).reshape(other.shape)
    np.testing.assert_allclose(jax.jit(preprocessing.whiten)(zca, other), expected, atol=1e-3)


def test_whitened_training_images_are_white():
    images = RNG.normal(size=(500, 3, 3, 1)) @ np.ones((1, 2)) + RNG.normal(size=(500, 3, 3, 2))
    white = np.asarray(preprocessing.whiten(preprocessing.fit_zca(images, 1e-6), images)).reshape(500, -1)
    np.testing.assert_allclose(np.cov(white, rowvar=False, bias=True), np.eye(18), atol=1e-3)


@pytest.mark.parametrize(
    "images, bias, words",
    [
        (IMAGES[:1], 0.1, "at least two images"),
        (IMAGES, 0.0, "positive filter_bias"),
        (IMAGES[0], 0.1, r"Expected images \(N, H, W, C\)"),
        (np.where(IMAGES == IMAGES[0, 0, 0, 0], np.nan, IMAGES), 0.1, "Expected finite images"),
    ],
)
def test_zca_mistakes(images, bias, words):
    with pytest.raises(ValueError, match=words):
        preprocessing.fit_zca(images, bias)


def test_whitening_images_of_another_size():
    with pytest.raises(ValueError, match="Expected images of 60 values"):
        preprocessing.whiten(preprocessing.fit_zca(IMAGES), IMAGES[:, 1:])


def test_flips():
    images = np.repeat(IMAGES[:1], 400, axis=0)
    flipped = np.asarray(jax.jit(augmentation.random_flip)(jax.random.key(0), images))
    same = np.all(flipped == images, axis=(1, 2, 3))
    np.testing.assert_array_equal(flipped[~same], images[~same][:, :, ::-1])
    assert 150 < same.sum() < 250 and flipped.dtype == np.uint8


def test_shifts():
    image = RNG.normal(size=(8, 7, 2)).astype(np.float32)
    images = np.broadcast_to(image, (400, 8, 7, 2))
    shifted = np.asarray(jax.jit(augmentation.random_shift, static_argnames="most")(jax.random.key(1), images, most=2))
    possible = {(i, j): ndimage.shift(image, (i, j, 0), order=0) for i in range(-2, 3) for j in range(-2, 3)}
    found = [[move for move, moved in possible.items() if np.array_equal(moved, given)] for given in shifted]
    assert all(len(moves) == 1 for moves in found)
    assert {moves[0] for moves in found} == set(possible)
    again = augmentation.random_shift(jax.random.key(1), images, most=2)
    np.testing.assert_array_equal(again, shifted)
    np.testing.assert_array_equal(augmentation.random_shift(jax.random.key(1), images, most=0), images)
    with pytest.raises(ValueError, match="Expected a shift of 0 or more"):
        augmentation.random_shift(jax.random.key(1), images, most=-1)


def test_ten_crops():
    square = boxed(PHOTO, (31, 20), 5, 0, 20)
    expected = [square[t : t + 16, x : x + 16] for t, x in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
    expected += [crop[:, ::-1] for crop in expected]
    given = crops.ten_crop(PHOTO, 16, 20)
    np.testing.assert_array_equal(given, expected)
    drawn = [crops.one_of_ten(PHOTO, np.random.default_rng(seed), 16, 20) for seed in range(80)]
    matches = {next(k for k in range(10) if np.array_equal(given[k], crop)) for crop in drawn}
    assert matches == set(range(10))


def boxed(photo, size, left, top, side):
    """A square of what Pillow makes of an image at `size` (width, height), by its own `resize(box=)`."""
    x, y = photo.shape[1] / size[0], photo.shape[0] / size[1]
    box = left * x, top * y, (left + side) * x, (top + side) * y
    return np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR, box))


def test_random_crops_come_from_everywhere():
    whole = np.asarray(Image.fromarray(PHOTO).resize((31, 20), Image.Resampling.BILINEAR)).astype(int)
    positions = {}
    for top in range(5):
        for left in range(16):
            crop = boxed(PHOTO, (31, 20), left, top, 16)
            assert abs(crop - whole[top : top + 16, left : left + 16]).max() <= 1
            positions[crop.tobytes()] = top, left, False
            positions[crop[:, ::-1].tobytes()] = top, left, True
    drawn = [positions[crops.random_crop(PHOTO, np.random.default_rng(seed), 16, 20).tobytes()] for seed in range(400)]
    tops, lefts, mirrored = zip(*drawn, strict=True)
    assert set(tops) == set(range(5)) and set(lefts) == set(range(16)) and 150 < sum(mirrored) < 250


@pytest.mark.parametrize("shape", [(256, 300, 3), (300, 256, 3), (500, 333, 3), (100, 900, 1)])
def test_the_shorter_side_becomes_256(shape):
    image = np.broadcast_to(np.uint8(7), shape)
    resized = crops.resize_short(image, 256)
    assert min(resized.shape[:2]) == 256 and resized.shape[2] == shape[2] and np.all(resized == 7)
    assert crops.ten_crop(image).shape == (10, 224, 224, shape[2])


def test_an_image_of_the_resized_size_is_cut_and_not_resized(monkeypatch):
    monkeypatch.setattr(Image.Image, "resize", None)
    np.testing.assert_array_equal(crops.centre_crop(PHOTO, 20, 30), PHOTO[5:25, 13:33])
    np.testing.assert_array_equal(crops.centre_crop(PHOTO, 20), PHOTO[5:25, 13:33])
    assert crops.random_crop(PHOTO, np.random.default_rng(0), 20, 30).shape == (20, 20, 3)


@pytest.mark.parametrize("shape", [(6, 200, 3), (200, 6, 1), (7, 131, 3)])
def test_crops_of_long_thin_images_are_those_of_the_whole_resized_image(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    whole = crops.resize_short(image, 20)
    corners = [(length - 20) // 2 for length in whole.shape[:2]]
    square = whole[corners[0] : corners[0] + 20, corners[1] : corners[1] + 20]
    np.testing.assert_allclose(crops.ten_crop(image, 16, 20)[4].astype(int), square[2:18, 2:18], atol=1)
    np.testing.assert_allclose(crops.centre_crop(image, 20, 20).astype(int), square, atol=1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        top, left = (rng.integers(length - 16 + 1) for length in whole.shape[:2])
        expected = whole[top : top + 16, left : left + 16].astype(int)
        expected = expected[:, ::-1] if rng.integers(2) else expected
        np.testing.assert_allclose(crops.random_crop(image, np.random.default_rng(seed), 16, 20), expected, atol=1)


@pytest.mark.parametrize("shape", [(1, 50_000, 3), (50_000, 1, 1), (2, 65_535, 3)])
def test_crops_of_long_thin_images_take_no_memory_for_the_rest(shape, monkeypatch):
    sizes, resize = [], Image.Image.resize

    def watched(image, size, *others):
        sizes.append(size)
        return resize(image, size, *others)

    monkeypatch.setattr(Image.Image, "resize", watched)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    crop = {"side": 224, "short": 256}
    assert crops.ten_crop(image).shape == (10, 224, 224, shape[2])
    for draw in (crops.one_of_ten, crops.random_crop):
        assert draw(image, np.random.default_rng(0), **crop).shape == (224, 224, shape[2])
    assert crops.centre_crop(image, **crop).shape == (224, 224, shape[2])
    assert pictures.fit(image, 30, 20).shape == (30, 20, shape[2])
    assert Input(32, 1.0, (0.0,) * 3, (255.0,) * 3).preprocess([image]).shape == (1, 32, 32, 3)
    assert len(sizes) == 6 and max(map(max, sizes)) <= 256


@pytest.mark.parametrize(
    "image, side, words",
    [
        (PHOTO, 21, "Expected a crop of 1 to 20 pixels, got 21"),
        (PHOTO, 0, "Expected a crop of 1 to 20 pixels, got 0"),
        (PHOTO / 255, 16, "Expected one image .* float64"),
        (PHOTO[..., :2], 16, "Expected one image"),
        (IMAGES, 16, "Expected one image"),
    ],
)
def test_crop_mistakes(image, side, words):
    with pytest.raises(ValueError, match=words):
        crops.ten_crop(image, side, 20)
    with pytest.raises(ValueError, match=words):
        crops.random_crop(image, np.random.default_rng(0), side, 20)
    with pytest.raises(ValueError, match="shorter side of 1 or more pixels, got 0"):
        crops.resize_short(PHOTO, 0)
