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


def test_relative_negatives_are_images_of_the_other_concepts():
    sampled = sampling.sample_relative(SIZES, 20, runs=5, controls=3)
    assert [list(sets.positives) for sets in sampled] == [["stripes"], ["dots"], ["meshes"]]
    for sets in sampled:
        ((name, rows),) = sets.positives.items()
        others = set(range(16)) - set(rows)
        assert all(set(negative) <= others and len(negative) == SIZES[name] for negative in sets.negatives)
        assert all(16 <= row < 36 for control in sets.controls for row in control)
    two = sampling.sample_relative({"stripes": 6, "dots": 4}, 0, runs=2, controls=0)
    assert [len(rows) for rows in two[0].negatives] == [4, 4]


def test_sets_are_a_function_of_the_seed():
    for sample in (sampling.sample, sampling.sample_relative):
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
        (sampling.sample_relative, (SIZES, 11, 3, 2), "Expected at least 12 random images"),
    ],
)
def test_too_few_images_are_refused(sample, given, words):
    with pytest.raises(ValueError, match=words):
        sample(*given)
