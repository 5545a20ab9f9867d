"""Figures of sorted images: both ends of the order by each concept."""

from collections.abc import Sequence

import numpy as np

from configs.kim2018.sorting import Config
from experiments.kim2018.grey_objects import Objects
from experiments.lib.report import Panel
from xai_jax import plots
from xai_jax.plots.figure import Figure

SHOWN = 6  # images at each end


def sorted_panel(name: str, images: np.ndarray, similarity: np.ndarray, config: Config, description: str) -> Panel:
    """Images (N, S, S, 3) by their similarities (C, N) with each concept."""
    caption = (
        f"{description}, sorted by the cosine similarity of their activations in {config.layer} with the CAV of each "
        "concept, which falls from left to right. None of them was used to fit a CAV."
    )
    alt = "A row of photographs for each concept, the most similar and the least similar ones."
    return Panel(name, ends(images, similarity, config.concepts), caption, alt)


def grey_panel(objects: Objects, similarity: np.ndarray, config: Config) -> Panel:
    """Objects in colour, sorted by the similarities (C, N) of their grey images with each colour."""
    caption = (
        "Objects, shown in colour, sorted by their grey images: by the similarity of activations in "
        f"{config.layer} with the CAV of each colour. If the network associates objects with their colours, those of "
        "the row's colour are on the left. Last row, not sorted: some of the grey images."
    )
    figure = ends(objects.colour, similarity, objects.hues, objects.grey)
    return Panel("grey", figure, caption, "A row of objects for each colour, those most and least similar to it.")


def ends(images: np.ndarray, similarity: np.ndarray, names: Sequence[str], below: np.ndarray | None = None) -> Figure:
    """Images of either end of each order (C, N), a row for each name; the first of others `below`."""
    few, panels = min(SHOWN, len(images) // 2), []
    for own in similarity:
        order = np.argsort(-own, kind="stable")
        both = [list(images[order[part]] / 255) for part in (slice(few), slice(-few, None))]
        panels.append([*both[0], None, *both[1]])
    rows = list(names)
    if below is not None:
        spread = list(below[np.linspace(0, len(below) - 1, 2 * few).astype(int)] / 255)
        panels.append([*spread[:few], None, *spread[few:]])
        rows.append("grey")
    return plots.grid(panels, ["most similar", *[""] * few, "least similar"], rows, size=0.85)[0]
