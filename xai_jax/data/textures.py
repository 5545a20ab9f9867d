"""Textures and colours as concepts (Kim et al. 2018, Figure 4): drawn at random, or read from a folder.

The paper takes such images from Broden (Bau et al. 2017) and from image search; drawn ones are ours. A texture is a
function of coordinates (H, W) in periods: positive on its marks, negative between them, of the same shape.

>>> u, v, rng = *np.mgrid[:3:64j, :3:64j], np.random.default_rng(0)
>>> [draw(u, v, rng).shape for draw in (stripes, zigzags, dots, meshes)] == [(64, 64)] * 4
True
"""

import colorsys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from xai_jax.core.messages import listed, quoted
from xai_jax.data import datasets
from xai_jax.data.pictures import colour, fit

PERIODS = (5, 11)  # in an image
CONTRAST = 60  # least difference of lightness between marks and ground, of 255
HUES = {"red": 0.0, "yellow": 1 / 7, "green": 1 / 3, "blue": 0.61, "orange": 0.08}
LIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue


def stripes(u: np.ndarray, v: np.ndarray, rng: Generator) -> np.ndarray:
    """Straight bars."""
    return rng.uniform(0.2, 0.3) - _away(u)


def zigzags(u: np.ndarray, v: np.ndarray, rng: Generator) -> np.ndarray:
    """Bars that turn sharply, up and down again within one to two periods."""
    depth, length = rng.uniform(0.35, 0.6), rng.uniform(1, 2)
    return rng.uniform(0.18, 0.28) - _away(u + 2 * depth * _away(v / length))


def dots(u: np.ndarray, v: np.ndarray, rng: Generator) -> np.ndarray:
    """Discs in rows, every other row shifted or not."""
    moved = u + rng.choice([0.0, 0.5]) * (np.floor(v) % 2)
    return rng.uniform(0.22, 0.36) - np.hypot(_away(moved), _away(v))


def meshes(u: np.ndarray, v: np.ndarray, rng: Generator) -> np.ndarray:
    """Thin crossing lines, at a right angle or skewed."""
    width, skew = rng.uniform(0.06, 0.12), rng.uniform(-0.5, 0.5)
    return np.maximum(width - _away(u), width - _away(v + skew * u))


def _away(u):
    """Distance to the middle of the period."""
    return abs(u - np.floor(u) - 0.5)


TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, Generator], np.ndarray]] = {
    function.__name__: function for function in (stripes, dots, zigzags, meshes)
}
NAMES = (*TEXTURES, *HUES)
KINDS = {"any colour": tuple(HUES), "any texture": tuple(TEXTURES)}


class Kind(NamedTuple):
    """Concepts of one kind by their names, and random images of that kind: uint8 (n, S, S, 3).

    The last concept, `null`, is a set of random images.
    """

    concepts: dict[str, np.ndarray]
    random: np.ndarray
    null: str


def images(name: str, count: int, size: int, seed: int) -> np.ndarray:
    """Images of one concept, each drawn from `seed` and its number alone.

    Args:
      name: one of `NAMES`.
      count: number of images.
      size: height and width in pixels, at least 8.
      seed: of all random choices.

    Returns:
      Images (count, size, size, 3) uint8.

    Raises:
      ValueError: for an unknown name, no images, or a smaller size.

    >>> images("stripes", count=2, size=16, seed=0).shape
    (2, 16, 16, 3)
    """
    if name not in NAMES:
        raise ValueError(f"Expected a concept out of {listed(NAMES)}, got {quoted(name)}.")
    _check(count, size)
    draw = partial(_texture, TEXTURES[name]) if name in TEXTURES else partial(_clouds, HUES[name])
    generators = (np.random.default_rng([seed, number, NAMES.index(name) + 1]) for number in range(count))
    return np.stack([_photographed(draw(size, rng), rng) for rng in generators])


