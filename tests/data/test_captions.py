"""Captions: what is written and how often, the same pixels from the same seed in any order, and concept images."""

import numpy as np
import pytest

from xai_jax.data import captions, datasets, pictures
from xai_jax.data.batches import in_order
from xai_jax.data.captions import OTHERS, Canvas, captioned, captions_alone, without_captions
from xai_jax.data.datasets import InMemory, OnDisk

RNG = np.random.default_rng(0)
LABELS = np.arange(300, dtype=np.int32) % 3
SHOES = InMemory(RNG.integers(0, 256, (300, 28, 28, 1), np.uint8), LABELS, ("Sandal", "Sneaker", "Boot"))
WORDS = ("sandal", "sneaker", "boot")
CANVAS = captions.SMALL


def _images(noise, seed=0, source=SHOES):
    return captioned(source, WORDS, noise, seed).arrays()


def _read(image, canvas=CANVAS):
    """The word in an image, or None: the one whose letters, at some shift, are its ink."""
    paper, ink = (float(edge) for edge in (image[canvas.height :].max(), image[canvas.height :].min()))
    if paper == ink:
        return None
    shown = (paper - image[canvas.height :, :, 0]) / (paper - ink)
    most = canvas.strip // 8
    shifts = np.stack(np.mgrid[-most : most + 1, -most : most + 1], -1).reshape(-1, 2)
    errors = {
        word: min(abs(np.roll(captions._letters(word, canvas), shift, (0, 1)) - shown).max() for shift in shifts)
        for word in (*WORDS, *OTHERS)
    }
    word = min(errors, key=errors.get)
    assert errors[word] < 0.02
    return word


def test_captions_say_what_the_picture_shows_without_noise():
    images, labels = _images(0.0)
    assert images.shape == (300, *CANVAS.shape) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)
    assert [_read(image) for image in images[:60]] == [WORDS[label] for label in LABELS[:60]]


def test_full_noise_never_writes_a_classs_word_and_none_writes_nothing():
    seen = {_read(image) for image in _images(1.0)[0][:100]}
    assert seen == set(OTHERS)
    assert {_read(image) for image in _images(None)[0][:20]} == {None}


def test_noise_is_the_share_of_captions_replaced():
    true, noisy = _images(0.0)[0], _images(0.3)[0]
    replaced = (true != noisy).any((1, 2, 3))
    assert abs(replaced.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 300)
    for index in (*np.flatnonzero(replaced)[:20], *np.flatnonzero(~replaced)[:20]):
        assert (_read(noisy[index]) in OTHERS) == replaced[index]


def test_pictures_are_the_same_whatever_is_written():
    above = [_images(noise)[0][:, : CANVAS.height] for noise in (0.0, 0.3, 1.0, None)]
    for other in above[1:]:
        np.testing.assert_array_equal(above[0], other)
    assert (above[0] != _images(0.0, seed=1)[0][:, : CANVAS.height]).any()


def test_images_do_not_depend_on_the_order_or_the_threads():
    data, images = captioned(SHOES, WORDS, 0.3, 5), _images(0.3, 5)[0]
    for index in (299, 0, 7, 7, -1):
        np.testing.assert_array_equal(data[index][0], images[index])
    together = np.concatenate([batch for batch, _ in in_order(data, 64)])
    np.testing.assert_array_equal(together, images)
    assert data.classes == WORDS and data.label(4) == 1


def test_images_are_drawn_on_access():
    read = []
    source = OnDisk("counted", 300, lambda index: (read.append(index), SHOES[index])[1], SHOES.classes)
    data = captioned(source, WORDS, 0.0, 0)
    assert not read and data[3] and read == [3]


def test_grey_pictures_are_tinted_and_keep_their_shape():
    white = InMemory(np.full((40, 28, 28, 1), 255, np.uint8), np.zeros(40, np.int32), ("one",))
    images = captioned(white, ("boot",), None, 0).arrays()[0][:, : CANVAS.height]
    lit = images.any(-1)
    assert (lit.all(1).sum(1) == CANVAS.height).all()  # a square of the canvas's height
    assert len({int(np.flatnonzero(row[0])[0]) for row in lit}) > 5  # at different positions
    colours = {tuple(image[mask][0]) for image, mask in zip(images, lit, strict=True)}
    assert len(colours) > 30 and all(max(c) - min(c) > 40 for c in colours)


