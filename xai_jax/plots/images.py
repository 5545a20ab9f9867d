"""Images and attribution maps as figures: rows of small panels under column titles."""

import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from xai_jax.plots.figure import Figure

SIGNED = matplotlib.colormaps["RdBu_r"]


def signed(attribution: np.ndarray, percentile: float = 99.9) -> np.ndarray:
    """Scales signed values (H, W, C) to [0, 1], with zero at middle grey.

    Values beyond the percentile of the absolute values are clipped. A map of zeros is all grey, with a warning. Raises
    ValueError for NaN.

    >>> signed(np.array([[[-2.0], [0.0], [1.0]]]), percentile=100).ravel()
    array([0.  , 0.5 , 0.75])
    """
    values = np.asarray(attribution, np.float64)
    if np.isnan(values).any():
        raise ValueError("Expected a map of numbers, got NaN, of which one would blank the whole picture.")
    if not values.any():
        warnings.warn(
            "The map is zero everywhere: plain grey. Usual causes: a unit that is inactive on this image (check its "
            "activation), or a probability so close to 0 or 1 that its gradient vanishes.",
            stacklevel=2,
        )
    scale = np.percentile(abs(values), percentile) or abs(values).max() or 1.0
    return np.clip(values / scale, -1, 1) / 2 + 0.5


def grid(
    panels: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    size: float = 1.6,
) -> tuple[Figure, np.ndarray]:
    """Figure of image panels.

    Args:
      panels: rows of images (H, W), (H, W, 1) or (H, W, 3) in [0, 1]; None leaves a panel empty.
      columns: titles of the columns.
      rows: titles of the rows.
      size: width of a panel in inches.

    Returns:
      The figure and its axes, of shape (rows, columns).

    Raises:
      ValueError: for no rows.
      TypeError: for arrays that are not images.

    >>> figure, axes = grid([[np.zeros((8, 8)), None]], columns=["image", "map"])
    >>> axes.shape, axes[0, 1].get_title()
    ((1, 2), 'map')
    """
    shape = len(panels), max(map(len, panels))
    figure = Figure(figsize=(size * shape[1], size * shape[0] * 1.06), layout="compressed")
    axes = figure.subplots(*shape, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for i, row in enumerate(panels):
        for j in range(shape[1]):
            show(axes[i, j], row[j] if j < len(row) else None)
    for axis, title in zip(axes[0], columns, strict=False):
        axis.set_title(title, fontsize=9)
    for axis, title in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(title, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
    return figure, axes


def show(axis: Axes, image: np.ndarray | None) -> None:
    """Draws an image (H, W), (H, W, 1) or (H, W, 3) in [0, 1], or nothing, without ticks; see `grid`.

    >>> axis = Figure().subplots()
    >>> show(axis, np.zeros((8, 8, 1)))
    >>> axis.images[0].get_array().shape
    (8, 8)
    """
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if image is None:
        return
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if image.shape[0] < 64 else "auto")
