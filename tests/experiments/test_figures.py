"""Shared parts of figures and measures: what is drawn where, and measures against numpy and scipy."""

import numpy as np
import pytest
from scipy import stats

from experiments.lib import figures, measures

RANDOM = np.random.default_rng(0)
FIRST, SECOND = RANDOM.normal(size=(2, 3, 4, 5))


def test_measures_are_those_of_numpy_and_scipy():
    found = measures.correlations(FIRST, SECOND), measures.pairwise_rank_correlations(FIRST)
    np.testing.assert_allclose(
        found[0], [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(FIRST, SECOND, strict=True)]
    )
    expected = stats.spearmanr(FIRST.reshape(3, -1), axis=1).statistic
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_allclose(found[1], expected)
    cosine = [(a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(FIRST, SECOND, strict=True)]
    np.testing.assert_allclose(measures.cosine(FIRST, SECOND), cosine)


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_constant_arrays_have_no_correlation(constant):
    flat = np.full_like(FIRST, constant)
    assert np.isnan(measures.correlations(FIRST, flat)).all() and np.isnan(measures.rank_correlation(FIRST, flat))
    assert np.isnan(measures.cosine(FIRST, flat)).all() == (constant == 0)


def test_rows_of_dots_show_values_means_and_intervals():
    figure, ((axis,),) = figures.axes()
    figures.dots(axis, 0, np.array([1.0, 3.0]), "k")
    rings, bar = axis.lines
    assert list(rings.get_xdata()) == [1, 3] and list(bar.get_xdata()) == [2, 2]
    figures.difference_dots(axis, 1, np.array([1.0, 3.0, 2.0]), "k", paper=0.5)
    interval = axis.lines[3].get_xdata()
    np.testing.assert_allclose(interval, stats.t.interval(0.95, 2, 2, stats.sem([1, 3, 2])))
    assert not axis.spines["top"].get_visible() and axis.spines["left"].get_visible()


def test_tables_have_every_cell_and_rule():
    figure = figures.text_table(("", "a", "b"), [("x", "1", "2"), ("y", "3", "4")], ruled=[1])
    assert [text.get_text() for text in figure.axes[0].texts] == ["", "a", "b", "x", "1", "2", "y", "3", "4"]
    assert len(figure.axes[0].lines) == 1
    assert figures.mean_and_std(np.array([20.0, 22.0, np.nan])) == "21.00 ± 1.00" and figures.mean_and_std([]) == "–"


def test_the_most_frequent_categories_have_colours():
    _, ((axis,),) = figures.axes()
    categories = np.repeat([0, 1, 2], [5, 3, 1]).reshape(3, 3)
    figures.category_map(axis, categories, ["cat", "dog", "eel"], shown=2)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["cat", "dog"]
    image = axis.images[0].get_array()
    np.testing.assert_allclose(image[categories == 2], 0.85)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 3


def test_bars_and_lines_have_means_and_standard_deviations():
    _, ((left, right),) = figures.axes(1, 2)
    series = {"a": FIRST[0], "b": SECOND[0]}
    figures.bars(left, series, "wxyz")
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], [*FIRST[0].mean(1), *SECOND[0].mean(1)])
    figures.error_lines(right, series, "wxyz")
    np.testing.assert_allclose(right.lines[0].get_ydata(), FIRST[0].mean(1))
    assert [tick.get_text() for tick in right.get_xticklabels()] == list("wxyz")
