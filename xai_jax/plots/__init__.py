"""Matplotlib figures of images, attribution maps and TCAV scores."""

from xai_jax.plots.images import grid, show, signed

__all__ = ["grid", "show", "signed"]
