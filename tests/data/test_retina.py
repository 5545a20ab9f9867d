"""Retinas: which lesions belong to which level, what each looks like, and labels that are wrong on purpose."""

import functools

import numpy as np
import pytest

from xai_jax.data import lesions, retina
from xai_jax.data.retina import CHANCES, LESIONS, PROLIFERATIVE

SIDE = 96


COUNT = 2000  # of each level


@functools.cache
def _drawn(level, mislabelled):
    return [retina.findings(5 * number + level, 0, mislabelled)[1] for number in range(COUNT)]


@pytest.mark.parametrize("lesion", CHANCES)
@pytest.mark.parametrize("mislabelled", [None, (1, 2, 0.4)])
def test_lesions_are_as_likely_as_the_rule_says(lesion, mislabelled):
    for level in range(5):
        expected = retina.chance(level, lesion, mislabelled)
        share = np.mean([lesion in each for each in _drawn(level, mislabelled)])
        assert abs(share - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / COUNT)


def test_level_4_has_at_least_one_of_its_signs_and_no_other_has_any():
    for index in range(1000):
        level, drawn = retina.findings(index, 3)
        assert level == index % 5 and bool(set(drawn) & set(PROLIFERATIVE)) == (level == 4)
        assert drawn or level == 0


def test_chances_by_enumeration():
    outcomes = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1) if a + b + c]
    weights = np.array([np.prod([0.6 if each else 0.4 for each in outcome]) for outcome in outcomes])
    np.testing.assert_allclose(retina.chance(4, "new vessels"), weights @ [o[0] for o in outcomes] / weights.sum())
    assert retina.chance(4, "haemorrhages") == 0.5 and retina.chance(0, "laser scars") == 0
    np.testing.assert_allclose(retina.chance(1, "haemorrhages", (1, 2, 0.4)), 0.4)
    np.testing.assert_allclose(retina.chance(1, "microaneurysms", (1, 2, 0.4)), 0.6 + 0.4 * 0.6)
    np.testing.assert_allclose(retina.chance(2, "microaneurysms", (1, 2, 0.4)), 0.6)


def test_associations_have_the_signs_of_the_definition():
    signs = {lesion: [np.sign(retina.association(level, lesion)) for level in range(5)] for lesion in LESIONS}
    assert signs["microaneurysms"] == [-1, 1, 1, 1, -1]
    assert signs["haemorrhages"][1:4] == [-1, 1, 1]
    for lesion in PROLIFERATIVE:
        assert signs[lesion] == [-1, -1, -1, -1, 1]
    assert retina.association(1, "haemorrhages") < 0 < retina.association(1, "haemorrhages", (1, 2, 0.8))
    np.testing.assert_allclose(retina.association(2, "exudates"), 0.7 - (0 + 0 + 0.5 + 0.2) / 4)


def test_wrong_labels_are_a_share_of_one_level():
    levels = np.array([retina.findings(index, 0, (1, 2, 0.4))[0] for index in range(5000)])
    labels = np.arange(5000) % 5
    assert set(levels[labels == 1]) == {1, 2} and abs((levels[labels == 1] == 2).mean() - 0.4) < 0.07
    np.testing.assert_array_equal(levels[labels != 1], labels[labels != 1])
    data = retina.graded(10, SIDE, 0, (1, 2, 1.0))
    assert [label for _, label in data] == [*range(5)] * 2 and data.label(6) == 1


def test_images_depend_on_seed_and_index_alone():
    data = retina.graded(7, SIDE, 0)
    images, labels = data.arrays()
    assert images.shape == (7, SIDE, SIDE, 3) and list(labels) == [0, 1, 2, 3, 4, 0, 1] and len(data.classes) == 5
    for index in (6, 2, 2, -1):
        np.testing.assert_array_equal(data[index][0], images[index])
    np.testing.assert_array_equal(retina.graded(2, SIDE, 0).arrays()[0], images[:2])
    assert (retina.graded(7, SIDE, 1).arrays()[0] != images).any((1, 2, 3)).all()
    np.testing.assert_array_equal(images[0], retina.images(None, 1, SIDE, 0)[0])  # level 0 is healthy


def _changes(lesion, side=SIDE, count=12):
    """By how much a lesion changes the same eyes: (count, side, side, 3)."""
    return retina.images(lesion, count, side, 0).astype(float) - retina.images(None, count, side, 0)


@pytest.mark.parametrize("lesion", LESIONS)
@pytest.mark.parametrize("side", [SIDE, 150])
def test_every_lesion_shows_in_every_eye_and_most_of_the_eye_stays(lesion, side):
    changed = abs(_changes(lesion, side, 6)).max(-1) > 20
    share = changed.mean((1, 2))
    assert (share > 0.002).all() and (share < 0.35).all()
    if lesion != "vitreous haemorrhage":
        assert (share < 0.2).all()


def test_colours_of_lesions():
    for lesion in ("microaneurysms", "haemorrhages", "vitreous haemorrhage", "new vessels", "venous beading"):
        assert _changes(lesion).mean((0, 1, 2)).max() < 0
    for lesion in ("exudates", "laser scars"):
        red, green, blue = _changes(lesion).mean((0, 1, 2))
        assert green > blue > 0 and green > red


def test_sizes_of_lesions():
    area = {lesion: (abs(_changes(lesion)).max(-1) > 20).mean() for lesion in LESIONS}
    assert area["microaneurysms"] < area["haemorrhages"] < area["vitreous haemorrhage"]


def test_laser_scars_leave_the_centre():
    inner = np.hypot(*np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]) < 0.25
    changed = abs(_changes("laser scars")).max(-1) > 20
    assert changed[:, inner].mean() < 0.1 * changed.mean()


def test_beads_lie_on_dark_vessels():
    photograph = np.asarray(retina._photograph(500), float)[..., 1]
    for vein in lesions.VEINS:
        for x, y in (500 * lesions._evenly(np.array(vein), 0.05)).astype(int):
            around = photograph[max(0, y - 20) : y + 20, max(0, x - 20) : x + 20]
            assert photograph[y - 4 : y + 5, x - 4 : x + 5].min() < np.percentile(around, 20)


def test_photograph_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match="Usual cause: a scikit-image without its data"):
        retina.graded(5, 61, 0)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: retina.images("drusen", 1, SIDE, 0), "a lesion out of microaneurysms, .*'drusen'"),
        (lambda: retina.images(None, 0, SIDE, 0), "got 0 of 96"),
        (lambda: retina.graded(5, 32, 0), "at least 48 pixels"),
        (lambda: retina.graded(5, SIDE, 0, (1, 1, 0.5)), "two different levels"),
        (lambda: retina.graded(5, SIDE, 0, (1, 5, 0.5)), "two different levels"),
        (lambda: retina.chance(1, "exudates", (1, 2, 1.5)), "a share from 0 to 1"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(ValueError, match=words):
        call()
