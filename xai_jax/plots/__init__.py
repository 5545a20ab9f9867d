"""Matplotlib figures of images, attribution maps and TCAV scores."""

from xai_jax.plots.figure import Figure
from xai_jax.plots.images import grid, show, signed

__all__ = ["Figure", "grid", "show", "signed"]
