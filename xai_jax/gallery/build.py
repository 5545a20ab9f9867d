"""From a folder of results to the pages in it."""

import math
from itertools import pairwise
from pathlib import Path

from xai_jax.gallery import explorer
from xai_jax.gallery.article import article
from xai_jax.gallery.claims import claims_page
from xai_jax.gallery.front import front
from xai_jax.gallery.page import CLAIMS, FRONT
from xai_jax.gallery.results import Experiment, load
from xai_jax.io.files import write_atomically

OURS = b'<meta name="generator" content="xai_jax.gallery">'


def build(results: str | Path) -> Path:
    """Writes `results/index.html`, the pages it leads to, and returns its path.

    Each page is replaced in one step, and none before all results were found good; the front page comes last. Pages
    of experiments that have no results any more are removed. Raises `ResultsError` with every problem found in the
    results, and `OSError` if the folder cannot be written.
    """
    results = Path(results)
    experiments = in_order(load(results))
    units = explorer.build(results) is not None
    neighbours = [None, *experiments, None]
    for before, (experiment, after) in zip(neighbours, pairwise(neighbours[1:]), strict=False):
        write(results / experiment.paper / experiment.name / FRONT, article(experiment, before, after, units))
    write(results / CLAIMS, claims_page(experiments, units))
    write(results / FRONT, front(experiments, units))
    remove_stale(results)
    return results / FRONT


def in_order(experiments: list[Experiment]) -> list[Experiment]:
    """By the order that the experiments state, those of one paper together, where its first one belongs."""

    def order(experiment):
        return math.inf if experiment.metrics["order"] is None else experiment.metrics["order"]

    first = {e.paper: min(order(other) for other in experiments if other.paper == e.paper) for e in experiments}
    return sorted(experiments, key=lambda e: (first[e.paper], e.paper, order(e), e.name))


def write(path: Path, page: str) -> None:
    """Lone surrogates are legal in JSON and not in UTF-8; as character references they cannot stop the build."""
    write_atomically(path, page.encode("utf-8", "xmlcharrefreplace"))


def remove_stale(results: Path) -> None:
    """Removes our pages of experiments whose results are gone, so that none says what nothing supports."""
    for path in results.glob(f"*/*/{FRONT}"):
        if not (path.parent / "metrics.json").exists() and OURS in path.read_bytes():
            path.unlink()