def kinds(names: Sequence[str], examples: int, pool: int, size: int, seed: int) -> list[Kind]:
    """Concepts by kind, colours and textures, with random images of the same kind, so that only the concept differs.

    A drawn texture differs from any photograph in more than its pattern. Random images are a mixture of all concepts of
    their kind in `names`.

    Args:
      names: concepts out of `NAMES`.
      examples: number of images of each.
      pool: number of random images of each kind.
      size: height and width in pixels, at least 8.
      seed: of all random choices.

    Returns:
      One `Kind` for each that occurs in `names`.

    Raises:
      ValueError: for an unknown name, no images, or a smaller size.

    >>> [(list(kind.concepts), kind.random.shape) for kind in kinds(["red", "blue"], 2, pool=4, size=8, seed=0)]
    [(['red', 'blue', 'any colour'], (4, 8, 8, 3))]
    """
    chosen = {null: [name for name in names if name in own] for null, own in KINDS.items()}
    return [_kind(own, null, examples, pool, size, seed) for null, own in chosen.items() if own]


def _kind(names, null, examples, pool, size, seed):
    shown = {name: images(name, examples, size, 3 * seed) for name in names}
    shown[null] = _random(names, examples, size, 3 * seed + 1)
    return Kind(shown, _random(names, pool, size, 3 * seed + 2), null)


def _random(names, count, size, seed):
    parts = np.array_split(np.arange(count), len(names))
    return np.concatenate([images(n, len(p), size, seed) for n, p in zip(names, parts, strict=True) if len(p)])


def from_folder(root: Path, size: int) -> dict[str, np.ndarray]:
    """Images (N, size, size, 3) uint8 of each concept that has a folder in `root`: centre squares, resized.

    For example Broden's, one folder for each concept. Raises as `datasets.load("folder:PATH", "all")` does.

    >>> from_folder(Path("broden"), size=224)["striped"].shape  # doctest: +SKIP
    (96, 224, 224, 3)
    """
    _check(1, size)
    data, found = datasets.load(f"folder:{root}", "all"), {}
    for image, label in data:
        found.setdefault(data.classes[label], []).append(fit(image, size, size))
    return {name: np.stack(each) for name, each in found.items()}


def _check(count, size):
    if count < 1 or size < 8:
        raise ValueError(f"Expected at least 1 image of at least 8 pixels, got {count} of {size}.")


def _texture(height, size, rng):
    """Marks on a ground; turned, shifted, slightly bent, with edges from sharp to soft."""
    period = size / rng.uniform(*PERIODS)
    marks = np.clip(0.5 + height(*_plane(size, period, rng), rng) * period / rng.uniform(1, 0.15 * period + 1), 0, 1)
    ground, ink = _contrasting(rng)
    return ground + (ink - ground) * marks[..., None]


def _plane(size, period, rng):
    """Coordinates across and along the texture, in periods."""
    y, x = np.mgrid[:size, :size] / period
    turn, bend = rng.uniform(0, np.pi), rng.uniform(0, 0.15, 2)
    u, v = (x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn))
    waves = rng.uniform(0.1, 0.25, 2), rng.uniform(0, 2 * np.pi, 2)
    bent = [bend[i] * np.sin(2 * np.pi * waves[0][i] * along + waves[1][i]) for i, along in enumerate((v, u))]
    return u + bent[0] + rng.random(), v + bent[1] + rng.random()


def _contrasting(rng):
    while True:
        pair = [colour(rng, (0, 0.9), (0.1, 1)) for _ in range(2)]
        if abs((pair[0] - pair[1]) @ LIGHTNESS) >= CONTRAST:
            return pair


def _clouds(hue, size, rng):
    """From one colour to another and back, slowly: both of about the given hue."""
    shades = [(hue + rng.normal(0, 0.012), rng.uniform(0.75, 1), rng.uniform(0.65, 1)) for _ in range(2)]
    pair = [255 * np.array(colorsys.hsv_to_rgb(h % 1, s, v)) for h, s, v in shades]
    return pair[0] + (pair[1] - pair[0]) * _smooth(size, rng)[..., None]


def _smooth(size, rng):
    """A field from 0 to 1 without edges: a few scales of noise."""
    field = np.zeros((size, size))
    for cells in (3, 6, 12):
        grid = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        field += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)) / cells
    return (field - field.min()) / np.ptp(field)


def _photographed(image, rng):
    """Light that falls off to one side, and the noise of a camera: (H, W, 3) floats -> uint8."""
    size, turn = len(image), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] / size - 0.5
    light = 1 + rng.uniform(0, 0.4) * (x * np.cos(turn) + y * np.sin(turn))
    noisy = image * light[..., None] + rng.normal(0, rng.uniform(1, 8), image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
