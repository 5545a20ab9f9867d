"""Figures of attributions and of concepts, with matplotlib."""

from xai_jax.plots.images import grid, show, signed

__all__ = ["grid", "show", "signed"]
