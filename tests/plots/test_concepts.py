"""What is not significant does not look as if it were."""

import matplotlib.colors
import pytest

from xai_jax.concepts.significance import Row
from xai_jax.plots import concepts as concept_plots


def row(layer, label, concept, value, significant, statistic="score"):
    rest = {"runs": 5, "std": 0.1, "low": value - 0.2, "high": value + 0.2, "null": 0.4, "tested": "mean"}
    tests = {"p": 0.01, "adjusted": 0.03, "accuracy": 0.8, "accuracy_p": 0.01, "silent": 0.0}
    return Row(
        layer=layer,
        label=label,
        concept=concept,
        statistic=statistic,
        value=value,
        significant=significant,
        **rest,
        **tests,
    )


ROWS = [
    row("relu1", "zebra", "stripes", 0.9, True),
    row("relu1", "zebra", "dots", 0.95, False),
    row("relu2", "zebra", "stripes", 0.8, True),
    row("relu2", "zebra", "dots", 0.1, True),
    row("relu3", "zebra", "stripes", 0.7, False),
    row("relu3", "zebra", "dots", 0.2, False),
]


def test_bars_that_are_not_significant_are_hollow_and_have_no_star():
    _, axes = concept_plots.bars(ROWS)
    assert axes.shape == (1, 3)
    for number, each in enumerate(ROWS):
        axis = axes[0, number // 2]
        bar = axis.patches[number % 2]
        assert bar.get_height() == each.value and bar.get_fill() == each.significant or bar.get_facecolor()[3] == 0
        assert (bar.get_facecolor()[3] == 1) == each.significant
    assert [len(axis.texts) for axis in axes[0]] == [1, 2, 0]
    assert all(text.get_text() == "*" for axis in axes[0] for text in axis.texts)


def test_markers_of_curves_that_are_not_significant_are_hollow():
    _, (axis,) = concept_plots.curves(ROWS)
    markers = [line for line in axis.lines if line.get_marker() == "o"]
    assert len(markers) == len(ROWS)
    filled = {round(float(line.get_ydata()[0]), 6) for line in markers if line.get_markerfacecolor() != "white"}
    assert filled == {0.9, 0.8, 0.1}
    through = [line for line in axis.lines if line.get_linestyle() == "-" and line.get_linewidth() == 1.5]
    assert [list(line.get_ydata()) for line in through] == [[0.9, 0.8]]  # between two that are
    pale = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert all(matplotlib.colors.to_rgba(line.get_color())[3] < 0.5 for line in pale)


@pytest.mark.parametrize("draw", [concept_plots.bars, concept_plots.curves])
def test_intervals_of_shares_end_where_shares_do(draw):
    _, axes = draw([row("relu1", "zebra", "stripes", 0.95, True)])
    axis = axes.ravel()[0]
    assert max(max(line.get_ydata()) for line in axis.lines) == 1.0
    _, axes = draw([row("relu1", "zebra", "stripes", 0.95, True, "mean")])
    assert max(max(line.get_ydata()) for line in axes.ravel()[0].lines) == pytest.approx(1.15)


def test_panels_are_of_classes_and_layers(tmp_path):
    rows = [*ROWS, *(each._replace(label="cab") for each in ROWS)]
    figure, axes = concept_plots.bars(rows)
    assert axes.shape == (2, 3) and [axis.get_title() for axis in axes[0]] == ["relu1", "relu2", "relu3"]
    figure.savefig(tmp_path / "bars.png")
    figure, axes = concept_plots.curves(rows)
    assert [axis.get_title() for axis in axes] == ["zebra", "cab"]
    figure.savefig(tmp_path / "curves.png")
