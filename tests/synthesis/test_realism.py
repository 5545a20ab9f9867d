"""Measures of realism against loops and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from xai_jax import realism

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(9, 2, 3)), RNG.normal(1, 2, size=(12, 2, 3))


def test_agreement_is_of_the_predicted_class():
    logits = RNG.normal(size=(6, 4)).astype("f")
    found = realism.agreement(lambda x: x, logits, [0, 1, 2, 3, 0, 1])
    assert list(found) == [int(np.argmax(row)) == k for row, k in zip(logits, [0, 1, 2, 3, 0, 1], strict=True)]
    with pytest.raises(ValueError, match="6 classes"):
        realism.agreement(lambda x: x, jnp.asarray(logits), [0, 1])


def test_nearest_distances_are_normalised_by_natural_ones():
    scale = np.mean([min(np.linalg.norm(b - c) for j, c in enumerate(B) if j != i) for i, b in enumerate(B)])
    distances, indices = realism.nearest(A, B)
    for a, distance, index in zip(A, distances, indices, strict=True):
        between = [np.linalg.norm(a - b) for b in B]
        assert distance == pytest.approx(min(between) / scale) and index == np.argmin(between)
    np.testing.assert_allclose(realism.nearest(B, B)[0], 0, atol=1e-6)


def test_frechet_is_the_formula():
    a, b = RNG.normal(size=(40, 5)) @ RNG.normal(size=(5, 5)), RNG.normal(0.5, 2, size=(30, 5))
    first, second = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(first @ second).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert realism.frechet(a, b) == pytest.approx(expected)
    assert realism.frechet(a, a) == pytest.approx(0, abs=1e-8)
    assert realism.frechet(a + 3, a) == pytest.approx(45)
    assert realism.frechet(a[:, :1], b[:, :1]) == pytest.approx(
        (a[:, 0].mean() - b[:, 0].mean()) ** 2 + (a[:, 0].std(ddof=1) - b[:, 0].std(ddof=1)) ** 2
    )
    few, product = a[:3], np.cov(a[:3].T) @ second  # fewer images than features
    expected = ((few.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(few.T) + second)
    expected -= 2 * np.sqrt(np.maximum(linalg.eigvals(product).real, 0)).sum()
    assert realism.frechet(few, b) == pytest.approx(expected)
    wide = [np.pad(each, ((0, 0), (0, 20_000))) for each in (few, b)]  # whose covariances would be 3 GB each
    assert realism.frechet(*wide) == pytest.approx(expected)


@pytest.mark.parametrize(
    "measure, a, b, words",
    [
        (realism.nearest, A, B[:1], "two natural images"),
        (realism.nearest, A, B[:, :1], "same layer, got 6 and 3"),
        (realism.frechet, A[:1], B, "on both sides, got 1 and 12"),
        (realism.frechet, A * np.nan, B, "finite features"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure, a, b, words):
    with pytest.raises(ValueError, match=words):
        measure(a, b)
