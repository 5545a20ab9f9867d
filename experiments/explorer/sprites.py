"""What the explorer of units reads: sheets of images of many units, and their descriptions as JSON.

Rows of a sheet are units, columns the images of one kind, without gaps. Small images are stored losslessly.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.explorer.unit_panels import Units
from xai_jax.data import crops
from xai_jax.gallery.pictures import webp

KINDS = "patches", "deconvnet", "guided", "preimage", "preferred"
FOLDER, INDEX = "sheets", "units.json"
LOSSLESS = 32  # longest side in pixels that is stored losslessly
NEAREST = 3  # concepts of a unit in the index


def sheet(images: np.ndarray) -> bytes:
    """A WebP file of images (n, k, h, w, C) uint8, or (n, h, w, C)."""
    images = images[:, None] if images.ndim == 4 else images
    n, k, h, w, c = images.shape
    whole = images.transpose(0, 2, 1, 3, 4).reshape(n * h, k * w, c)
    return webp(crops.to_pil(whole), lossless=max(h, w) <= LOSSLESS, quality=85)


def sheet_paths(name: str, count: int) -> list[dict[str, str]]:
    """Paths of the sheets of a layer's `count` parts, by kind of image, relative to the working directory."""
    return [{kind: f"{FOLDER}/{name}-{number}-{kind}.webp" for kind in KINDS} for number in range(count)]


def sheets(paths: Sequence[dict[str, str]], parts: Sequence[dict[str, np.ndarray]]) -> dict[str, bytes]:
    """The files at these paths, with the images of the parts."""
    pairs = zip(paths, parts, strict=True)
    return {path: sheet(part[kind]) for names, part in pairs for kind, path in names.items()}


def packed_index(index: dict[str, Any]) -> bytes:
    """`units.json`: `concepts`, how many of them are `classes`, `bounds` at chance level, and `layers`."""
    return json.dumps(index, separators=(",", ":"), allow_nan=False).encode()


def layer_entry(found: dict[str, np.ndarray], some: Units, bounds: np.ndarray) -> dict[str, Any]:
    """The entry of a layer and its units in the index; numbers have four digits.

    `cells`: height and width of each kind of image. `field`: size of the receptive field in pixels. `box`: the part of
    a preferred input in the unit's receptive field: top, left, bottom, right as shares of its sides, None for all.
    `concepts`: for each unit (number, area) of the nearest, only those above `bounds`.
    """
    return {name: [_short(value) for value in found[name]] for name in ("strongest", "error", "reached")} | {
        "count": int(found["count"]),
        "channels": some.channels.tolist(),
        "cells": {kind: list(found[kind].shape[-3:-1]) for kind in KINDS},
        "field": [int(size) for size in some.field.size],
        "box": box(some),
        "labels": found["labels"].tolist(),
        "concepts": [nearest(row, bounds) for row in found["areas"]],
    }


def box(some: Units) -> list[float] | None:
    """The receptive field of the unit in the middle, as shares of the image's sides; None if it is the whole image."""
    if some.at is None:
        return None
    top, left, bottom, right = some.field.boxes(*(np.array([position]) for position in some.at))[0]
    height, width = some.side
    shares = [_short(share) for share in (top / height, left / width, bottom / height, right / width)]
    return None if shares == [0, 0, 1, 1] else shares


def nearest(areas: np.ndarray, bounds: np.ndarray) -> list[tuple[int, float]]:
    """The concepts that a unit detects best, (number, area), the best first, of those above chance level."""
    order = np.argsort(-areas, kind="stable")
    return [(int(n), _short(areas[n])) for n in order if areas[n] > bounds[n]][:NEAREST]


def _short(value):
    return float(f"{value:.4g}")
