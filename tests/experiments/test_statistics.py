"""Verdicts: p-values as scipy gives them, refutation by the opposite test only, and no verdict without evidence."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.lib import statistics
from experiments.lib.report import Claim, Number, Panel
from experiments.lib.statistics import Interval, Threshold, Verdict
from xai_jax.plots import Figure

RISING, N = np.arange(1.0, 8.0), 7


def test_only_the_significant_opposite_refutes():
    assert [statistics.decide(p).decision for p in (0.049, 0.051, 0.949, 0.951)] == [
        *("supported", "inconclusive", "inconclusive", "not supported")
    ]
    assert statistics.decide(math.nan).decision == "inconclusive" and statistics.decide(math.nan).p is None
    assert statistics.decide(0.5, 0.01).decision == "not supported"
    with pytest.raises(TypeError, match="Expected a Verdict or a Threshold for 'It works.', got True"):
        Claim("It works.", "section 1", True, "it did")


SAMPLES = RISING, np.array([1.5, 0.2, 4.1, 3.0, 2.2, 5.5, 4.0])


@pytest.mark.parametrize(
    ("found", "reference"),
    [
        (statistics.wilcoxon(*SAMPLES), stats.wilcoxon(*SAMPLES, alternative="greater")),
        (statistics.t_test(*SAMPLES), stats.ttest_rel(*SAMPLES, alternative="greater")),
        (statistics.t_test(RISING, margin=3.0), stats.ttest_1samp(RISING, 3.0, alternative="greater")),
        (statistics.mann_whitney(*SAMPLES), stats.mannwhitneyu(*SAMPLES, alternative="greater")),
        (
            statistics.welch([(1, SAMPLES[1]), (-1, SAMPLES[0])]),
            stats.ttest_ind(*SAMPLES, equal_var=False, alternative="greater"),
        ),
        (statistics.welch([(-2, RISING)]), stats.ttest_1samp(RISING, 0, alternative="greater")),
        (statistics.binomial(RISING > 2, 0.3), stats.binomtest(5, 7, 0.3, alternative="greater")),
        (statistics.binomial(RISING > 6, 0.3, "less"), stats.binomtest(1, 7, 0.3, alternative="less")),
        (statistics.rank_correlation(*SAMPLES), stats.spearmanr(*SAMPLES, alternative="greater")),
        (statistics.page_trend(-np.outer(RISING, [1, 2, 3])), stats.page_trend_test(np.outer(RISING, [1, 2, 3]))),
    ],
)
def test_p_values_are_those_of_scipy(found, reference):
    np.testing.assert_allclose(found.p, reference.pvalue)
    assert found.tested and f"p = {reference.pvalue:.2g}" in found.text


@pytest.mark.parametrize(
    "test",
    [
        lambda greater, less: statistics.wilcoxon(greater, less),
        lambda greater, less: statistics.t_test(greater, less),
        lambda greater, less: statistics.mann_whitney(greater, less),
        lambda greater, less: statistics.binomial(greater > less),
        lambda greater, less: statistics.welch([(-1, greater), (1, less)]),
        lambda greater, less: statistics.page_trend(np.stack([greater, (greater + less) / 2, less], 1)),
    ],
)
def test_both_directions_and_too_few_samples(test):
    above, below = 20 + SAMPLES[0], SAMPLES[1]
    assert test(above, below).decision == "supported"
    assert test(below, above).decision == "not supported"
    assert test(above[:1], below[:1]).decision == test(below[:1], above[:1]).decision == "inconclusive"


def test_missing_values_and_equal_samples_decide_nothing():
    missing = np.append(RISING, np.nan)
    assert statistics.t_test(missing) == statistics.t_test(RISING)
    assert statistics.wilcoxon(missing) == statistics.wilcoxon(RISING)
    for found in (statistics.wilcoxon(RISING, RISING), statistics.t_test(RISING, RISING), statistics.binomial([])):
        assert found.decision == "inconclusive" and not found.tested
    assert "4 pairs differ, at least 5 needed" in statistics.wilcoxon(RISING[:4]).text
    assert "too few samples" in statistics.binomial([True] * 4).text
    assert "too few samples" not in statistics.binomial([True] * 5).text


@pytest.mark.parametrize(
    "test",
    [
        statistics.wilcoxon,
        statistics.t_test,
        statistics.mann_whitney,
        lambda greater, less: statistics.t_test(greater, margin=less[0]),
        lambda greater, less: statistics.welch([(1, less), (-1, greater)]),
        lambda greater, less: statistics.page_trend(np.stack([greater, less, greater], 1)),
        lambda greater, less: statistics.rank_correlation(np.where(np.arange(9) % 2, greater, less), np.arange(9)),
    ],
)
def test_rounding_is_no_evidence(test):
    more, less = np.full(9, 0.3 + 2e-15), np.full(9, 0.3)
    less[0] += 1e-16
    assert more.min() > less.max()
    for found in (test(more, less), test(less, more)):
        assert found.decision == "inconclusive" and min(found.p or 1, found.opposite_p or 1) > 0.4


def test_equal_differences_are_tested_by_their_signs():
    greater = np.array([0.5, 0.6, 0.7, 0.8])
    assert statistics.t_test(greater, greater - 0.1).p == 1 / 2**4
    assert statistics.t_test(greater, greater + 0.1).opposite_p == 1 / 2**4


def test_what_is_not_defined_decides_nothing():
    missing = np.append(RISING, math.nan)
    for found, without in (
        (statistics.mann_whitney(missing, SAMPLES[1]), statistics.mann_whitney(RISING, SAMPLES[1])),
        (statistics.rank_correlation(missing, [*SAMPLES[1], 9]), statistics.rank_correlation(*SAMPLES)),
        (statistics.binomial([1, 1, math.nan]), statistics.binomial([True, True])),
        (statistics.proportion([1, 0, math.nan]), statistics.proportion([True, False])),
        (
            statistics.page_trend(-np.outer(missing, [1, 2, 3])),
            statistics.page_trend(-np.outer(RISING, [1, 2, 3])),
        ),
    ):
        assert found == without
    infinite = np.array([1.0, 2.0, math.inf, math.inf])
    for found in (
        statistics.t_test(infinite, infinite[::-1]),
        statistics.t_test(infinite),
        statistics.welch([(1, infinite), (-1, RISING)]),
        statistics.page_trend(np.full((4, 3), math.nan)),
        statistics.all_of([]),
        statistics.any_of([]),
        statistics.at_least(math.nan, 1.0),
        statistics.at_most(math.nan, 1.0),
        statistics.within(statistics.over_seeds(infinite), 0, math.inf),
    ):
        assert found.decision == "inconclusive"


def test_shared_samples_of_folds_widen_the_test():
    assert statistics.t_test(RISING, share=0.5).p > statistics.t_test(RISING).p


def test_power_is_what_simulations_give():
    effect, rng = statistics.detectable(12), np.random.default_rng(0)
    samples = rng.normal(effect, 1, (2000, 12))
    significant = stats.ttest_1samp(samples, 0, axis=1, alternative="greater").pvalue < statistics.LEVEL
    assert abs(significant.mean() - statistics.POWER) < 0.05


def test_equivalence_needs_a_narrow_interval():
    narrow, wide, above = Interval(0.5, 0.48, 0.52, 99), Interval(0.5, 0.2, 0.8, 9), Interval(0.7, 0.66, 0.74, 99)
    decisions = [statistics.within(each, 0.45, 0.55).decision for each in (narrow, wide, above)]
    assert decisions == ["supported", "inconclusive", "not supported"]
    assert statistics.within(statistics.over_seeds([1.0]), -9, 9).decision == "inconclusive"
    assert statistics.within(narrow, -math.inf, 0.55).decision == "supported"


def test_all_and_any_are_mirror_images():
    yes, no, open_ = statistics.decide(0.001), statistics.decide(0.999), statistics.decide(0.5)
    for verdicts, everything, something in (
        ([yes, yes], "supported", "supported"),
        ([yes, open_], "inconclusive", "supported"),
        ([yes, no], "not supported", "supported"),
        ([no, open_], "not supported", "inconclusive"),
        ([no, no], "not supported", "not supported"),
        ([yes, statistics.inconclusive("none")], "inconclusive", "supported"),
    ):
        assert statistics.all_of(verdicts).decision == everything
        assert statistics.any_of(verdicts).decision == something
    many = [statistics.decide(0.97)] * 2  # each refuted by itself, not with the level divided by two
    assert statistics.all_of(many).decision == "inconclusive" and statistics.all_of(many).opposite_p > 0.05


def test_thresholds_are_recorded_as_untested():
    records = [
        Claim("It does.", "Fig. 1", verdict, "0.93").record()
        for verdict in (statistics.at_least(0.93, 0.9), statistics.at_most(0.93, 0.9), statistics.at_least(1, 2, False))
    ]
    assert [record["verdict"] for record in records] == ["supported", "not supported", "inconclusive"]
    assert not any(record["tested"] for record in records) and {record["p"] for record in records} == {None}
    assert records[0]["measured"] == "0.93; 0.93, threshold 0.9"
    tested = Claim("It does.", "Fig. 1", statistics.decide(0.01, text="test, p = 0.01"), "0.93").record()
    assert tested["tested"] and tested["p"] == 0.01 and tested["measured"] == "0.93; test, p = 0.01"
    assert isinstance(statistics.where(False, statistics.decide(0.01), "no"), Verdict)
    assert Threshold(1.0, 0.5, None).decision == statistics.where(False, statistics.decide(0.01), "no").decision


def test_means_over_seeds_leave_out_what_is_not_defined():
    values = [1.0, 2.0, 4.0, math.nan]
    found = statistics.over_seeds(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values[:3]), stats.sem(values[:3]))
    np.testing.assert_allclose([found.mean, found.low, found.high], [7 / 3, low, high])
    assert found.count == 3 and "n = 3" in str(found) and "no interval" in str(statistics.over_seeds([]))
    share = statistics.proportion([True, True, False])
    assert share.low < share.mean == 2 / 3 < share.high


def test_names_that_are_not_utf8_are_escaped_in_reports():
    name, readable = "caf\udce9", "caf\\udce9"
    claim = Claim(name, name, statistics.decide(0.5), name).record()
    assert [claim["claim"], claim["source"], claim["measured"]] == [readable] * 3
    panel, number = Panel(name, Figure(), name, name), Number(name, name, note=name)
    assert {panel.name, panel.caption, panel.alt, number.name, number.value, number.note} == {readable}
