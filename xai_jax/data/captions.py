"""Pictures with true or false captions: the controlled experiment of Kim et al. 2018, section 4.3.

With noise p a caption is, with probability p, a word that is unrelated to the picture: one of `OTHERS`, never the word
of another class, so that the word of a class is always correct. A network trained with p = 0 can ignore the picture,
one trained with p = 1 cannot. Fonts, sizes, colours and words are ours.

>>> from xai_jax.data.datasets import InMemory
>>> pictures = InMemory(np.zeros((2, 8, 8, 1), np.uint8), np.int32([0, 1]), ("cat", "dog"))
>>> captioned(pictures, ("cat", "dog"), noise=0.3, seed=0)[1][0].shape
(56, 56, 3)
>>> without_captions(pictures, 2, seed=0).shape, captions_alone(pictures, ["cat"], 2, seed=0).shape
((2, 56, 56, 3), (2, 56, 56, 3))
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xai_jax.core.messages import listed, quoted
from xai_jax.data.datasets import Dataset, OnDisk, labeller
from xai_jax.data.pictures import fit, some, tint

OTHERS = ("guitar", "piano", "cloud", "river", "candle", "moon", "paper", "train", "spoon", "bridge", "stone", "pencil")
FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")  # the same letters on every machine
PICTURE, CAPTION, CONCEPT = 1, 2, 3  # random streams: the same pictures appear with and without captions


@dataclass(frozen=True)
class Canvas:
    """A picture, `height` x `width` pixels, above a caption, `strip` x `width`, in letters of size `letters`.

    Grey pictures keep their aspect ratio, on black; coloured ones fill the width.
    """

    width: int = 56
    height: int = 40
    strip: int = 16
    letters: int = 11

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of the whole image."""
        return self.height + self.strip, self.width, 3

    def caption(self) -> np.ndarray:
        """The mask of the caption: (H, W) bool, true in the whole strip."""
        return np.repeat(np.arange(self.shape[0])[:, None] >= self.height, self.width, axis=1)


SMALL = Canvas()


def captioned(
    pictures: Dataset,
    words: Sequence[str],
    noise: float | None,
    seed: int,
    canvas: Canvas = SMALL,
    others: Sequence[str] = OTHERS,
) -> OnDisk:
    """Pictures above the word of their class, or, with probability `noise`, another word.

    Images are drawn on access, each from `seed` and its index alone; its picture is the same for every noise.

    Args:
      pictures: labelled pictures.
      words: one for each class.
      noise: probability of another word, from 0 to 1; None for empty captions.
      seed: of words, colours and positions.
      canvas: sizes in pixels.
      others: words that stand for no class.

    Returns:
      Images (H, W, 3) uint8 with the labels of their pictures.

    Raises:
      ValueError: for words that do not fit the canvas, a word of a class among `others`, or a noise out of range.
    """
    _check_words([*words, *others], canvas)
    if len(words) != len(pictures.classes) or len({*words, *others}) < len(words) + len(others):
        raise ValueError(
            f"Expected a word for each of {listed(pictures.classes)}, different and not among the other words, "
            f"got {listed(words)}."
        )
    if noise is not None and not 0 <= noise <= 1:
        raise ValueError(f"Expected a noise from 0 to 1, or None for no captions, got {noise}.")

    def read(index):
        picture, label = pictures[index]
        above, below = (np.random.default_rng([seed, index, stream]) for stream in (PICTURE, CAPTION))
        word = _word(words[label], noise, others, below)
        return np.concatenate([_picture(picture, canvas, above), _strip(word, canvas, below)]), label

    name = f"captions {'left out' if noise is None else f'with noise {noise:g}'}"
    return OnDisk(name, len(pictures), read, tuple(words), labeller(pictures))


