"""HOG and dense SIFT against loops over pixels, against VLFeat, and their gradients against differences."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from xai_jax import hog_dsift, inversion
from xai_jax.synthesis.inversion import CVPR

RNG = np.random.default_rng(0)
NOISE = RNG.uniform(0, 255, (2, 27, 34, 1)).astype(np.float32)
STEPS = np.where(np.indices((32, 40)).sum(0) // 7 % 2, 200.0, 50.0).astype(np.float32)[None, ..., None]

# With a vote for one orientation (hard) or two (soft): sums of each cell's values, and those of row 0, column 1.
VLFEAT = json.loads(Path(__file__).with_name("vlfeat.json").read_text())
DESCRIBE = pytest.mark.parametrize("describe", [hog_dsift.hog, hog_dsift.hogb, hog_dsift.dsift])


def votes(image, orientations, soft):
    """{(row, column): histogram} of inner pixels of an image (H, W)."""
    found, step = {}, 2 * np.pi / (2 * orientations)
    for r in range(1, image.shape[0] - 1):
        for c in range(1, image.shape[1] - 1):
            across, down = (float(image[r, c + 1] - image[r, c - 1]), float(image[r + 1, c] - image[r - 1, c]))
            length, angle = np.hypot(across, down), np.arctan2(down, across) % (2 * np.pi)
            found[r, c] = np.zeros(2 * orientations)
            if soft:
                first, share = divmod(angle / step, 1)
                found[r, c][int(first) % (2 * orientations)] += length * (1 - share)
                found[r, c][int(first + 1) % (2 * orientations)] += length * share
            else:
                distances = [abs(np.exp(1j * angle) - np.exp(1j * o * step)) for o in range(2 * orientations)]
                found[r, c][int(np.argmin(np.round(distances, 9)))] += length
    return found


def gathered(image, centres, width, orientations, soft):
    """Histograms around centres (row, column) of one image."""
    cells = np.zeros((len(centres[0]), len(centres[1]), 2 * orientations))
    for (r, c), histogram in votes(image, orientations, soft).items():
        for i, row in enumerate(centres[0]):
            for j, column in enumerate(centres[1]):
                cells[i, j] += max(0, 1 - abs(r - row) / width) * max(0, 1 - abs(c - column) / width) * histogram
    return cells


def slow_hog(image, cell, soft):
    centres = [[(i + 0.5) * cell - 0.5 for i in range(size // cell)] for size in image.shape]
    cells = gathered(image, centres, cell, 9, soft)
    height, width = cells.shape[:2]
    undirected = cells[..., :9] + cells[..., 9:]
    found = np.zeros((height, width, 27))
    for i in range(height):
        for j in range(width):
            mine = np.concatenate([cells[i, j], undirected[i, j]])
            for down in (-1, 1):
                for right in (-1, 1):
                    rows = [i, min(max(i + down, 0), height - 1)]
                    columns = [j, min(max(j + right, 0), width - 1)]
                    square = sum((undirected[r, c] ** 2).sum() for r in rows for c in columns)
                    found[i, j] += 0.5 * np.minimum(mine / np.sqrt(square + 1e-4), 0.2)
    return found


def slow_dsift(image, width):
    centres = [[1 + (i + 1) * width - 0.5 for i in range((size - 2) // width - 1)] for size in image.shape]
    bins, rows = gathered(image, centres, width, 4, True), []
    for i in range(0, bins.shape[0] - 3, 3):
        row = []
        for j in range(0, bins.shape[1] - 3, 3):
            weights = {(a, b): np.exp(-((a - 1.5) ** 2 + (b - 1.5) ** 2) / (2 * 1.5**2)) for a, b in np.ndindex(4, 4)}
            whole = np.concatenate([weight * bins[i + a, j + b] for (a, b), weight in weights.items()])
            row.append(np.minimum(whole / np.sqrt((whole**2).sum() + 1e-4), 0.2))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("images", [NOISE, STEPS], ids=["noise", "steps"])
@pytest.mark.parametrize("soft, cell", [(False, 8), (True, 8), (False, 5)])
def test_hog_is_what_loops_over_pixels_give(images, soft, cell):
    found = hog_dsift.hog(jnp.asarray(images), cell, soft)
    assert found.shape == (len(images), images.shape[1] // cell, images.shape[2] // cell, 27)
    np.testing.assert_allclose(found[0], slow_hog(images[0, ..., 0], cell, soft), atol=2e-4 if soft else 1e-6)


@pytest.mark.parametrize("images, width", [(NOISE, 5), (STEPS, 5), (NOISE, 3)], ids=["noise", "steps", "narrow"])
def test_dense_sift_is_what_loops_over_pixels_give(images, width):
    found = hog_dsift.dsift(jnp.asarray(images), width)
    np.testing.assert_allclose(found[0], slow_dsift(images[0, ..., 0], width), atol=1e-4)


def test_hog_is_vlfeats():
    """Made once by vl_hog of VLFeat 0.9.21 (VlHogVariantUoctti), of image (row * 7 + column * 5) * column mod 256."""
    rows, columns = np.indices((24, 24))
    image = ((rows * 7 + columns * 5) * columns % 256).astype(np.float32)[None, ..., None]
    for votes, golden in VLFEAT.items():
        found = np.asarray(hog_dsift.hog(image, soft=votes == "soft"))[0]
        np.testing.assert_allclose(found.sum(-1), golden["sums"], atol=2e-4)
        np.testing.assert_allclose(found[0, 1], golden["cell"], atol=2e-4)


@DESCRIBE
def test_features_do_not_care_for_brightness_nor_hardly_for_contrast(describe):
    np.testing.assert_allclose(describe(NOISE - 128), describe(NOISE), atol=1e-4)
    np.testing.assert_allclose(describe(NOISE * 2), describe(NOISE), atol=1e-4)
    assert not np.allclose(describe(NOISE), describe(NOISE[:, ::-1]))


@DESCRIBE
def test_gradients_are_differences(describe):
    """In float64, with steps so small that no gradient changes its orientation."""
    with jax.enable_x64(True):
        check_grads(describe, (NOISE[:1].astype(np.float64),), 1, ["rev"], atol=1e-6, rtol=1e-4, eps=1e-6)


@DESCRIBE
def test_flat_images_have_no_features_and_finite_gradients(describe):
    flat = jnp.full((1, 32, 32, 1), 128.0)
    assert not np.asarray(describe(flat)).any()
    half = flat.at[:, :, 16:].set(0.0)
    for x in (flat, half):
        assert np.isfinite(jax.grad(lambda x: (describe(x) ** 2).sum())(x)).all()


@pytest.mark.parametrize(
    "call, words",
    [
        (partial(hog_dsift.hog, np.zeros((1, 16, 16, 3))), "grey images"),
        (partial(hog_dsift.hog, np.zeros((1, 7, 16, 1))), "at least 8 pixels"),
        (partial(hog_dsift.hog, np.zeros((16, 16, 1))), "grey images"),
        (partial(hog_dsift.hog, np.zeros((1, 16, 16, 1)), 0), "cells of at least one pixel"),
        (partial(hog_dsift.hogb, np.zeros((1, 16, 16, 1), np.uint8)), "floating-point numbers, got uint8"),
        (partial(hog_dsift.dsift, np.zeros((1, 26, 40, 1))), "at least 27 pixels"),
    ],
)
def test_wrong_images_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_smallest_images_have_one_cell_and_one_descriptor():
    assert hog_dsift.hog(NOISE[:, :8, :15]).shape == (2, 1, 1, 27)
    assert hog_dsift.dsift(NOISE[:, :27, :27]).shape == (2, 1, 1, 128)


@DESCRIBE
def test_features_can_be_inverted(describe):
    rows, columns = np.indices((32, 32))
    image = jnp.asarray(100 * np.sin(rows / 3 + columns**2 / 90), jnp.float32)[None, ..., None]
    wanted, form = describe(image), CVPR(total_variation=0.02, phases=((1.0, 60), (0.1, 60)))
    found = inversion.invert(describe, wanted, (32, 32, 1), jax.random.key(0), form)
    first, last = (found.history["features"][n, 0] for n in (0, -1))
    assert last < 0.25 * first
