"""Lesions of diabetic retinopathy, drawn on the photograph of a healthy retina.

Their appearance follows textbooks roughly: a person and a network should be able to distinguish them, and the truth is
known. Lengths are in units of the radius of the camera's round field of view. Images are (H, W, 3) in [0, 255]; each
lesion returns one of the same shape.

>>> view, healthy = View(64, np.array([32, 32]), 30 * np.eye(2)), np.full((64, 64, 3), 128, np.float32)
>>> small = microaneurysms, haemorrhages, exudates, venous_beading
>>> for draw in (*small, new_vessels, vitreous_haemorrhage, laser_scars):
...     assert (draw(healthy, view, np.random.default_rng(0)) != healthy).any()
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

CORNERS = np.array([(np.cos(turn), np.sin(turn)) for turn in np.arange(16) * np.pi / 8])
FINER = 2  # masks are drawn this many times larger, then reduced
DISC = np.array([-0.71, -0.08]), 0.25  # the optic disc, and its distance to lesions

# Two large veins of scikit-image's retina, traced by hand: (x, y) as shares of the photograph.
VEINS = (
    ((0.22, 0.28), (0.3, 0.23), (0.4, 0.228), (0.5, 0.25), (0.57, 0.295), (0.66, 0.309), (0.76, 0.275), (0.8, 0.24)),
    ((0.13, 0.55), (0.17, 0.66), (0.21, 0.76), (0.27, 0.82), (0.33, 0.855), (0.43, 0.863), (0.58, 0.866), (0.72, 0.87)),
)

BLOOD = np.array([0.45, 0.16, 0.22], np.float32)  # transmission of red, green and blue
DARK_BLOOD = np.array([0.36, 0.09, 0.13], np.float32)
VEIN = np.array([0.6, 0.2, 0.35], np.float32)
EXUDATE, SCAR = np.array([[255, 235, 130], [235, 205, 160]], np.float32)


class View(NamedTuple):
    """The position of the retina in an image of `side` pixels: a point p, (2,), is at `centre` + `matrix` @ p."""

    side: int
    centre: np.ndarray
    matrix: np.ndarray

    @property
    def radius(self) -> float:
        """Pixels per unit of length."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


Lesion = Callable[[np.ndarray, View, Generator], np.ndarray]


