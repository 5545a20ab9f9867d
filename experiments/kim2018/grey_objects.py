"""Objects without their colours: does a network associate them with the colour that they lack?

Cut-outs with a colour of their own are shown in grey, with the same mean and standard deviation of lightness each, so
that nothing but shape and texture is left of a lemon. If they are sorted by colours, that is a bias of the network.
"""

from typing import NamedTuple

import matplotlib.colors
import numpy as np

from configs.kim2018.sorting import Config
from experiments.kim2018.concept_images import PHOTOGRAPHS
from experiments.lib import statistics
from experiments.lib.report import Claim
from xai_jax.data import composites, cutouts
from xai_jax.data.cutouts import Cutout
from xai_jax.data.textures import LIGHTNESS

RANGES = {
    "red": (0.94, 1.03),
    "orange": (0.03, 0.11),
    "yellow": (0.11, 0.18),
    "green": (0.18, 0.45),
    "blue": (0.5, 0.72),
}
VIVID = 0.4  # least saturation and value of a pixel that has a colour
COVERED = 0.5  # share of an object's pixels that have its colour
GREY, CONTRAST = 128, 40  # mean and standard deviation of an object's lightness


class Objects(NamedTuple):
    """Images (N, S, S, 3) uint8 of objects in `grey` and in `colour`; `own` (N,) indexes `hues`."""

    grey: np.ndarray
    colour: np.ndarray
    own: np.ndarray
    hues: tuple[str, ...]


def load(config: Config, size: int) -> Objects | None:
    """The objects that have one of the concepts' colours; None where images are of a data set."""
    hues = tuple(name for name in config.concepts if name in RANGES)
    if config.images != PHOTOGRAPHS or len(hues) < 2:
        return None
    coloured = [(row, own_colour(row, hues)) for row in cutouts.table()]
    rows, own = zip(*((row, hues.index(name)) for row, name in coloured if name), strict=True)
    grey, colour = (np.stack(images) for images in zip(*(views(row, size) for row in rows), strict=True))
    return Objects(grey, colour, np.array(own), hues)


def own_colour(row: Cutout, hues: tuple[str, ...]) -> str | None:
    """The hue that at least half of an object's pixels have."""
    pixels = np.asarray(composites.item(row))
    hue, saturation, value = matplotlib.colors.rgb_to_hsv(pixels[pixels[..., 3] > 127][:, :3] / 255).T
    vivid = (saturation >= VIVID) & (value >= VIVID)
    for name in hues:
        low, high = RANGES[name]
        if (vivid & ((hue - low) % 1 < high - low)).mean() >= COVERED:
            return name
    return None


def views(row: Cutout, size: int) -> tuple[np.ndarray, np.ndarray]:
    """An object on grey, without and with colours: uint8 (size, size, 3) each."""
    image, opacity = cutouts.on_grey(row, size, level=GREY)
    light, inside = image @ LIGHTNESS, opacity > 0.5
    even = GREY + CONTRAST * (light - light[inside].mean()) / max(light[inside].std(), 1)
    grey = GREY + opacity * (np.clip(even, 0, 255) - GREY)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, -1), image


def excess(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """By how much objects (N,) are more similar to their own colour than to others, from similarities (C, N).

    In standard deviations over objects, of which each colour's mean is subtracted.
    """
    z = (similarity - similarity.mean(1, keepdims=True)) / similarity.std(1, keepdims=True)
    mine = np.take_along_axis(z, own[None], 0)[0]
    return mine - (z.sum(0) - mine) / (len(z) - 1)


def claim(objects: Objects | None, similarity: np.ndarray | None) -> Claim:
    """That grey objects are more similar to the CAV of their own colour; similarities (C, N) are means over seeds."""
    verdict, text = statistics.inconclusive("no objects with a colour of their own in this run"), ""
    if objects is not None:
        values = excess(similarity, objects.own)
        verdict = statistics.t_test(values)
        text = (
            f"grey images of {len(values)} objects are {abs(values.mean()):.2f} standard deviations "
            f"{'more' if values.mean() > 0 else 'less'} similar to the CAV of the colour that they lack than to "
            f"others'; with 80% power, a mean of {statistics.detectable(len(values)):.2f} standard deviations between "
            "objects is found"
        )
    source = "section 4.1.1 (CEOs by stripes, models by neckties); the test is ours"
    return Claim("Sorting reveals biases of the network.", source, verdict, text)
