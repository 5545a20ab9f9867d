"""Cut-out objects on random backgrounds: images of any size and number, for training.

>>> item = Image.new("RGBA", (40, 20), "red")
>>> image, outline = composite(item, background(32, np.random.default_rng(0)), np.random.default_rng(1))
>>> image.shape, outline.shape
((32, 32, 3), (32, 32))
>>> len(composites(cutouts.of_class("bird"), count=1000, side=64, seed=0))
1000
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from xai_jax.core.arguments import check_count
from xai_jax.core.messages import quoted
from xai_jax.data import cutouts, photographs
from xai_jax.data.cutouts import placed, scaled
from xai_jax.data.dataset_types import OnDisk

VERSION = 1  # of what is drawn from the same seed, for images that are kept
LONGEST = 256  # pixels of an object that composites are made of
SCALE, TURN = (0.55, 0.95), 20  # longer side of the object as a share of the image's, and degrees to either side
LARGE, LEAN, GREY = (0.85, 0.97), 8, 128  # the same of portraits, and the level of their background
SCENERY = ("monument", "energy")  # kinds of photographs that show none of the classes
PHOTOGRAPH, NOISE = 0.5, 0.25  # chances of the kinds of backgrounds; the rest are gradients


def composites(objects: Sequence[cutouts.Cutout], count: int, side: int, seed: int, by_object: bool = False) -> OnDisk:
    """Objects in turn at random size, angle and position, mirrored or not, in random light, on random backgrounds.

    Backgrounds are crops of photographs without objects of the classes, 1/f noise, and gradients; half of the objects
    cast a shadow. Each image is drawn on access, from `seed` and its index alone.

    Args:
      objects: the objects, for example `cutouts.of_class(split="train")`.
      count: number of images.
      side: of the images in pixels, at least 8.
      seed: of all random choices.
      by_object: whether the label is the object's index in `objects` instead of its class.

    Returns:
      Images (side, side, 3) uint8 with the labels of `cutouts.CLASSES`, or of the objects.

    Raises:
      ValueError: no object, no image, images below 8 pixels, or no integer.
      TypeError: an object is not one of `cutouts.of_class`.
    """

    def draw(cutout, rng):
        return composite(item(cutout), background(side, rng), rng)[0]

    return _in_turn("composites of cut-outs", draw, objects, count, side, seed, by_object)


def _in_turn(name, draw, objects, count, side, seed, by_object):
    """Images of objects in turn, each drawn on access by `draw(object, rng)`."""
    objects = tuple(objects)
    if unknown := [each for each in objects if not isinstance(each, cutouts.Cutout)]:
        raise TypeError(f"Expected objects, such as cutouts.of_class('bird'), got {quoted(unknown[0])}.")
    if not objects:
        raise ValueError("Expected at least one object, got none.")
    check_count(count, "images")
    check_count(side, "pixels as side", 8)
    check_count(seed, "as seed", 0)
    classes = tuple(row.name for row in objects) if by_object else cutouts.CLASSES
    labels = range(len(objects)) if by_object else [row.number for row in objects]

    def label(index):
        return labels[index % len(objects)]

    def read(index):
        return draw(objects[index % len(objects)], np.random.default_rng([seed, index])), label(index)

    return OnDisk(name, count, read, classes, label)


def portraits(objects: Sequence[cutouts.Cutout], count: int, side: int, seed: int, by_object: bool = False) -> OnDisk:
    """Objects in turn in the middle of an even grey, nearly as large as the image, a little turned, mirrored or not.

    Example: `portraits(cutouts.of_class("bird"), count=350, side=64, seed=0)`.

    Args:
      objects: as all of the following, an argument of `composites`.
      count: number of images.
      side: of the images in pixels.
      seed: of all random choices.
      by_object: what the labels are.

    Returns:
      Images (side, side, 3) uint8, drawn on access.

    Raises:
      ValueError, TypeError: as `composites`.
    """

    def draw(cutout, rng):
        drawn = item(cutout).rotate(rng.uniform(-LEAN, LEAN), Image.Resampling.BICUBIC, expand=True)
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else drawn
        drawn = placed(scaled(drawn.crop(drawn.getbbox()), side * rng.uniform(*LARGE)), side, (0.5, 0.5))
        canvas = Image.new("RGB", (side, side), (GREY,) * 3)
        canvas.paste(drawn, mask=drawn)
        return np.asarray(canvas)

    return _in_turn("portraits of cut-outs", draw, objects, count, side, seed, by_object)


def composite(item: Image.Image, scene: np.ndarray, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """An object, RGBA, on a scene (side, side, 3): the image, uint8, and the object's opacity (side, side), 0 to 1."""
    side = len(scene)
    item = item.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else item
    angle, longer = rng.uniform(-TURN, TURN), side * rng.uniform(*SCALE)
    item = scaled(item, min(2 * longer, LONGEST)).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    item = _lit(scaled(item, longer), rng)
    item = placed(item, side, rng.random(2))
    opacity = np.asarray(item.getchannel("A"), np.float32)[..., None] / 255
    if rng.random() < 0.5:
        scene = scene * (1 - rng.uniform(0.2, 0.6) * _shadow(item, side, rng))
    image = np.rint(opacity * np.asarray(item)[..., :3] + (1 - opacity) * scene)
    return image.astype(np.uint8), opacity[..., 0]