def test_photographs_fill_the_width_in_their_own_colours():
    photos = InMemory(np.full((2, 90, 60, 3), (10, 20, 30), np.uint8), np.zeros(2, np.int32), ("one",))
    canvas = Canvas(224, 176, 48, 33)
    images = captioned(photos, ("cucumber",), 0.0, 0, canvas).arrays()[0]
    assert images.shape == (2, 224, 224, 3) and (images[:, :176] == (10, 20, 30)).all()


def test_the_mask_covers_every_letter_and_nothing_of_the_picture():
    mask = CANVAS.caption()
    assert mask.shape == CANVAS.shape[:2] and mask.sum() == CANVAS.strip * CANVAS.width
    changed = (_images(0.0)[0] != _images(1.0)[0]).any((0, 3))
    assert changed.any() and not (changed & ~mask).any()


def test_concept_images():
    boots = datasets.only(SHOES, ["Boot"])
    shown = without_captions(boots, 20, 0)
    assert shown.shape == (20, *CANVAS.shape) and {_read(image) for image in shown} == {None}
    alone = captions_alone(SHOES, ["boot"], 20, 0)
    assert {_read(image) for image in alone} == {"boot"}
    assert {_read(image) for image in captions_alone(SHOES, OTHERS, 60, 0)} <= set(OTHERS)
    for make in (lambda seed: without_captions(boots, 20, seed), lambda seed: captions_alone(SHOES, OTHERS, 20, seed)):
        np.testing.assert_array_equal(make(3), make(3))
        assert (make(3) != make(4)).any((1, 2, 3)).all()


def test_captions_alone_keep_all_pixels_of_a_picture_but_not_their_positions():
    pixels = np.arange(40 * 56, dtype=np.uint8).reshape(1, 40, 56, 1).repeat(3, -1)
    ordered = InMemory(pixels, np.zeros(1, np.int32), ("one",))
    found = captions_alone(ordered, ["boot"], 1, 0)[0, :40, :, 0].ravel()
    np.testing.assert_array_equal(np.sort(found), np.sort(pixels[0, ..., 0].ravel()))
    assert (found == pixels[0, ..., 0].ravel()).mean() < 0.05


def test_fit_keeps_the_middle_and_the_shape():
    picture = np.zeros((30, 60, 1), np.uint8)
    picture[:, 15:45] = 200
    found = pictures.fit(picture, 12, 12)
    assert found.shape == (12, 12, 1) and (found[:, 1:-1] == 200).all()  # edges are smoothed
    np.testing.assert_array_equal(pictures.fit(picture, 30, 60), picture)


def test_fit_takes_pictures_of_all_sizes():
    rng = np.random.default_rng(1)
    for tall, wide, height, width in rng.integers(1, 300, (200, 4)):
        assert pictures.fit(np.full((tall, wide, 3), 9, np.uint8), height, width).shape == (height, width, 3)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"noise": 1.5}, "a noise from 0 to 1, or None"),
        ({"noise": float("nan")}, "a noise from 0 to 1"),
        ({"words": ("a", "b")}, "a word for each of Sandal, Sneaker, Boot"),
        ({"words": ("boot", "boot", "sandal")}, "different"),
        ({"words": ("sandal", "sneaker", "guitar")}, "not among the other words"),
        ({"words": ("sandal", "sneaker", "mountaineering")}, "'mountaineering'.*Usual cause: a font of 11 pixels"),
        ({"words": ("sandal", "sneaker", "")}, "got ''"),
        ({"canvas": Canvas(56, 40, 10)}, "fit into 10 x 56"),
    ],
)
def test_mistakes(change, words):
    given = {"pictures": SHOES, "words": WORDS, "noise": 0.0, "seed": 0} | change
    with pytest.raises(ValueError, match=words):
        captioned(**given)


def test_mistakes_in_concepts():
    with pytest.raises(ValueError, match="Expected 1 to 300 pictures, .* got 301"):
        without_captions(SHOES, 301, 0)
    with pytest.raises(ValueError, match="at least one word"):
        captions_alone(SHOES, [], 3, 0)
    with pytest.raises(ValueError, match="a picture"):
        pictures.fit(np.zeros((3, 3)), 2, 2)
