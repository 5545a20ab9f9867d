"""A small index of the explorer of units with sheets of noise, without an experiment."""

import json

import numpy as np
from PIL import Image

from xai_jax.gallery import explorer

RNG = np.random.default_rng(0)

# Waits until all sprites have been decoded: their addresses and sizes, 0 for those that fail.
LOADED = """
const done = arguments[arguments.length - 1];
const urls = new Set([...document.querySelectorAll('.sprite')].map(
  (node) => getComputedStyle(node).backgroundImage.slice(5, -2)));
Promise.all([...urls].map((url) => new Promise((found) => {
  const image = new Image();
  image.onload = () => found([url, image.naturalWidth, image.naturalHeight]);
  image.onerror = () => found([url, 0, 0]);
  image.src = url;
}))).then(done);
"""


def write_units(results, sizes, concepts=("coat", "stripes")):
    """An index and sheets of so many units in each layer, with noise for pictures, and some silent units."""
    folder = results / explorer.FOLDER
    (folder / "sheets").mkdir(parents=True)
    layers = [_layer(folder, f"net{n // 2}", f"conv{n % 2}", size, n) for n, size in enumerate(sizes)]
    index = {"concepts": list(concepts), "classes": 1, "bounds": [0.6, 0.7], "layers": layers}
    (folder / "units.json").write_text(json.dumps(index))
    (folder / "metrics.json").write_text("{}")
    return folder


def _layer(folder, own, name, size, n):
    cells, columns = {"patches": 5, "deconvnet": 5, "guided": 5, "preimage": 12, "preferred": 12}, 9
    found = []
    for first in range(0, size, 64):
        rows, paths = min(64, size - first), {}
        for kind, side in cells.items():
            paths[kind] = f"sheets/{own}-{name}-{first // 64}-{kind}.webp"
            shape = rows * side, side * (1 if side == 12 else columns)
            Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(folder / paths[kind], "WEBP", quality=1)
        found.append(paths)
    channels = np.arange(size) + (np.arange(size) >= 3)  # number 3 is silent
    near = [[[1, 0.8 + unit / 1e5]] * (unit % 3 == 1) + [[0, 0.75]] * (unit % 3 > 0) for unit in range(size)]
    entries = {"network": own, "layer": name, "count": size + 1, "chunk": 64, "channels": channels.tolist()}
    entries |= {key: np.round(RNG.uniform(1, 2, size), 2).tolist() for key in ("strongest", "error", "reached")}
    entries |= {"labels": np.zeros((size, columns), int).tolist(), "concepts": near, "field": [5, 5]}
    entries |= {"cells": {kind: [side, side] for kind, side in cells.items()}, "sheets": found}
    return entries | {"box": None if n % 2 else [0.25, 0.25, 0.5, 0.5]}
