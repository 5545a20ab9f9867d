"""Figures of TCAV scores show significance, intervals and panels as documented."""

import matplotlib.colors
import pytest

from xai_jax.concepts.significance import Row
from xai_jax.plots import concepts as concept_plots


def row(layer, concept, value, significant, statistic="score"):
    interval = {"low": value - 0.2, "high": value + 0.2, "null": 0.4, "tested": "mean", "p": 0.01, "adjusted": 0.03}
    rest = {"std": 0.1, "significant": significant, "accuracy": 0.8, "accuracy_p": 0.01, "silent": 0.0}
    return Row(layer, "zebra", concept, statistic, 5, value, **interval, **rest)


ROWS = [
    row("relu1", "stripes", 0.9, True),
    row("relu1", "dots", 0.95, False),
    row("relu2", "stripes", 0.8, True),
    row("relu2", "dots", 0.1, True),
    row("relu3", "stripes", 0.7, False),
    row("relu3", "dots", 0.2, False),
]


def test_only_significant_bars_are_filled_and_starred():
    _, axes = concept_plots.bars(ROWS)
    for number, each in enumerate(ROWS):
        bar = axes[0, number // 2].patches[number % 2]
        assert bar.get_height() == each.value and (bar.get_facecolor()[3] == 1) == each.significant
        assert bar.get_fill() == each.significant or bar.get_facecolor()[3] == 0
    assert [[text.get_text() for text in axis.texts] for axis in axes[0]] == [["*"], ["*", "*"], []]


def test_concepts_of_a_colour_have_it_and_no_other_has():
    names = ["red", "stripes", "blue"]
    _, ((axis,),) = concept_plots.bars([row("relu1", name, 0.9, True) for name in names])
    drawn = dict(zip(names, (bar.get_facecolor() for bar in axis.patches), strict=True))
    assert [drawn[name] for name in ("red", "blue")] == [matplotlib.colors.to_rgba(f"tab:{n}") for n in ("red", "blue")]
    assert len(set(drawn.values())) == 3


def test_only_markers_of_significant_scores_are_filled():
    _, (axis,) = concept_plots.curves(ROWS)
    markers = [line for line in axis.lines if line.get_marker() == "o"]
    assert len(markers) == len(ROWS)
    filled = {round(float(line.get_ydata()[0]), 6) for line in markers if line.get_markerfacecolor() != "white"}
    assert filled == {0.9, 0.8, 0.1}
    solid = [line for line in axis.lines if line.get_linestyle() == "-" and line.get_linewidth() == 1.5]
    assert [list(line.get_ydata()) for line in solid] == [[0.9, 0.8]]  # between significant neighbours
    dotted = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert all(matplotlib.colors.to_rgba(line.get_color())[3] < 0.5 for line in dotted)


@pytest.mark.parametrize("draw", [concept_plots.bars, concept_plots.curves])
@pytest.mark.parametrize("statistic, highest", [("score", 1.0), ("mean", 1.15)])
def test_intervals_of_bounded_statistics_are_clipped(draw, statistic, highest):
    _, axes = draw([row("relu1", "stripes", 0.95, True, statistic)])
    assert max(max(line.get_ydata()) for line in axes.ravel()[0].lines) == pytest.approx(highest)


@pytest.mark.parametrize(
    "draw, titles",
    [(concept_plots.bars, [["relu1", "relu2", "relu3"], [""] * 3]), (concept_plots.curves, [["zebra", "cab"]])],
)
def test_panels_are_classes_and_layers(draw, titles, tmp_path):
    figure, axes = draw([*ROWS, *(each._replace(label="cab") for each in ROWS)])
    assert [[axis.get_title() for axis in line] for line in axes.reshape(len(titles), -1)] == titles
    figure.savefig(tmp_path / "figure.png")
