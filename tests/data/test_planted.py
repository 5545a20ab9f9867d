"""Planted attributes: how often, on which pictures, and the same from the same seed."""

import numpy as np
import pytest

from xai_jax.data import planted
from xai_jax.data.datasets import InMemory
from xai_jax.data.planted import ATTRIBUTES

RNG = np.random.default_rng(0)
LABELS = np.arange(900, dtype=np.int32) % 3
CLOTHES = InMemory(RNG.integers(0, 120, (900, 28, 28, 1), np.uint8), LABELS, ("Coat", "Bag", "Boot"))
CHANCES = {"badge": (0.9, 0.1, 0.3), "star": (0.5, 0.5, 0.5)}


def _truth(seed=0, chances=CHANCES):
    return [planted.attributes(index, int(label), chances, seed) for index, label in enumerate(LABELS)]


def test_attributes_are_as_frequent_as_required():
    drawn = _truth()
    for name, chances in CHANCES.items():
        for label, chance in enumerate(chances):
            share = np.mean([name in each for each, other in zip(drawn, LABELS, strict=True) if other == label])
            assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / 300)
    assert not any("frame" in each for each in drawn)
    both = np.mean(["badge" in each and "star" in each for each in drawn])
    assert abs(both - np.mean([b * s for b, s in zip(*CHANCES.values(), strict=True)])) < 0.06  # drawn by themselves
    assert {planted.attributes(9, 1, {"star": (0, 1, 0)}, s) for s in range(50)} == {("star",)}


def test_images_show_the_attributes_that_are_drawn_and_no_others():
    data = planted.planted(CLOTHES, CHANCES, 32, 0)
    plain = planted.planted(CLOTHES, {}, 32, 0)
    for index, shown in enumerate(_truth()[:200]):
        image, label = data[index]
        assert label == LABELS[index] == data.label(index)
        assert (image != plain[index][0]).any() == bool(shown)
        red = (image[..., 0] > 170) & (image[..., 1] < 90) & (image[..., 2] < 100)
        yellow = (image[..., 0] > 200) & (image[..., 1] > 150) & (image[..., 2] < 110)
        assert (red.sum() > 8) == ("badge" in shown) and (yellow.sum() > 8) == ("star" in shown)


def test_images_depend_on_seed_and_index_alone():
    data = planted.planted(CLOTHES, CHANCES, 20, 4)
    images, labels = data.arrays()
    assert images.shape == (900, 20, 20, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)
    for index in (899, 5, 5, -1):
        np.testing.assert_array_equal(data[index][0], images[index])
    assert data.classes == CLOTHES.classes
    assert (planted.planted(CLOTHES, CHANCES, 20, 5)[0][0] != images[0]).any()


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_concepts_are_the_attribute_on_the_same_pictures(attribute):
    plain = planted.images(CLOTHES, None, 25, 28, 1)
    shown = planted.images(CLOTHES, attribute, 25, 28, 1)
    changed = (plain != shown).any(-1)
    share = changed.mean((1, 2))
    assert (share > 0.03).all() and (share < 0.4).all()
    np.testing.assert_array_equal(shown, planted.images(CLOTHES, attribute, 25, 28, 1))
    assert (planted.images(CLOTHES, attribute, 25, 28, 2) != shown).any((1, 2, 3)).all()
    edge = np.ones((28, 28), bool)
    edge[4:-4, 4:-4] = False
    assert changed[:, 0].all() == (attribute == "frame")
    if attribute == "frame":
        assert not changed[:, ~edge].any()
    else:
        assert not changed[:, 13:15, 13:15].any()  # in corners


def test_badge_and_star_never_share_a_corner():
    data = planted.planted(CLOTHES, {"badge": (1, 1, 1), "star": (1, 1, 1)}, 40, 0)
    for index in range(40):
        image = data[index][0].astype(int)
        red = (image[..., 0] > 170) & (image[..., 1] < 90) & (image[..., 2] < 100)
        yellow = (image[..., 0] > 200) & (image[..., 1] > 150) & (image[..., 2] < 110)
        middles = [np.argwhere(mask).mean(0) for mask in (red, yellow)]
        assert np.hypot(*(middles[0] - middles[1])) > 15


def test_association():
    np.testing.assert_allclose(planted.association((0.9, 0.1, 0.3), 0), 0.7)
    np.testing.assert_allclose(planted.association((0.9, 0.1, 0.3), 1), -0.5)
    assert planted.association((0.5, 0.5, 0.5), 2) == 0


@pytest.mark.parametrize(
    "chances, words",
    [
        ({"hat": (0, 0, 0)}, "attributes out of badge, star, frame, got hat"),
        ({"badge": (0.5, 0.5)}, "3 chances from 0 to 1 of badge"),
        ({"badge": (0.5, 0.5, 1.5)}, "3 chances from 0 to 1 of badge"),
    ],
)
def test_mistakes(chances, words):
    with pytest.raises(ValueError, match=words):
        planted.planted(CLOTHES, chances, 32, 0)


def test_mistakes_in_concepts():
    with pytest.raises(ValueError, match="got hat"):
        planted.images(CLOTHES, "hat", 5, 32, 0)
    with pytest.raises(ValueError, match="at least 12 pixels"):
        planted.images(CLOTHES, "star", 5, 8, 0)
    with pytest.raises(ValueError, match="Expected 1 to 900 pictures"):
        planted.images(CLOTHES, "star", 901, 32, 0)
