"""Builds all pages of a folder of results."""

import math
from itertools import pairwise
from pathlib import Path

from xai_jax.gallery import explorer
from xai_jax.gallery.article import article
from xai_jax.gallery.claims import claims_page
from xai_jax.gallery.front import front
from xai_jax.gallery.page import CLAIMS, FRONT, remove_generated, write
from xai_jax.gallery.results import Experiment, load


def build(results: str | Path) -> Path:
    """Writes `results/index.html` and all pages that it links to, and returns its path. Example: `build("results")`.

    All results are validated before any page is replaced; each page is written atomically, the front page last. Pages
    of experiments without results are removed. Raises `ResultsError` with every problem found in the results, and
    `OSError` if the folder cannot be written.
    """
    results = Path(results)
    experiments = _in_order(load(results))
    units = explorer.build(results) is not None
    neighbours = [None, *experiments, None]
    for before, (experiment, after) in zip(neighbours, pairwise(neighbours[1:]), strict=False):
        write(results / experiment.paper / experiment.name / FRONT, article(experiment, before, after, units))
    write(results / CLAIMS, claims_page(experiments, units))
    write(results / FRONT, front(experiments, units))
    for path in results.glob(f"*/*/{FRONT}"):
        if not (path.parent / "metrics.json").exists():
            remove_generated(path)
    return results / FRONT


def _in_order(experiments: list[Experiment]) -> list[Experiment]:
    """Experiments by their `order`, grouped by paper; a paper comes where its first experiment does."""

    def order(experiment):
        return math.inf if experiment.metrics["order"] is None else experiment.metrics["order"]

    first = {e.paper: min(order(other) for other in experiments if other.paper == e.paper) for e in experiments}
    return sorted(experiments, key=lambda e: (first[e.paper], e.paper, order(e), e.name))
