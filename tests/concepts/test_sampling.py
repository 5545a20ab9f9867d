"""Sampled sets: sizes, disjointness, seeds and errors."""

import numpy as np
import pytest

from xai_jax import sampling

SIZES = {"stripes": 6, "dots": 4, "meshes": 6}


def test_negatives_are_random_images_outside_the_controls():
    first, second = sampling.sample(SIZES, 60, runs=7, controls=3, seed=1)
    assert list(first.positives) == ["stripes", "meshes"] and list(second.positives) == ["dots"]
    np.testing.assert_array_equal(first.positives["meshes"], np.arange(10, 16))
    for sets, size in ((first, 6), (second, 4)):
        controls = np.concatenate(sets.controls)
        assert len(sets.negatives) == 7 and {len(rows) for rows in sets.negatives + sets.controls} == {size}
        assert len(set(controls)) == 3 * size and controls.min() >= 16 and controls.max() < 76
        for rows in sets.negatives:
            assert len(set(rows)) == size and rows.min() >= 16 and not set(rows) & set(controls)
        assert len({tuple(sorted(rows)) for rows in sets.negatives}) == 7


def check_case(sets, own, others, runs, controls, first_random):
    """A case of `own` rows against `others`, and control pairs of both sizes, of random images that none share."""
    ((_, rows),) = sets.positives.items()
    assert rows.tolist() == sorted(own) and len(sets.negatives) == runs and len(sets.controls) == controls
    assert all(set(negative) <= set(others) and len(set(negative)) == len(negative) for negative in sets.negatives)
    drawn = min(len(own), len(others))
    assert {len(negative) for each in (sets.negatives, *sets.control_negatives) for negative in each} == {drawn}
    groups = [*sets.controls, *({*np.concatenate(each)} for each in sets.control_negatives)]
    assert len({row for each in groups for row in each}) == sum(map(len, groups))  # nothing is shared
    assert all(first_random <= row for each in groups for row in each)
    assert {len(rows) for rows in sets.controls} == {len(own)}
    assert [len(each) for each in sets.control_negatives] == [runs] * controls


def test_relative_negatives_are_images_of_the_other_concepts():
    sampled = sampling.sample_relative(SIZES, 48, runs=5, controls=3)
    assert [list(sets.positives) for sets in sampled] == [["stripes"], ["dots"], ["meshes"]]
    for sets, own in zip(sampled, (range(6), range(6, 10), range(10, 16)), strict=True):
        check_case(sets, own, set(range(16)) - set(own), runs=5, controls=3, first_random=16)
    two = sampling.sample_relative({"stripes": 6, "dots": 4}, 0, runs=2, controls=0)
    assert [len(rows) for rows in two[0].negatives] == [4, 4]


def test_pairs_are_of_two_concepts_and_their_controls_of_random_images_alone():
    pairs = [("stripes", "meshes"), ("dots", "stripes")]
    sampled = sampling.sample_pairs(SIZES, pairs, 40, runs=5, controls=3)
    assert [list(sets.positives) for sets in sampled] == [["stripes vs meshes"], ["dots vs stripes"]]
    for sets, own, others in zip(sampled, (range(6), range(6, 10)), (range(10, 16), range(6)), strict=True):
        check_case(sets, own, others, runs=5, controls=3, first_random=16)
    (few,) = sampling.sample_pairs({"stripes": 6, "dots": 4}, [("stripes", "dots")], 10, runs=2, controls=1)
    assert [len(rows) for rows in (*few.negatives, *few.control_negatives[0])] == [4] * 4
    (none,) = sampling.sample_pairs(SIZES, [("stripes", "dots")], 0, runs=2, controls=0)
    assert none.controls == [] and none.control_negatives == []


def _pair(*arguments):
    return sampling.sample_pairs(arguments[0], [("stripes", "meshes")], *arguments[1:])


def test_sets_are_a_function_of_the_seed():
    for sample in (sampling.sample, sampling.sample_relative, _pair):
        first, again, other = (sample(SIZES, 60, 3, 2, seed) for seed in (0, 0, 1))
        for a, b, c in zip(first, again, other, strict=True):
            np.testing.assert_array_equal(a.negatives, b.negatives)
            np.testing.assert_array_equal(a.controls, b.controls)
            assert (np.array(a.negatives) != np.array(c.negatives)).any()


@pytest.mark.parametrize(
    "sample, given, words",
    [
        (sampling.sample, ({}, 60, 3, 2), "a concept or more"),
        (sampling.sample, (SIZES, 60, 0, 2), "a run or more"),
        (sampling.sample, (SIZES, 60, 3, -1), "0 controls or more"),
        (sampling.sample, ({"one": 1, "two": 2}, 60, 3, 2), "two images or more of each concept, got {'one': 1}"),
        (sampling.sample, (SIZES, 29, 3, 3), "Expected at least 30 random images: 3 control sets of 6 .* got 29"),
        (sampling.sample_relative, ({"one": 4}, 60, 3, 2), "two concepts or more"),
        (sampling.sample_relative, (SIZES, 31, 3, 2), "Expected at least 32 random images for 2 control pairs, got 31"),
        (_pair, (SIZES, 23, 3, 2), "Expected at least 24 random images for 2 control pairs, got 23"),
        (sampling.sample_pairs, (SIZES, [], 60, 3, 2), "one or more"),
        (sampling.sample_pairs, (SIZES, [("dots", "dots")], 60, 3, 2), "two different concepts"),
        (sampling.sample_pairs, (SIZES, [("dots", "stripes")] * 2, 60, 3, 2), "different pairs"),
        (sampling.sample_pairs, (SIZES, [("dots", "stripe")], 60, 3, 2), "got 'stripe'. Did you mean 'stripes'"),
        (sampling.sample_pairs, (SIZES, "dots", 60, 3, 2), "pairs of two concepts each"),
        (sampling.sample_pairs, (SIZES, [("dots",)], 60, 3, 2), "pairs of two concepts each"),
    ],
)
def test_too_few_images_are_refused(sample, given, words):
    with pytest.raises(ValueError, match=words):
        sample(*given)
