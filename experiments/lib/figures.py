"""Parts of figures that experiments share: axes without frames, heat maps, image grids with confidences, lines."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from experiments.lib.report import Panel
from experiments.lib.statistics import over_seeds
from xai_jax import plots
from xai_jax.plots.figure import Figure


def axes(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (3.6, 3.6), **shared: bool
) -> tuple[Figure, np.ndarray]:
    """A figure with (rows, columns) axes of `size` inches each, without top and right spines.

    `shared`: sharex, sharey, as matplotlib takes them.
    """
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    for axis in grid.flat:
        hide_spines(axis)
    return figure, grid


def hide_spines(axis: Axes, *more: str) -> None:
    """Removes the top and right spines, and `more`."""
    axis.spines[["top", "right", *more]].set_visible(False)


def label(axis: Axes, title: str = "", x: str = "", y: str = "", size: int = 8) -> None:
    """Title and axis labels in small type."""
    axis.set_title(title, fontsize=size + 1)
    axis.set_xlabel(x, fontsize=size)
    axis.set_ylabel(y, fontsize=size)
    axis.tick_params(labelsize=size - 1)


def heat_map(
    axis: Axes, values: np.ndarray, limits: tuple[float, float] | None = None, colours: str = "viridis"
) -> None:
    """Values (H, W) as colours, with a colour bar."""
    low, high = limits or (None, None)
    image = axis.imshow(values, cmap=colours, vmin=low, vmax=high)
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=6)


def category_map(axis: Axes, categories: np.ndarray, names: Sequence[str], shown: int = 4) -> None:
    """Categories (H, W) as colours: the `shown` most frequent with a legend, the others grey."""
    kinds, counts = np.unique(categories, return_counts=True)
    top = kinds[np.argsort(-counts, kind="stable")][:shown]
    colours = matplotlib.colormaps["Set2"](np.arange(shown))
    image = np.full((*categories.shape, 3), 0.85)
    for kind, colour in zip(top, colours, strict=False):
        image[categories == kind] = colour[:3]
    axis.imshow(image, interpolation="nearest")
    handles = [Patch(color=c, label=names[k][:22]) for k, c in zip(top, colours, strict=False)]
    axis.legend(handles=handles, fontsize=5.5, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, handlelength=1)


def with_confidence(names: Sequence[str], labels: np.ndarray, probabilities: np.ndarray) -> list[str]:
    """Row titles: the name of each label (N,), and the probability (N,) below it."""
    return [f"{names[k]}\n{p:.2f}" for k, p in zip(labels, probabilities, strict=True)]


def image_panel(
    name: str,
    images: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str],
    rows: Sequence[str],
    caption: str,
    alt: str,
    size: float = 1.6,
) -> Panel:
    """A grid of images as a panel of the report.

    Args:
      name: of the file, without suffix.
      images: rows of (H, W), (H, W, 1) or (H, W, 3) images in [0, 1]; None leaves a position empty.
      columns: titles of columns.
      rows: titles of rows.
      caption: of the figure.
      alt: description for readers who cannot see it.
      size: width of an image in inches.
    """
    return Panel(name, plots.grid(images, columns, rows, size)[0], caption, alt)


def attributions(
    images: Sequence[np.ndarray],
    maps: Sequence[Sequence[np.ndarray]],
    columns: Sequence[str],
    rows: Sequence[str],
    size: float = 1.9,
) -> Figure:
    """Rows of an image in [0, 1] and its signed maps, each on a scale of its own with zero at grey."""
    panels = [[image, *map(plots.signed, each)] for image, each in zip(images, maps, strict=True)]
    return plots.grid(panels, columns, rows, size)[0]


def error_lines(axis: Axes, series: Mapping[str, np.ndarray], ticks: Sequence[str]) -> None:
    """A line for each series (T, N): mean and standard deviation over N at the named ticks."""
    for (name, values), style in zip(series.items(), ("-o", "-s", "-^", "-v", "-d", "-x", "-P", "-*"), strict=False):
        mean, spread = np.mean(values, axis=1), np.std(values, axis=1)
        axis.errorbar(range(len(ticks)), mean, spread, fmt=style, ms=3, lw=1.2, capsize=2, label=name)
    axis.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=7)
    axis.axhline(0, color="0.7", lw=0.8)


def boxes(axis: Axes, groups: Mapping[str, np.ndarray], y: str = "", width: float = 0.5) -> None:
    """A box of quartiles for each named group of values, outliers as dots, from 0 upwards or from the least value."""
    axis.boxplot(list(groups.values()), tick_labels=list(groups), widths=width, flierprops={"marker": ".", "ms": 2})
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set_ylim(min(0, *(1.05 * np.min(values) for values in groups.values())), None)


def bars(axis: Axes, series: Mapping[str, np.ndarray], ticks: Sequence[str]) -> None:
    """Groups of bars at the named ticks: mean and standard deviation of each series (T, N) over N."""
    width, centres = 0.8 / len(series), np.arange(len(ticks))
    for n, (name, values) in enumerate(series.items()):
        positions = centres + (n - (len(series) - 1) / 2) * width
        axis.bar(positions, np.mean(values, 1), 0.9 * width, yerr=np.std(values, 1), label=name, error_kw={"lw": 0.7})
    axis.set_xticks(centres, ticks, rotation=60, ha="right", fontsize=8)
    axis.set_ylim(bottom=0)


def seed_bar(
    axis: Axes,
    x: float,
    values: np.ndarray,
    colour: str,
    significant: bool = True,
    width: float = 0.36,
    outline: str = "0.55",
) -> None:
    """A bar at the mean of values of several seeds, which are dots; a dotted outline where it is not significant."""
    style = {"color": colour} if significant else {"facecolor": "none", "edgecolor": outline, "linestyle": ":"}
    axis.bar(x, np.mean(values), width=width, **style)
    axis.plot(np.full(len(values), x), values, ".", color="k" if significant else "0.55", ms=4)


def matrix(
    axis: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float],
    colours: str = "viridis",
) -> AxesImage:
    """Values (R, C) as colours under named rows and columns; returns what a colour bar needs."""
    drawn = axis.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
    axis.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    return drawn


def text_table(
    columns: Sequence[str], lines: Sequence[Sequence[str]], ruled: Sequence[int], first: float = 1
) -> Figure:
    """Text in columns under their titles, with a rule above each of the lines `ruled`.

    Args:
      columns: titles; the first column is left-aligned.
      lines: a cell for each column.
      ruled: indices of lines.
      first: width of the first column, in units of the others'.
    """
    figure = Figure(figsize=(1.4 * (len(columns) + first), 0.7 + 0.24 * len(lines)), layout="constrained")
    axis = figure.subplots()
    axis.axis("off")
    axis.set(xlim=(-first, len(columns) - 1), ylim=(len(lines) - 0.4, -1.9))
    for y, line in zip([-1.2, *range(len(lines))], [columns, *lines], strict=True):
        weight = "bold" if y < 0 else "normal"
        axis.text(-first, y, line[0], fontsize=9, weight=weight, va="center")
        for x, text in enumerate(line[1:]):
            axis.text(x + 0.5, y, text, fontsize=9, weight=weight, va="center", ha="center")
    for y in ruled:
        axis.axhline(y - 0.5, color="0.3", lw=0.8)
    return figure


def mean_and_std(values: np.ndarray) -> str:
    """Mean and standard deviation as text, or a dash where there is no value; NaN is left out."""
    found = over_seeds(values)
    return f"{found.mean:.2f} ± {np.nanstd(values):.2f}" if found.count else "–"


def dots(axis: Axes, y: float, values: np.ndarray, colour: str) -> None:
    """A row at height y: a ring for each value and a bar at their mean."""
    axis.plot(values, np.full(len(values), y), "o", mfc="none", mec=colour, ms=5)
    axis.plot([over_seeds(values).mean] * 2, [y - 0.35, y + 0.35], color=colour, lw=2)


def difference_dots(axis: Axes, y: float, values: np.ndarray, colour: str, paper: float) -> None:
    """A row at height y: rings for differences, their mean with its confidence interval, and the paper's difference."""
    found = over_seeds(values)
    axis.plot(values, np.full(len(values), y - 0.2), "o", mfc="none", mec=colour, ms=5)
    axis.plot([found.low, found.high], [y, y], color=colour, lw=2)
    axis.plot(found.mean, y, "o", color=colour, ms=6)
    axis.plot(paper, y + 0.2, "kD", ms=4, label=None if y else "paper: CIFAR-10")


def label_rows(axis: Axes, title: str, unit: str, rows: Sequence[str] = ()) -> None:
    """Labels of a panel with rows of dots, downwards from 0; `rows` names them."""
    label(axis, title, unit)
    if rows:
        axis.set_yticks(range(len(rows)), rows)
        axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(labelsize=8, left=False)
    hide_spines(axis, "left")
