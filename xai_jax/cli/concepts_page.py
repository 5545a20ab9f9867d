"""The page of `concepts`: scores with their significance, advice, and images sorted by concept."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xai_jax.cli.page import figure, panels, table
from xai_jax.cli.parts import Picture, Table
from xai_jax.concepts import advice
from xai_jax.concepts.significance import Row
from xai_jax.data import decoding
from xai_jax.data.pictures import fit
from xai_jax.gallery import page

SHOWN, SIDE, QUALITY = 6, 160, 75  # images of either end, their pixels, and the quality of WebP


class Measured(NamedTuple):
    """A section on scores: `rows` of scores and of the same tests `means`, mean derivatives, or a `reason` for none."""

    title: str
    about: str
    note: str = ""
    rows: Sequence[Row] = ()
    means: Sequence[Row] = ()
    reason: str = ""


class Sorting(NamedTuple):
    """Images by their cosine similarity (N,) to the CAV of a concept in a layer."""

    concept: str
    layer: str
    accuracy: float
    files: list[Path]
    similarity: np.ndarray


def render(
    network: str, measured: Sequence[Measured], charts: Sequence[np.ndarray], sortings: Sequence[Sorting]
) -> str:
    """The page, without links to other files.

    Args:
      network: its name.
      measured: a section each; the first has the names of all classes and concepts.
      charts: the bar chart (H, W, 3) uint8 of each that has rows.
      sortings: one for each concept.

    Returns:
      HTML.

    Raises:
      ValueError: if an image has changed since it was read.

    Example: `render("vgg16", [measured], [chart], sortings)`.
    """
    rows, drawn = measured[0].rows, iter(charts)
    names = ", ".join(dict.fromkeys(row.label for row in rows))
    concepts = ", ".join(dict.fromkeys(row.concept for row in rows))
    sections = "".join(_scores(each, drawn) for each in measured)
    body = (
        f"<header><h1>Concepts in {escape(network)}</h1>"
        f'<p class="lead">Does the logit of {escape(names)} depend on {escape(concepts)}?</p></header>'
        f"<article>{sections}{''.join(map(_sorted, sortings))}</article>{page.DIALOG}"
    )
    fields = {"title": escape(f"Concepts in {network}"), "links": "", "label": "Contents", "body": body}
    return page.render("page.html", ["report.css"], ["script.js"], **fields)


def _scores(measured, charts):
    """Chart, advice and table of a section."""
    head = f"<section><h3>{escape(measured.title)}</h3><p>{escape(measured.about)}</p>"
    if not measured.rows:
        return f'{head}<p class="left-out"><b>Left out.</b> {escape(measured.reason)}</p></section>'
    lines = "".join(f'<p class="left-out">{escape(line)}</p>' for line in advice.of_table(measured.rows))
    note = f"{measured.note} p-values are those of mean derivatives, corrected for all comparisons of the table (Holm)."
    chart = figure(Picture(next(charts), "", note, wide=True), QUALITY)
    return f"{head}{chart}{lines}{table(_table(measured))}</section>"


def _table(measured):
    header = ["concept", "class", "layer", "score", "random sets", "mean derivative", "p", "CAV's accuracy", "advice"]
    return Table(header, [_cells(*both) for both in zip(measured.rows, measured.means, strict=True)])


def _cells(row, mean):
    p = f"{row.adjusted:.2g}{' *' if row.significant else ''}"
    numbers = [f"{row.value:.2f}", f"{row.null:.2f}", f"{mean.value:.2g}", p, f"{100 * row.accuracy:.0f} %"]
    return [row.concept, row.label, row.layer, *numbers, advice.of_row(row)]


def _sorted(sorting):
    """The most and the least similar images."""
    order = np.argsort(-sorting.similarity, kind="stable")
    count = min(SHOWN, len(order) // 2 or 1)
    parts = (("Most similar", order[:count]), ("Least similar", order[::-1][:count]))
    html = "".join(
        f"<h4>{title}</h4>{panels([_picture(sorting, number) for number in numbers], QUALITY, 'panels row')}"
        for title, numbers in parts
    )
    about = (
        "The classes' images by the cosine of their activations with the concept's direction in "
        f"{escape(sorting.layer)}, where the CAV is right for {100 * sorting.accuracy:.0f} % of held-out images."
    )
    return f"<section><h3>{escape(sorting.concept)}</h3><p>{about}</p>{html}</section>"


def _picture(sorting, number):
    pixels = fit(decoding.decode(sorting.files[number]), SIDE, SIDE)
    return Picture(pixels, f"{sorting.similarity[number]:.3f}", sorting.files[number].name)
