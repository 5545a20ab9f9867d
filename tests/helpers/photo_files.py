"""Photographs as a user has them: files of different sizes, in a folder for each class."""

import numpy as np
from PIL import Image


def write(folder, count):
    """JPEG in the classes a and b, smooth so that compression leaves differences."""
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        path = folder / "ab"[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.resize((40 + 3 * number, 70 - 2 * number), Image.Resampling.BICUBIC).save(path, quality=90)
