"""Heads: marked parts stay where they are in random crops, which align no two of them."""

import numpy as np
import pytest
from PIL import Image

from xai_jax.data import cutouts, heads, photographs

needs_images = pytest.mark.skipif(
    None in (photographs.PACKAGE.find(), cutouts.PACKAGE.find()), reason="Debian's packages of images are missing"
)


def test_the_table_names_photographs_and_cutouts_with_parts_inside():
    known = {row.path for row in (*photographs.table(), *cutouts.table())}
    assert len({head.path for head in heads.table()}) == len(heads.table()) == 45
    for head in heads.table():
        assert head.path in known and list(head.parts) == list(heads.PARTS)
        assert all(0 <= share <= 1 for at in head.parts.values() for share in at)
        assert len(set(head.parts.values())) == 3


@pytest.mark.parametrize("path", ["skimage/chelsea.png", "a.png"])
def test_parts_are_where_the_marks_are(path, monkeypatch):
    """Dots in the colour of each part, on a photograph or on a cut-out, are found at the centres returned."""
    head = heads.Head(path, {"eye": (0.4, 0.4), "nose": (0.55, 0.45), "ear": (0.35, 0.6)})
    image = np.full((400, 500, 3), 99, np.uint8)
    colours = dict(zip(heads.PARTS, ([255, 0, 0], [0, 255, 0], [0, 0, 255]), strict=True))
    for part, (row, column) in head.parts.items():
        top, left = round(400 * row) - 10, round(500 * column) - 10
        image[top : top + 20, left : left + 20] = colours[part]
    monkeypatch.setattr(photographs, "read", lambda row: image)
    monkeypatch.setattr(cutouts, "read", lambda row: Image.fromarray(image).convert("RGBA"))
    monkeypatch.setattr(heads, "_cutouts", lambda: {"a.png": None})
    monkeypatch.setattr(heads.composites, "photograph", lambda side, rng: np.zeros((side, side, 3), np.float32))
    seen = []
    for rng in [None, *map(np.random.default_rng, range(20))]:
        pixels, centres = heads.crop(head, 200, rng)
        assert pixels.shape == (200, 200, 3) and pixels.dtype == np.uint8
        for part, at in centres.items():
            found = np.argwhere(np.abs(pixels.astype(int) - colours[part]).sum(-1) < 60).mean(0) + 0.5
            np.testing.assert_allclose(at, found, atol=1.5)
        seen.append(centres["nose"])
    assert np.ptp(seen, axis=0).min() > 40


@needs_images
def test_the_common_pose_has_the_nose_on_the_left_and_the_parts_in_the_middle():
    for head in heads.table():
        _, centres = heads.crop(head, 200)
        assert centres["nose"][1] < centres["ear"][1]
        if head.path.startswith("animals/"):  # a cut-out, with space around it
            low, high = np.min([*centres.values()], 0), np.max([*centres.values()], 0)
            np.testing.assert_allclose((low + high) / 2, 100, atol=1)
            assert (high - low).max() == pytest.approx(100, abs=1)


@needs_images
def test_every_head_is_read_the_same_way_again():
    for number, head in enumerate(heads.table()):
        image, centres = heads.crop(head, 64, np.random.default_rng(number))
        again, _ = heads.crop(head, 64, np.random.default_rng(number))
        np.testing.assert_array_equal(image, again)
        assert np.ptp(image) > 50 and all(0 <= x < 64 for at in centres.values() for x in at)