def background(side: int, rng: Generator) -> np.ndarray:
    """A crop of a photograph, 1/f noise or a gradient: (side, side, 3) float32, 0 to 255.

    Raises FileNotFoundError where the photographs are not on this machine.
    """
    chance = rng.random()
    if chance < PHOTOGRAPH:
        return photograph(side, rng)
    return _noise(side, rng) if chance < PHOTOGRAPH + NOISE else _gradient(side, rng)


def photograph(side: int, rng: Generator) -> np.ndarray:
    """A random crop of a photograph of a monument or a power plant: (side, side, 3) float32, 0 to 255.

    Example: `composites.photograph(224, np.random.default_rng(0))`. Raises FileNotFoundError as `photographs.read`.
    """
    rows = photographs.of_kind(*SCENERY)
    (image,) = photographs.reduced([rows[rng.integers(len(rows))]], 256)
    height, width = image.shape[:2]
    part = int(min(height, width) * rng.uniform(0.4, 1))
    top, left = rng.integers(height - part + 1), rng.integers(width - part + 1)
    box = (left, top, left + part, top + part)
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box)
    return np.asarray(resized, np.float32)


def _noise(side, rng):
    """Amplitudes that fall with the spatial frequency, as in photographs (Field 1987)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    shared, own = rng.normal(size=(2, side, side, 3))
    spectrum = np.fft.fft2(shared[..., :1] + 0.25 * own, axes=(0, 1)) / np.maximum(frequency, 1 / side)[..., None]
    waves = np.fft.ifft2(spectrum, axes=(0, 1)).real
    waves = (waves - waves.mean((0, 1))) / waves.std()
    return np.clip(rng.uniform(60, 200, 3) + rng.uniform(10, 50) * waves, 0, 255).astype(np.float32)


def _gradient(side, rng):
    angle = rng.uniform(0, 2 * np.pi)
    position = np.mgrid[:side, :side].transpose(1, 2, 0) / (side - 1) @ np.array([np.sin(angle), np.cos(angle)])
    position = (position - position.min()) / np.ptp(position)
    first, second = rng.uniform(0, 255, (2, 3))
    return (first + position[..., None] * (second - first)).astype(np.float32)


def _lit(item, rng):
    """Other brightness, contrast and colour of the light; the opacity stays."""
    colours = np.asarray(item, np.float32)
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
    exponent = np.exp(rng.normal(0, 0.2))
    lit = 255 * (np.clip(gain * colours[..., :3] / 255, 0, 1)) ** exponent
    return Image.fromarray(np.concatenate([np.rint(lit), colours[..., 3:]], -1).astype(np.uint8), "RGBA")


def _shadow(item, side, rng):
    """The object's opacity, shifted downwards and blurred: (side, side, 1), 0 to 1."""
    shift = rng.uniform([-0.08, 0.02], [0.08, 0.1]) * side
    moved = item.getchannel("A").transform((side, side), Image.Transform.AFFINE, (1, 0, -shift[0], 0, 1, -shift[1]))
    blurred = moved.filter(ImageFilter.GaussianBlur(0.03 * side))
    return np.asarray(blurred, np.float32)[..., None] / 255


@functools.lru_cache(maxsize=512)
def item(cutout: cutouts.Cutout) -> Image.Image:
    """An object whose longer side has 256 pixels, RGBA; kept in memory for the next call.

    Example: `composites.item(cutouts.of_class("bird")[0])`.
    """
    return scaled(cutouts.read(cutout), LONGEST)
