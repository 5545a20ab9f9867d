"""Figures show names as they are: nothing that users or data name becomes mathematics or stops a run at its end."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg

from experiments.lib import figures
from xai_jax import plots
from xai_jax.concepts.significance import Row
from xai_jax.plots import concepts as concept_plots

ROOT = Path(__file__).resolve().parents[2]
SURROGATE = "caf\udce9"
NAMES = (r"$\frac$", "cost $5 or $6", r"a\$b", "=1+1", "@a", "two\nlines", SURROGATE, "100 % _x^y {z}")


def drawn(figure, monkeypatch):
    """Saves a figure; returns the pieces of text that reach the renderer and whether each is mathematics."""
    pieces, original = set(), RendererAgg.draw_text

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        pieces.add((s, bool(ismath)))
        return original(self, gc, x, y, s, prop, angle, ismath, mtext)

    monkeypatch.setattr(RendererAgg, "draw_text", draw_text)
    monkeypatch.setattr(RendererAgg, "draw_mathtext", lambda self, gc, x, y, s, *rest: pieces.add((s, True)))
    for _ in range(2):  # the second time is like the first
        figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    return pieces


def shown(name):
    """Lines of a name as they ought to be drawn."""
    return {(line.replace("\udce9", r"\udce9"), False) for line in name.split("\n")}


def bars_of(name):
    return concept_plots.bars(rows(name))[0]


def curves_of(name):
    return concept_plots.curves(rows(name))[0]


def rows(name):
    test = {"low": 0.7, "high": 1.0, "null": 0.5, "tested": "score", "p": 0.01, "adjusted": 0.01}
    rest = {"std": 0.1, "significant": True, "accuracy": 0.9, "accuracy_p": 0.01, "silent": 0.0}
    return [Row(name, name, each, "score", 5, 0.9, **test, **rest) for each in (name, "b")]


def grid_of(name):
    return plots.grid([[np.zeros((4, 4))]], columns=[name], rows=[name])[0]


def table_of(name):
    return figures.text_table(["", name], [(name, name)], ruled=[])


def lines_of(name):
    figure, ((axis,),) = figures.axes()
    figures.error_lines(axis, {name: np.ones((2, 3))}, [name, "b"])
    figures.label(axis, name, name, name)
    figure.legend(*axis.get_legend_handles_labels())
    figure.suptitle(name)
    axis.annotate(name, (0, 1))
    return figure


def boxes_of(name):
    figure, ((axis,),) = figures.axes()
    figures.boxes(axis, {name: np.ones(3), "b": np.ones(3)}, name)
    return figure


def categories_of(name):
    figure, ((axis,),) = figures.axes()
    axis.plot([name, "b"], [0, 1])
    figures.category_map(axis, np.zeros((2, 2), int), [name])
    return figure


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("draw", [bars_of, curves_of, grid_of, table_of, lines_of, boxes_of, categories_of])
def test_names_are_drawn_as_they_are(draw, name, monkeypatch):
    pieces = drawn(draw(name), monkeypatch)
    assert shown(name) <= pieces and not [piece for piece, mathematics in pieces if mathematics]


def test_names_at_the_ticks_of_shared_axes_are_drawn_as_they_are(monkeypatch):
    figure, grid = figures.axes(2, 2, sharex=True, sharey=True)
    grid[0, 0].set_xticks([0, 1], ["$a$", "b"])
    grid[0, 0].set_yticks([0.5], ["$c$"], minor=True)
    assert {("$a$", False), ("$c$", False)} <= drawn(figure, monkeypatch)


def test_powers_of_ten_at_ticks_are_mathematics(monkeypatch):
    figure, ((axis,),) = figures.axes()
    axis.set_yscale("log")
    axis.plot([1, 2], [1e-3, 1e3])
    axis.set_title("from $5 to $6")
    pieces = drawn(figure, monkeypatch)
    assert ("from $5 to $6", False) in pieces
    assert any(mathematics and "10^{" in piece for piece, mathematics in pieces)


def test_all_figures_of_the_project_are_of_this_kind():
    own = ROOT / "xai_jax/plots/figure.py"
    paths = [path for folder in ("xai_jax", "experiments") for path in (ROOT / folder).rglob("*.py") if path != own]
    others = re.compile(r"matplotlib\.figure|matplotlib import .*\bfigure\b|pyplot|pylab")
    assert [str(path) for path in paths if others.search(path.read_text(encoding="utf-8"))] == []
