"""Builds all pages of a folder of results."""

import math
from itertools import pairwise
from pathlib import Path

from xai_jax.gallery import explorer
from xai_jax.gallery.article import ROOT, article, refusal
from xai_jax.gallery.claims import claims_page
from xai_jax.gallery.figures import TITLE, figures_page
from xai_jax.gallery.front import front
from xai_jax.gallery.page import CLAIMS, FIGURES, FRONT, UNITS, is_generated, remove_generated, write
from xai_jax.gallery.results import Experiment, ResultsError, load
from xai_jax.io.files import user_path


def build(results: str | Path) -> Path:
    """Writes `results/index.html` and all pages that it links to, and returns its path. Example: `build("results")`.

    All results are validated before any page is replaced; each page is written atomically, the front page last. Pages
    of experiments without results are removed. Raises `ResultsError` with every problem found in the results, after
    replacing the pages that show the experiments concerned by a note, and `OSError` if the folder cannot be written.
    """
    results = user_path(results)
    try:
        experiments = _in_order(load(results))
        units = explorer.build(results) is not None
    except ResultsError as error:
        _withdraw(results, error.folders)
        raise
    neighbours = [None, *experiments, None]
    for before, (experiment, after) in zip(neighbours, pairwise(neighbours[1:]), strict=False):
        write(results / experiment.paper / experiment.name / FRONT, article(experiment, before, after, units))
    write(results / FIGURES, figures_page(experiments, units))
    write(results / CLAIMS, claims_page(experiments, units))
    write(results / FRONT, front(experiments, units))
    for path in results.glob(f"*/*/{FRONT}"):
        if not (path.parent / "metrics.json").exists():
            remove_generated(path)
    return results / FRONT


def _withdraw(results: Path, folders: tuple[Path, ...]) -> None:
    """Replaces earlier pages of refused results by a note: they would show whatever lies beside them now."""
    units = (results / UNITS).exists()
    for folder in folders:
        if is_generated(folder / FRONT):
            write(folder / FRONT, refusal(folder.name, ROOT, units))
        if folder == results / explorer.FOLDER and is_generated(results / UNITS):
            write(results / UNITS, refusal(folder.name, "", units))
    if folders and is_generated(results / FIGURES):
        write(results / FIGURES, refusal(TITLE, "", units))


def _in_order(experiments: list[Experiment]) -> list[Experiment]:
    """Experiments by their `order`, grouped by paper; a paper comes where its first experiment does."""

    def order(experiment):
        return math.inf if experiment.metrics["order"] is None else experiment.metrics["order"]

    first = {e.paper: min(order(other) for other in experiments if other.paper == e.paper) for e in experiments}
    return sorted(experiments, key=lambda e: (first[e.paper], e.paper, order(e), e.name))