def microaneurysms(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """Small dark red dots."""
    positions = _positions(rng.integers(6, 13), 0.1, 0.8, rng)
    dots = [_blot(position, rng.uniform(0.022, 0.032)) for position in positions]
    return _stained(image, _mask(view, dots), DARK_BLOOD)


def haemorrhages(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """Blotches of blood, uneven and some of them long."""
    blots = [_blot(position, rng.uniform(0.05, 0.1), rng) for position in _positions(rng.integers(4, 9), 0.2, 0.8, rng)]
    return _stained(image, _mask(view, blots, 0.01), BLOOD)


def exudates(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """Clusters of bright yellow grains."""
    spots = []
    for middle in _positions(rng.integers(2, 4), 0.15, 0.6, rng):
        grains = middle + rng.normal(0, 0.07, (rng.integers(7, 14), 2))
        spots += [_blot(grain, rng.uniform(0.014, 0.035)) for grain in grains]
    return _painted(image, 0.9 * _mask(view, spots), EXUDATE)


def venous_beading(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """One or two large veins whose width alternates like a string of beads."""
    marks = []
    for vein in rng.permutation(len(VEINS))[: rng.integers(1, 3)]:
        path = _evenly((np.array(VEINS[vein]) - 0.5) / 0.49, 0.1)
        radii = rng.uniform(0.03, 0.044, len(path))
        marks += [_blot(position, radius) for position, radius in zip(path, radii, strict=True)]
    return _stained(image, _mask(view, marks), VEIN)


def new_vessels(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """Tangles of fine curly vessels, at the nerve or elsewhere."""
    starts = _positions(rng.integers(2, 4), 0.3, 0.7, rng)
    if rng.random() < 0.5:
        starts[0] = DISC[0]
    lines = [_curl(start, rng) for start in starts for _ in range(rng.integers(7, 11))]
    return _stained(image, 0.85 * _mask(view, lines, width=rng.uniform(0.016, 0.024)), VEIN)


def vitreous_haemorrhage(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """A cloud of blood in front of the retina that hides much of it."""
    turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.6)
    middle = away * np.array([np.cos(turn), np.sin(turn)])
    parts = [_blot(middle + rng.normal(0, 0.16, 2), rng.uniform(0.2, 0.34), rng) for _ in range(6)]
    return _stained(image, 0.95 * _mask(view, parts, 0.08), DARK_BLOOD)


def laser_scars(image: np.ndarray, view: View, rng: Generator) -> np.ndarray:
    """Many pale round burns with dark middles, away from the centre, as after panretinal photocoagulation."""
    turns = rng.uniform(0, 2 * np.pi) + np.arange(60) * np.pi * (3 - np.sqrt(5))  # evenly, as the seeds of a sunflower
    distances = np.sqrt(np.linspace(0.45**2, 0.92**2, 60))
    positions = np.stack([distances * np.cos(turns), distances * np.sin(turns)], 1) + rng.normal(0, 0.025, (60, 2))
    positions = positions[(np.hypot(*(positions - DISC[0]).T) > DISC[1]) & (rng.random(60) < rng.uniform(0.6, 1))]
    radii = rng.uniform(0.04, 0.058, len(positions))
    outer, inner = ([_blot(*each) for each in zip(positions, part * radii, strict=True)] for part in (1, 0.4))
    return _stained(_painted(image, 0.65 * _mask(view, outer), SCAR), 0.6 * _mask(view, inner), BLOOD)


LESIONS: dict[str, Lesion] = {
    draw.__name__.replace("_", " "): draw
    for draw in (microaneurysms, haemorrhages, exudates, venous_beading, new_vessels, laser_scars, vitreous_haemorrhage)
}  # the last one hides the others


def _positions(count, least, most, rng):
    """(count, 2), uniform over the ring between two distances from the centre, outside the optic disc."""
    found = np.empty((0, 2))
    while len(found) < count:
        distance, turn = np.sqrt(rng.uniform(least**2, most**2, 2 * count)), rng.uniform(0, 2 * np.pi, 2 * count)
        positions = np.stack([distance * np.cos(turn), distance * np.sin(turn)], 1)
        found = np.concatenate([found, positions[np.hypot(*(positions - DISC[0]).T) > DISC[1]]])
    return found[:count]


def _blot(position, radius, rng=None):
    """Corners of a disc around a position; with `rng` uneven, and longer in one direction."""
    around = radius * CORNERS
    if rng is None:
        return position + around
    around *= rng.uniform(0.7, 1.3, (16, 1)) * (rng.uniform(1, 1.6), rng.uniform(0.6, 1))
    turn = rng.uniform(0, 2 * np.pi)
    return position + around @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]


def _curl(position, rng):
    """A line of 14 short steps that keeps turning, (15, 2)."""
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(rng.choice([-0.35, 0.35]), 0.5, 14))
    steps = 0.032 * np.stack([np.cos(turns), np.sin(turns)], 1)
    return position + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])


def _evenly(path, step):
    """Points along a polyline (N, 2), a step apart."""
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    positions = np.arange(0, lengths[-1], step)
    return np.stack([np.interp(positions, lengths, axis) for axis in path.T], 1)


def _mask(view, shapes, blur=0.0, width=None):
    """Polygons, or lines of a width, as (side, side, 1) from 0 to 1; `blur` is a standard deviation."""
    image = Image.new("L", (FINER * view.side,) * 2)
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        corners = (FINER * (view.centre + shape @ view.matrix.T)).ravel().tolist()
        if width is None:
            pen.polygon(corners, 255)
        else:
            pen.line(corners, 255, max(1, round(FINER * width * view.radius)))
    small = image.reduce(FINER)
    if blur:
        small = small.filter(ImageFilter.GaussianBlur(blur * view.radius))
    return np.asarray(small, np.float32)[..., None] / 255


def _stained(image, mask, left):
    """Tints the masked area: a share `left` of each colour remains."""
    return image * (1 - mask * (1 - left))


def _painted(image, mask, colour):
    return image + mask * (colour - image)
