"""Differentiable HOG and dense SIFT, which can be inverted like layers of a network.

Mahendran & Vedaldi 2015, Understanding deep image representations by inverting them, section 4. HOG is the one of
Felzenszwalb, Girshick, McAllester & Ramanan 2010, Object detection with discriminatively trained part-based models,
without its four texture channels; borders are treated as in VLFeat's vl_hog.

    result = inversion.invert(hog, hog(photograph), (224, 224, 1), key, CVPR(total_variation=1.0))

>>> x = jnp.zeros((1, 32, 32, 1))
>>> hog(x).shape, hogb(x).shape, dsift(x).shape
((1, 4, 4, 27), (1, 4, 4, 27), (1, 1, 1, 128))

Images are grey, (N, H, W, 1), in units of [0, 255]; descriptors are invariant to an added constant.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from xai_jax.core.precision import HIGHEST, wide

CLAMP = 0.2  # greatest value of normalised histograms, which limits the effect of single strong edges
FLOOR = 1e-4  # added to squared norms of blocks


def hog(x: Array, cell: int = 8, soft: bool = False) -> Array:
    """Histograms of oriented gradients: 18 directed and 9 undirected orientations, (N, H // cell, W // cell, 27).

    A gradient contributes its magnitude to the nearest orientation, bilinearly interpolated between the four nearest
    cells. Histograms are divided by the norms of the four blocks of 2x2 cells that contain them, clamped and summed.
    As in the paper, the choice of the orientation is not differentiated; with `soft` it is, see `hogb`. Raises
    ValueError for images that are not grey, and for those smaller than one cell.
    """
    _check(x, cell, cell)
    x = wide(x)
    votes = jnp.pad(_votes(x, 9, soft), ((0, 0), (1, 1), (1, 1), (0, 0)))  # none at the border
    centres = [(np.arange(size // cell) + 0.5) * cell - 0.5 for size in x.shape[1:3]]
    directed = _pooled(votes, centres, cell)
    undirected = directed[..., :9] + directed[..., 9:]
    cells = jnp.concatenate([directed, undirected], -1)
    squares = jnp.pad((undirected**2).sum(-1), ((0, 0), (1, 1), (1, 1)), mode="edge")
    blocks = squares[:, :-1, :-1] + squares[:, :-1, 1:] + squares[:, 1:, :-1] + squares[:, 1:, 1:]
    scale, (height, width) = lax.rsqrt(blocks + FLOOR)[..., None], cells.shape[1:3]
    corners = [scale[:, i : i + height, j : j + width] for i in (0, 1) for j in (0, 1)]
    return sum(jnp.minimum(cells * corner, CLAMP) for corner in corners) / 2


def hogb(x: Array, cell: int = 8) -> Array:
    """HOG with linear interpolation between the two nearest orientations, differentiable throughout."""
    return hog(x, cell, soft=True)


def dsift(x: Array, bin: int = 5) -> Array:
    """Dense SIFT: 4x4 histograms of 8 orientations with a stride of three bins of `bin` pixels, (N, h, w, 128).

    Bins are weighted by a Gaussian around the descriptor's centre; descriptors are divided by their norm and clamped.
    The code of 2015 has bins of 5 pixels, that of 2016 has 8. Raises ValueError for images that are not grey, and for
    those smaller than one descriptor, 5 bins and 2 pixels.
    """
    _check(x, 5 * bin + 2, bin)
    x = wide(x)
    centres = [(np.arange((size - 2) // bin - 1) + 1) * bin - 0.5 for size in x.shape[1:3]]
    bins = _pooled(_votes(x, 4, soft=True), centres, bin)
    corners = [range(0, size - 3, 3) for size in bins.shape[1:3]]
    around = np.exp(-0.5 * ((np.arange(4) - 1.5) / 1.5) ** 2)
    window = np.outer(around, around)[..., None].astype(x.dtype)
    found = [[(bins[:, i : i + 4, j : j + 4] * window).reshape(len(x), 128) for j in corners[1]] for i in corners[0]]
    found = jnp.stack([jnp.stack(row, 1) for row in found], 1)
    return jnp.minimum(found * lax.rsqrt((found**2).sum(-1, keepdims=True) + FLOOR), CLAMP)


def _check(x, least, cell):
    if cell < 1:
        raise ValueError(f"Expected cells of at least one pixel, got {cell}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"Expected images of floating-point numbers, got {x.dtype}, whose differences may wrap around."
        )
    if x.ndim != 4 or x.shape[3] != 1 or min(x.shape[1:3]) < max(least, 3):
        raise ValueError(
            f"Expected grey images (N, H, W, 1) of at least {max(least, 3)} pixels a side, got {x.shape}. Usual cause: "
            "colour, which is to be averaged first."
        )


def _votes(x, orientations, soft):
    """Gradient magnitudes of inner pixels by orientation, (N, H - 2, W - 2, 2 * orientations)."""
    across, down = x[:, 1:-1, 2:] - x[:, 1:-1, :-2], x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
    flat = (across == 0) & (down == 0)  # where neither magnitude nor angle has a derivative
    across = jnp.where(flat, 1.0, across)
    magnitude = jnp.where(flat, 0.0, jnp.sqrt(across**2 + down**2))
    step = np.pi / orientations
    angles = np.arange(2 * orientations) * step  # in float64, so that 80 and 100 degrees are equally near to 90
    if soft:
        difference = jnp.abs(jnp.arctan2(down, across) - angles.astype(x.dtype))
        return magnitude * jnp.maximum(0.0, 1 - jnp.minimum(difference, jnp.abs(difference - 2 * np.pi)) / step)
    cosines, sines = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    nearest = (across * cosines + down * sines).argmax(-1)
    return magnitude * jax.nn.one_hot(nearest, 2 * orientations, dtype=x.dtype)


def _pooled(votes, centres, width):
    """Sums of votes around the centres, with weights that decrease linearly to zero over `width` pixels."""
    rows, columns = (
        np.maximum(0, 1 - abs(np.arange(size) - at[:, None]) / width).astype(votes.dtype)
        for size, at in zip(votes.shape[1:3], centres, strict=True)
    )
    return jnp.einsum("ir,jc,nrco->nijo", rows, columns, votes, precision=HIGHEST)
