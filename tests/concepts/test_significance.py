"""Tests of scores against SciPy, and their type I error in simulations."""

import csv
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from xai_jax import sampling, significance, tcav
from xai_jax.concepts.classifiers import CLASSIFIER, MeanDifference
from xai_jax.concepts.layer_scores import NEUTRAL, score_layer
from xai_jax.concepts.tcav import Scores
from xai_jax.io import csv_file

RNG = np.random.default_rng(0)


def test_against_value_is_the_one_sample_t_test():
    values = RNG.uniform(0.3, 0.9, 12)
    found, expected = significance.against_value(values), stats.ttest_1samp(values, 0.5)
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose((found.low, found.high), expected.confidence_interval(0.95))


def test_against_random_is_the_two_sample_t_test():
    values, random = RNG.uniform(0.3, 0.9, 12), RNG.uniform(0, 1, (5, 9))
    found, expected = significance.against_random(values, random, 0.01), stats.ttest_ind(values, random.ravel())
    np.testing.assert_allclose(found.p, expected.pvalue)
    interval = np.array(expected.confidence_interval(0.99)) + random.mean()
    np.testing.assert_allclose((found.low, found.high, found.null), (*interval, random.mean()))


def test_against_controls_is_crawford_and_howells():
    """t = (x - mean) / (s sqrt((n + 1) / n)) with n - 1 degrees of freedom, each set of images one sample."""
    values, controls = RNG.uniform(0.3, 0.9, 12), RNG.uniform(0, 1, (8, 12))
    means = [sum(row) / 12 for row in controls]
    mean = sum(means) / 8
    std = math.sqrt(sum((each - mean) ** 2 for each in means) / 7)
    t = (sum(values) / 12 - mean) / (std * math.sqrt(9 / 8))
    found = significance.against_controls(values, controls)
    np.testing.assert_allclose(found.p, 2 * stats.t.cdf(-abs(t), 7))
    assert found.null == pytest.approx(mean) and found.low < np.mean(values) < found.high


@pytest.mark.parametrize(
    "test",
    [significance.against_value, lambda v, **k: significance.against_controls(v, np.array([[0.2], [0.6]]), **k)],
)
def test_the_interval_excludes_the_null_value_exactly_at_the_level(test):
    values = RNG.uniform(0.5, 0.9, 6)
    p = test(values).p
    for level, excluded in ((p * 1.001, True), (p * 0.999, False)):
        found = test(values, level=level)
        assert (not found.low <= found.null <= found.high) == excluded


def test_without_variance_p_is_that_of_signs_or_ranks():
    ones, halves = np.ones(6), np.full(6, 0.5)
    assert significance.against_value(ones).p == 2 / 2**6
    assert significance.against_value(halves).p == 1
    assert significance.against_random(ones, halves).p == 2 / math.comb(12, 6)
    assert significance.against_random(ones, ones).p == 1
    assert significance.against_controls(ones, np.full((9, 6), 0.5)).p == 1 / 10
    assert significance.against_controls(ones, np.ones((9, 6))).p == 1
    assert significance.against_value(np.full(7, 0.1)).p == 2 / 2**7  # whose mean is not quite 0.1 in binary


def test_rounding_is_no_difference():
    """The mean of equal scores depends on their number in the last bit."""
    for value in (0.9, 0.1, 1 / 3, 7 / 30):
        for runs, controls in ((10, 7), (7, 20), (50, 3)):
            values, others = np.full(runs, value), np.full((controls, runs), value)
            assert significance.against_value(values, float(np.mean(values))).p == 1
            assert significance.against_random(values, np.full((controls, 3), value)).p == 1
            assert significance.against_controls(values, others).p == 1
            assert significance.against_controls(values + 0.01, others).p == 1 / (controls + 1)


@pytest.mark.parametrize("null", ["controls", "value", "random"])
@pytest.mark.parametrize("statistic", tcav.STATISTICS)
@pytest.mark.parametrize("weights", ["none", "above dead units"])
def test_a_class_without_derivatives_is_not_significant(null, statistic, weights):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(130, 9)) * (np.arange(9) < 8)  # the last unit is dead: its gradient meets no example
    gradients = np.zeros((5, 9)) if weights == "none" else np.tile(np.eye(9)[8], (5, 1))
    sets = sampling.sample({"dots": 10}, 120, runs=10, controls=3)
    found = score_layer([x], [gradients], sets)["dots"]
    axes = [np.reshape(each, (3, 1, 1, 1, *each.shape[2:])) for each in found[:2]]
    silent = np.array([[float(weights == "none")]])
    rest = found.accuracy[None, None], np.array([found.held_out]), np.array([found.chance]), silent
    (row,) = significance.table(Scores(["fc"], ["zebra"], ["dots"], *axes, *rest), statistic, null)
    assert row.p == 1 and not row.significant and row.silent == silent


