"""Synthetic retinas in five stages of diabetic retinopathy, drawn on a photograph, with a known rule for each stage.

They replace the medical example of Kim et al. 2018, whose grader and annotated images are not public. The levels follow
the international scale roughly: 1 has microaneurysms alone; 2 has haemorrhages and exudates, too; 3 has venous beading;
4 has new vessels, vitreous haemorrhage, or laser scars. `CHANCES` is the exact rule.

>>> round(association(3, "venous beading"), 2), round(chance(4, "new vessels"), 2)
(0.88, 0.64)
>>> graded(5, side=48, seed=0)[4][0].shape, images("exudates", 2, side=48, seed=0).shape, findings(0, seed=0)
((48, 48, 3), (2, 48, 48, 3), (0, ()))
"""

from functools import cache

import numpy as np
from numpy.random import Generator
from PIL import Image

from xai_jax.core.messages import listed, quoted
from xai_jax.data.datasets import OnDisk
from xai_jax.data.lesions import LESIONS, View
from xai_jax.data.photographs import of_scikit_image

CLASSES = ("no retinopathy", "mild", "moderate", "severe", "proliferative")

# Independent probability of a lesion at each level. Of the last three, level 4 has at least one.
CHANCES = {
    "microaneurysms": (0, 1, 0.6, 0.6, 0.3),
    "haemorrhages": (0, 0, 1, 1, 0.5),
    "exudates": (0, 0, 0.7, 0.5, 0.2),
    "venous beading": (0, 0, 0, 1, 0.5),
    "new vessels": (0, 0, 0, 0, 0.6),
    "laser scars": (0, 0, 0, 0, 0.6),
    "vitreous haemorrhage": (0, 0, 0, 0, 0.6),
}
PROLIFERATIVE = ("new vessels", "laser scars", "vitreous haemorrhage")

Mislabelled = tuple[int, int, float]
FINDINGS, VIEW, DRAWING = 1, 2, 3  # random streams: the same eyes appear with and without lesions
FIELD = 0.49  # the radius of the round field, as a share of the photograph


def graded(count: int, side: int, seed: int, mislabelled: Mislabelled | None = None) -> OnDisk:
    """Retinas with labels 0 to 4 in turn, drawn on access, each from `seed` and its index alone.

    Args:
      count: number of images.
      side: of the images in pixels, at least 48.
      seed: of lesions, positions and views.
      mislabelled: (a, b, p): a share p of the images with label a is drawn like level b, and so has a wrong label.

    Returns:
      Images (side, side, 3) uint8.

    Raises:
      ValueError: for numbers out of range.
      FileNotFoundError: where scikit-image's photograph is missing.
    """
    _check(count, side)
    _check_mislabelled(mislabelled)
    _photograph(side)

    def read(index):
        _, lesions = findings(index, seed, mislabelled)
        return _image(lesions, side, seed, index), index % 5

    return OnDisk("retinas", count, read, CLASSES, lambda index: index % 5)


def findings(index: int, seed: int, mislabelled: Mislabelled | None = None) -> tuple[int, tuple[str, ...]]:
    """The true level of an image of `graded`, and the lesions that are drawn in it."""
    rng = np.random.default_rng([seed, index, FINDINGS])
    level = index % 5
    if mislabelled and level == mislabelled[0] and rng.random() < mislabelled[2]:
        level = mislabelled[1]
    while True:
        lesions = tuple(name for name, chances in CHANCES.items() if rng.random() < chances[level])
        if level < 4 or set(lesions) & set(PROLIFERATIVE):
            return level, lesions


def chance(level: int, lesion: str, mislabelled: Mislabelled | None = None) -> float:
    """The probability of a lesion in an image with this label: the ground truth for explanations of a good grader."""
    _check_mislabelled(mislabelled)
    if mislabelled and level == mislabelled[0]:
        _, other, share = mislabelled
        return (1 - share) * chance(level, lesion) + share * chance(other, lesion)
    plain = CHANCES[lesion][level]
    if level < 4:
        return plain
    none = float(np.prod([1 - CHANCES[name][4] for name in PROLIFERATIVE]))
    return plain / (1 - none) if lesion in PROLIFERATIVE else plain


def association(level: int, lesion: str, mislabelled: Mislabelled | None = None) -> float:
    """Probability of a lesion with this label minus the mean over the four others, from -1 to 1."""
    chances = [chance(other, lesion, mislabelled) for other in range(5)]
    return chances[level] - (sum(chances) - chances[level]) / 4


def images(lesion: str | None, count: int, side: int, seed: int) -> np.ndarray:
    """A concept: retinas with one kind of lesion, or healthy ones.

    The same seed gives the same eyes for every lesion: use other seeds for random images.

    Args:
      lesion: a key of `lesions.LESIONS`, or None.
      count: number of images.
      side: of the images in pixels, at least 48.
      seed: of positions and views.

    Returns:
      Images (count, side, side, 3) uint8.

    Raises:
      ValueError: for an unknown lesion, and numbers out of range.
    """
    if lesion is not None and lesion not in LESIONS:
        raise ValueError(f"Expected a lesion out of {listed(LESIONS)}, or None, got {quoted(lesion)}.")
    _check(count, side)
    return np.stack([_image((lesion,) if lesion else (), side, seed, index) for index in range(count)])


def _check(count, side):
    if count < 1 or side < 48:
        raise ValueError(f"Expected at least 1 image of at least 48 pixels, got {count} of {side}.")


def _check_mislabelled(mislabelled):
    if mislabelled is None:
        return
    level, other, share = mislabelled
    if level == other or not {level, other} <= set(range(5)) or not 0 <= share <= 1:
        raise ValueError(f"Expected two different levels of 0 to 4 and a share from 0 to 1, got {mislabelled}.")


def _image(lesions, side, seed, index):
    eye, drawing = (np.random.default_rng([seed, index, stream]) for stream in (VIEW, DRAWING))
    view = _view(side, eye)
    image = _seen(view)
    for name in lesions:
        image = LESIONS[name](image, view, drawing)
    return _developed(image, eye)


def _view(side: int, rng: Generator) -> View:
    """A left or a right eye, turned a little, nearer or farther and not quite in the middle."""
    turn, zoom = rng.uniform(-0.5, 0.5), side / 2 * rng.uniform(0.92, 1.08)
    mirror = np.diag(rng.choice([-1.0, 1.0], 2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return View(side, side * (0.5 + rng.uniform(-0.03, 0.03, 2)), zoom * rotation @ mirror)


def _seen(view):
    """The photograph from a view: (side, side, 3) float."""
    photograph = _photograph(view.side)
    inverse = np.linalg.inv(view.matrix) * FIELD * photograph.width
    offset = photograph.width / 2 - inverse @ view.centre
    affine = (*inverse[0], offset[0], *inverse[1], offset[1])
    size = view.side, view.side
    return np.asarray(photograph.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC), np.float32)


def _developed(image, rng):
    """Light, colours and noise of different cameras: (H, W, 3) floats -> uint8."""
    gains, gamma = 255 * rng.uniform(0.75, 1.1) * rng.uniform(0.88, 1.12, 3), rng.uniform(0.85, 1.2)
    light = np.clip(image / 255, 0, 1) ** np.float32(gamma) * gains.astype(np.float32)
    return np.clip(np.rint(light + 2 * rng.standard_normal(image.shape, np.float32)), 0, 255).astype(np.uint8)


@cache
def _photograph(side):
    """scikit-image's retina, as large as its copies will be."""
    return of_scikit_image("retina.jpg").resize((side, side), Image.Resampling.LANCZOS)
