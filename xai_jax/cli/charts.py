"""Matplotlib figures as images for a page."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from xai_jax.concepts.significance import Row
from xai_jax.plots import Figure
from xai_jax.plots import concepts as concept_plots

DPI = 150


def bar_chart(rows: Sequence[Row]) -> np.ndarray:
    """The bar chart of `significance.table` rows as (H, W, 3) uint8. Example: `bar_chart(rows)`."""
    return pixels(concept_plots.bars(rows, size=2.6)[0])


def png(image: np.ndarray) -> bytes:
    """The content of a PNG file of an image (H, W, 3) uint8.

    >>> png(np.zeros((2, 2, 3), np.uint8))[1:4]
    b'PNG'
    """
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(figure: Figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8.

    >>> pixels(Figure(figsize=(1, 2))).shape
    (300, 150, 3)
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    buffer.seek(0)
    return np.asarray(Image.open(buffer).convert("RGB"))