def test_images_without_a_gradient_do_not_make_a_class_significant():
    """Of 12 images, 6 are silent and 3 have a positive derivative: half of those that have one."""
    values = np.full((3, 1, 1, 1, 8), 0.5)
    values[0], values[2] = 0.25 + 0.01 * np.linspace(-1, 1, 8), 0.1
    rest = np.ones((1, 1, 8)), np.array([20]), np.array([0.5]), np.array([[0.5]])
    (row,) = significance.table(Scores(["fc"], ["k"], ["c"], values, values[..., None, :], *rest), null="value")
    assert row.null == 0.25 and row.p > 0.99


def test_corrections_are_those_of_bonferroni_and_holm():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(significance.adjust(p, "bonferroni"), [0.04, 0.16, 0.12, 0.02])
    np.testing.assert_allclose(significance.adjust(p, "holm"), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(significance.adjust(p, None), p)
    many = RNG.uniform(size=50) ** 3
    holm, bonferroni = (significance.adjust(many, how) for how in ("holm", "bonferroni"))
    assert (holm <= bonferroni).all() and (holm >= many).all() and holm.max() <= 1
    assert (np.diff(holm[np.argsort(many)]) >= 0).all()


def test_accuracy_is_tested_against_chance():
    expected = stats.binomtest(9, 10, 0.5, alternative="greater").pvalue
    assert significance.accuracy_p_value(np.array([0.9, 1.0, 0.8]), 10, 0.5) == pytest.approx(expected)
    assert significance.accuracy_p_value(np.array([0.75]), 12, 0.75) > 0.5
    assert significance.accuracy_p_value(np.array([0.29] * 3), 100, 0.5) > 0.99


def scores(controls=4, runs=5):
    """Two layers, two classes and three concepts, the first of which is planted."""
    values = RNG.uniform(0.2, 0.8, (3, 2, 2, 3, runs))
    values[:, :, :, 0] = 0.99
    values[2, :, :, 0] = 20.0
    others = RNG.uniform(0.2, 0.8, (3, 2, 2, 3, controls, runs))
    accuracy, silent = np.full((2, 3, runs), 0.9), np.array([[0.0, 0.25], [0.5, 0.0]])
    names = ("relu1", "relu2"), ("zebra", "cab"), ("stripes", "dots", "meshes")
    return Scores(*names, values, others, accuracy, np.full(3, 20), np.full(3, 0.5), silent)


def neutral(found, statistic, index):
    """Half of the images with a gradient have a positive derivative."""
    return {"mean": 0.0, "magnitude": 0.5, "score": 0.5 * (1 - found.silent[index])}[statistic]


@pytest.mark.parametrize("null", ["controls", "value", "random"])
@pytest.mark.parametrize("statistic", tcav.STATISTICS)
def test_a_table_has_a_row_for_each_combination(null, statistic):
    found = scores(controls=9)
    rows = significance.table(found, statistic, null, correction="bonferroni")
    assert [(row.layer, row.label, row.concept) for row in rows] == list(itertools.product(*found[:3]))
    number = tcav.STATISTICS.index(statistic)
    for row, index in zip(rows, np.ndindex(2, 2, 3), strict=True):
        values, others = found.values[number][index], found.controls[number][index]
        test = {
            "controls": lambda v=values, o=others: significance.against_controls(v, o),
            "value": lambda v=values, k=index[:2]: significance.against_value(v, neutral(found, statistic, k)),
            "random": lambda v=values, o=others: significance.against_random(v, o),
        }[null]()
        assert (row.p, row.low, row.high, row.null) == test
        assert row.adjusted == min(1, 12 * test.p) and row.significant == (row.adjusted <= 0.05)
        assert row.value == values.mean() and row.std == values.std(ddof=1) and row.runs == 5
        assert row.accuracy == pytest.approx(0.9) and row.accuracy_p < 0.01
        assert row.silent == found.silent[index[:2]]


def test_another_statistic_can_be_tested():
    found = scores()
    rows = significance.table(found, tested="mean")
    means = significance.table(found, "mean")
    for row, mean, alone in zip(rows, means, significance.table(found), strict=True):
        assert (row.p, row.adjusted, row.significant) == (mean.p, mean.adjusted, mean.significant)
        assert (row.value, row.low, row.high, row.null) == (alone.value, alone.low, alone.high, alone.null)
        assert row.significant == (row.concept == "stripes") and row.tested == "mean" and row.statistic == "score"


def test_tables_are_written_with_all_columns(tmp_path):
    rows = significance.table(scores())
    significance.write_csv(tmp_path / "table.csv", rows)
    with open(tmp_path / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [list(line) for line in lines] == [list(significance.Row._fields)] * 12
    assert float(lines[3]["adjusted"]) == rows[3].adjusted and lines[0]["concept"] == "stripes"


@pytest.mark.parametrize("name", ["=1+1", "@a", "+a", "-a", "two\nlines", "a, 'b' and \"c\"", "cost $5 or $6"])
def test_names_in_tables_are_no_formulas(tmp_path, name):
    rows = [each._replace(layer=name, label=name, concept=name, value=-0.5) for each in significance.table(scores())]
    significance.write_csv(path := tmp_path / "table.csv", rows)
    with open(path, newline="", encoding="utf-8") as file:
        line = next(csv.DictReader(file))
    assert line["concept"] == (f"'{name}" if name[0] in "=@+-" else name) and line["value"] == "-0.5"
    assert csv_file.read(path)[0]["concept"] == name


def test_names_that_are_not_utf8_are_escaped_in_tables():
    rows = [each._replace(concept="caf\udce9") for each in significance.table(scores())]
    assert b",caf\\udce9," in significance.to_csv(rows)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: significance.against_value([0.3]), "two runs or more, got 1"),
        (lambda: significance.against_random([0.3, 0.4], [0.5]), "two runs of random images"),
        (lambda: significance.against_controls([0.3, 0.4], np.ones((1, 2))), "two controls"),
        (lambda: significance.table(scores(controls=0)), "two controls, .* got 0"),
        (lambda: significance.table(scores(), "median"), "one of score, magnitude, mean as statistic, got 'median'"),
        (lambda: significance.table(scores(), tested="median"), "as statistic"),
        (lambda: significance.table(scores(), null="zero"), "as null"),
        (lambda: significance.adjust([0.1], "fdr"), "bonferroni"),
        (lambda: significance.table(scores(), level=1), "between 0 and 1, got 1"),
        (lambda: significance.table(scores(), level=-0.1), "between 0 and 1, got -0.1"),
        (lambda: significance.against_value([0.3, np.nan]), "finite scores"),
        (lambda: significance.against_random([0.3, 0.4], [0.5, np.inf]), "finite scores"),
        (lambda: significance.against_controls([0.3, np.nan], np.ones((2, 2))), "finite scores"),
        (lambda: significance.against_controls([0.3, 0.4], np.full((2, 2), np.nan)), "finite scores"),
        (lambda: significance.accuracy_p_value(np.array([np.nan]), 9, 0.5), "finite scores"),
    ],
)
def test_invalid_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def null_concepts(classifier, groups, seed, runs=6, size=21):
    """Statistics (3, groups, size, runs) of sets of ten random examples, by the whole computation."""
    rng, dimensions = np.random.default_rng(seed), 60
    mix = rng.normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    x = np.maximum(rng.normal(size=(10 * groups * size + 150, dimensions)) @ mix + 0.2, 0).astype(np.float32)
    gradients = (rng.normal(size=dimensions) + 2 * rng.normal(size=(40, dimensions))).astype(np.float32)
    sets = sampling.sample({str(i): 10 for i in range(groups * size)}, 150, runs, 0, seed)
    found = score_layer([x], [gradients], sets, classifier, seed)
    values = np.stack([found[str(i)].values[:, 0] for i in range(groups * size)], 1)
    return values.reshape(3, groups, size, runs)


