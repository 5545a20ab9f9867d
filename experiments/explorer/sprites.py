"""What the explorer of units reads: sheets with the pictures of many units, and all that is said of them as JSON.

Rows of a sheet are units, columns the pictures of one kind, without gaps. Small pictures lose nothing.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from experiments.explorer.unit_panels import Units
from experiments.lib.runner import Run

KINDS = "patches", "deconvnet", "guided", "preimage", "preferred"
FOLDER, INDEX = "sheets", "units.json"
EXACT = 32  # pixels of a side up to which nothing is lost
NEAREST = 3  # concepts that are told of a unit


def sheet(pictures: np.ndarray) -> bytes:
    """A WebP file of pictures (n, k, h, w, C) uint8, or (n, h, w, C)."""
    pictures = pictures[:, None] if pictures.ndim == 4 else pictures
    n, k, h, w, c = pictures.shape
    whole = pictures.transpose(0, 2, 1, 3, 4).reshape(n * h, k * w, c)
    image, buffer = Image.fromarray(whole[..., 0] if c == 1 else whole), io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(h, w) <= EXACT, quality=85)
    return buffer.getvalue()


def write(run: Run, name: str, parts: Sequence[dict[str, np.ndarray]]) -> list[dict[str, str]]:
    """Writes a sheet for each part of a layer's units and each kind of picture; their names in the workdir."""
    names = [{kind: f"{FOLDER}/{name}-{number}-{kind}.webp" for kind in KINDS} for number in range(len(parts))]
    for part, paths in zip(parts, names, strict=True):
        for kind, path in paths.items():
            run.write(path, sheet(part[kind]))
    return names


def write_index(run: Run, index: dict[str, Any]) -> None:
    """Writes `units.json`: `concepts`, how many of them are `classes`, `bounds` of chance, and `layers`."""
    run.write(INDEX, json.dumps(index, separators=(",", ":"), allow_nan=False).encode())


def described(found: dict[str, np.ndarray], some: Units, bounds: np.ndarray) -> dict[str, Any]:
    """What the index says of a layer and its units; numbers have four digits.

    `cells`: height and width of each kind of picture. `field`: the pixels that a unit sees. `box`: which part of a
    preferred input its unit sees: top, left, bottom, right in shares of its sides, None for all. `concepts`: for each
    unit (number, area) of the nearest, those alone that are above `bounds`.
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
    """The field of the unit in the middle, in shares of the image's sides; None where it is the whole image."""
    if some.at is None:
        return None
    top, left, bottom, right = some.field.boxes(*(np.array([place]) for place in some.at))[0]
    height, width = some.side
    shares = [_short(share) for share in (top / height, left / width, bottom / height, right / width)]
    return None if shares == [0, 0, 1, 1] else shares


def nearest(areas: np.ndarray, bounds: np.ndarray) -> list[tuple[int, float]]:
    """The concepts that a unit tells best, (number, area), the best first, of those above chance."""
    order = np.argsort(-areas, kind="stable")
    return [(int(n), _short(areas[n])) for n in order if areas[n] > bounds[n]][:NEAREST]


def _short(value):
    return float(f"{value:.4g}")
