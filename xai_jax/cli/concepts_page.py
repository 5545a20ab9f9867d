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
from xai_jax.concepts.tcav import Plan
from xai_jax.data import decoding
from xai_jax.data.pictures import fit
from xai_jax.gallery import page

SHOWN, SIDE, QUALITY = 6, 160, 75  # images of either end, their pixels, and the quality of WebP


class Sorting(NamedTuple):
    """Images by their cosine similarity (N,) to the CAV of a concept in a layer."""

    concept: str
    layer: str
    accuracy: float
    files: list[Path]
    similarity: np.ndarray


def render(
    network: str, rows: Sequence[Row], chart: np.ndarray, sortings: Sequence[Sorting], plan: Plan, random_count: int
) -> str:
    """The page, without links to other files.

    Args:
      network: its name.
      rows: of `significance.table`.
      chart: the bar chart (H, W, 3) uint8.
      sortings: one for each concept.
      plan: number of runs and controls.
      random_count: number of random images.

    Returns:
      HTML.

    Raises:
      ValueError: if an image has changed since it was read.

    Example: `render("vgg16", rows, chart, sortings, plan, 500)`.
    """
    note = (
        f"TCAV score: share of the class's images whose logit rises along the concept, mean of {plan.runs} runs, with "
        f"its 95 % interval. Filled and starred where significant. The thick line is the mean of {plan.controls} sets "
        f"of as many of the {random_count} random images, in place of the concept. p-values are those of mean "
        "derivatives, corrected for all comparisons (Holm)."
    )
    lines = "".join(f'<p class="left-out">{escape(line)}</p>' for line in advice.of_table(rows))
    names = ", ".join(dict.fromkeys(row.label for row in rows))
    concepts = ", ".join(dict.fromkeys(row.concept for row in rows))
    body = (
        f"<header><h1>Concepts in {escape(network)}</h1>"
        f'<p class="lead">Does the logit of {escape(names)} depend on {escape(concepts)}?</p></header>'
        f"<article><section><h3>Scores</h3>{figure(Picture(chart, '', note, wide=True), QUALITY)}{lines}"
        f"{table(_table(rows))}</section>{''.join(map(_sorted, sortings))}</article>{page.DIALOG}"
    )
    fields = {"title": escape(f"Concepts in {network}"), "links": "", "label": "Contents", "body": body}
    return page.render("page.html", ["report.css"], ["script.js"], **fields)


def _table(rows):
    header = ["concept", "class", "layer", "score", "random sets", "p", "accuracy of the CAV", "advice"]
    return Table(header, [_cells(row) for row in rows])


def _cells(row):
    p = f"{row.adjusted:.2g}{' *' if row.significant else ''}"
    numbers = [f"{row.value:.2f}", f"{row.null:.2f}", p, f"{100 * row.accuracy:.0f} %"]
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