def type_one_errors(values, nulls, level=0.05):
    """Fraction of random sets that each of the three tests calls significant; others of a group are the controls."""
    p = []
    for group in values:
        for number, own in enumerate(group):
            others = np.delete(group, number, 0)
            tests = significance.against_controls(own, others), significance.against_random(own, others)
            p.append([*(test.p for test in tests), significance.against_value(own, nulls).p])
    return (np.array(p) <= level).mean(0)


def check_type_one_error(values):
    """Within the 99 % binomial interval of the level; for bounded statistics it may be lower."""
    count = values[0, :, :, 0].size
    low, high = stats.binom.interval(0.99, count, 0.05)
    for number in range(3):
        controls, random, value = type_one_errors(values[number], NEUTRAL[number])
        assert (low if number == 2 else 0) <= controls * count <= high
        assert min(random, value) > 0.1  # why they are not the default of the table


def test_type_one_error_is_the_level():
    check_type_one_error(null_concepts(MeanDifference(), groups=10, seed=0))


@pytest.mark.parametrize(
    "sample",
    [
        lambda *rest: sampling.sample_pairs({"a": 10, "b": 20}, [("a", "b")], *rest),
        lambda *rest: sampling.sample_relative(dict.fromkeys("abc", 10), *rest)[:1],
    ],
)
def test_type_one_error_of_relative_cavs_is_the_level(sample):
    """Random images against random images, each case with controls of its own."""
    rng, p = np.random.default_rng(0), []
    mix, gradients = rng.normal(size=(60, 60)) / 8, (0.3 + rng.normal(size=(40, 60))).astype(np.float32)
    for number in range(200):
        x = np.maximum(rng.normal(size=(240, 60)) @ mix + 0.2, 0).astype(np.float32)
        (found,) = score_layer([x], [gradients], sample(210, 2, 7, number), MeanDifference(), number).values()
        p.append(significance.against_controls(found.values[2, 0], found.controls[2, 0]).p)
    low, high = stats.binom.interval(0.99, 200, 0.05)
    assert low <= (np.array(p) <= 0.05).sum() <= high


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_type_one_error_of_the_default_classifier(seed):
    check_type_one_error(null_concepts(CLASSIFIER, groups=20, seed=seed))


def test_the_papers_test_is_valid_where_every_run_has_new_images_of_the_concept():
    scores = RNG.binomial(40, RNG.uniform(0.2, 0.8, (2000, 10))) / 40
    wrong = np.mean([significance.against_value(each).p <= 0.05 for each in scores])
    assert 0.035 < wrong < 0.065
