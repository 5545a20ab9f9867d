"""Transforms for worker processes, which import this module, and a script without a guard (see test_workers)."""

import os
import sys

import numpy as np


def imported(image):
    """1 for each of JAX and TensorFlow that this process has imported, and its number."""
    return np.array([*(name in sys.modules for name in ("jax", "tensorflow")), os.getpid()])


def printing(image):
    print("a line that is no pixel", flush=True)
    return image[:8, :8]


def rows_by_width(image):
    return image[: image.shape[1] % 3 + 1, :4]


def ending(image):
    os._exit(9)


def failing(image, rng):
    raise KeyError(f"no such thing as {int(rng.integers(1))}")


def halves_of_some(image):
    """Floats of some images, bytes of the others."""
    return image[:8, :8] / 2 if image.shape[1] // 6 % 2 else image[:8, :8]