def without_captions(pictures: Dataset, count: int, seed: int, canvas: Canvas = SMALL) -> np.ndarray:
    """Different pictures above empty captions: an image concept, or random images for it.

    Args:
      pictures: of one class for a concept, of other classes for random images.
      count: number of images.
      seed: of the choice, colours and positions.
      canvas: sizes in pixels.

    Returns:
      Images (count, H, W, 3) uint8.

    Raises:
      ValueError: for more images than there are pictures.
    """
    return _drawn(pictures, (), count, seed, canvas)


def captions_alone(
    pictures: Dataset, words: Sequence[str], count: int, seed: int, canvas: Canvas = SMALL
) -> np.ndarray:
    """Random words below pictures with shuffled pixels: a caption concept, or random images for it.

    Args:
      pictures: of any classes.
      words: the word of a class for a concept, `OTHERS` for random images.
      count: number of images.
      seed: of words, pixels, colours and positions.
      canvas: sizes in pixels.

    Returns:
      Images (count, H, W, 3) uint8.

    Raises:
      ValueError: for more images than there are pictures, and for words that do not fit the canvas.
    """
    _check_words(words, canvas)
    return _drawn(pictures, words, count, seed, canvas)


def _drawn(pictures, words, count, seed, canvas):
    images = np.empty((count, *canvas.shape), np.uint8)
    for number, index in enumerate(some(pictures, count, seed)):
        rng = np.random.default_rng([seed, number, CONCEPT])
        above = _picture(pictures[index][0], canvas, rng)
        images[number, : canvas.height] = _shuffled(above, rng) if words else above
        images[number, canvas.height :] = _strip(rng.choice(words) if words else None, canvas, rng)
    return images


def _shuffled(picture, rng):
    return rng.permutation(picture.reshape(-1, 3)).reshape(picture.shape)


def _word(word, noise, others, rng):
    chance, other = rng.random(), others[rng.integers(len(others))]  # at every noise, for the same later draws
    if noise is None:
        return None
    return other if chance < noise else word


def _picture(picture, canvas, rng):
    if picture.shape[2] == 3:
        return fit(picture, canvas.height, canvas.width)
    wide = min(canvas.width, round(canvas.height * picture.shape[1] / picture.shape[0]))
    left = rng.integers(canvas.width - wide + 1)
    area = np.zeros((canvas.height, canvas.width, 3), np.uint8)
    area[:, left : left + wide] = tint(fit(picture, canvas.height, wide), rng)
    return area


def _strip(word, canvas, rng):
    paper, ink, most = rng.uniform(220, 255), rng.uniform(0, 70), _shift(canvas)
    letters = _letters(word, canvas) if word else np.zeros((canvas.strip, canvas.width))
    letters = np.roll(letters, rng.integers(-most, most + 1, 2), (0, 1))
    return np.rint(paper - (paper - ink) * letters[..., None]).astype(np.uint8).repeat(3, 2)


def _shift(canvas):
    return canvas.strip // 8


@functools.cache
def _letters(word, canvas):
    """(strip, width) from 0 for paper to 1 for ink. Cached, since fonts are not thread-safe."""
    image, font = Image.new("L", (canvas.width, canvas.strip)), ImageFont.truetype(str(FONT), canvas.letters)
    _, top, _, bottom = font.getbbox("lp", anchor="ms")  # about the line that letters stand on
    position = canvas.width / 2, (canvas.strip - top - bottom) // 2
    ImageDraw.Draw(image).text(position, word, 255, font, anchor="ms")
    return np.asarray(image) / 255


def _check_words(words, canvas):
    if not words:
        raise ValueError("Expected at least one word to write, got none.")
    most = _shift(canvas)
    for word in words:
        letters = _letters(word, canvas)
        inner = letters[most : canvas.strip - most, most : canvas.width - most]
        if not letters.any() or np.count_nonzero(inner) < np.count_nonzero(letters):
            raise ValueError(
                f"Expected words that fit into {canvas.strip} x {canvas.width} pixels minus {most} on each side, got "
                f"{quoted(word)}. Usual cause: a font of {canvas.letters} pixels is too large, or the word is empty."
            )
