"""Blocked Gram matrices, and coordinates that preserve them, against NumPy."""

import os
import time

import numpy as np
import pytest

from xai_jax import gram

RNG = np.random.default_rng(0)
PARTS = [RNG.normal(size=(count, 900)).astype(np.float32) for count in (70, 1, 90)]
WHOLE = np.concatenate(PARTS).astype(np.float64)


@pytest.mark.parametrize("size", [2**25, 8 * 161 * 128])
def test_products_are_those_of_numpy(size, monkeypatch):
    monkeypatch.setattr(gram, "BYTES", size)
    np.testing.assert_allclose(gram.matrix(PARTS).products, WHOLE @ WHOLE.T, rtol=1e-12, atol=1e-10)
    first = RNG.normal(size=(3, 900)).astype(np.float32)
    np.testing.assert_allclose(
        gram.inner_products(first, PARTS), first.astype(np.float64) @ WHOLE.T, rtol=1e-12, atol=1e-10
    )


def test_only_products_within_groups_are_computed():
    groups = [np.array([0, 3, 130]), np.arange(64, 70)]
    found = gram.matrix(PARTS, groups).products
    expected = WHOLE @ WHOLE.T
    known = ~np.isnan(found)
    for rows in groups:
        assert known[np.ix_(rows, rows)].all()
    assert not known[0, 70] and not known[70, 150] and known.mean() < 0.6
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-12, atol=1e-10)


def test_linear_combinations_are_those_of_numpy():
    rows, weights = np.array([0, 70, 71, 160, 0]), np.arange(1.0, 6.0)
    np.testing.assert_allclose(gram.linear_combination(PARTS, rows, weights), weights @ WHOLE[rows], rtol=1e-12)


@pytest.mark.parametrize("copies", [0, 3])
@pytest.mark.parametrize("d", [900, 12])
def test_coordinates_preserve_inner_products(d, copies):
    x = RNG.normal(size=(20, d)) + 2
    x[:copies] = x[copies : 2 * copies]
    z, back = gram.coordinates(x @ x.T, d)
    assert z.shape == (20, 21 if d > 21 else d) and back.shape == (20, min(d, 20 - copies))
    np.testing.assert_allclose(z @ z.T, x @ x.T, atol=1e-9)
    coefficients = RNG.normal(size=z.shape[1])
    direction = x.T @ back @ coefficients[: back.shape[1]]
    np.testing.assert_allclose(x @ direction, z @ coefficients, atol=1e-9)


@pytest.mark.parametrize("x", [np.zeros((5, 8)), np.ones((5, 8)), np.tile(RNG.normal(size=(1, 8)), (5, 1))])
def test_examples_that_are_all_the_same_are_refused(x):
    with pytest.raises(ValueError, match="same for all examples. Usual causes: a dead layer"):
        gram.coordinates(x @ x.T, 8)


@pytest.mark.parametrize(
    "parts, words",
    [
        ([], "of one layer"),
        ([PARTS[0], PARTS[0][:, :5]], "of one layer"),
        ([PARTS[0][0]], "of one layer"),
        ([np.where(PARTS[0] > 3.5, np.nan, PARTS[0])], "finite activations.*example 11"),
    ],
)
def test_invalid_activations_are_refused(parts, words):
    with pytest.raises(ValueError, match=words):
        gram.matrix(parts)


def test_threads_keep_the_order_and_raise_errors():
    def root(number):
        if number < 0:
            raise ValueError("Expected no negative number.")
        time.sleep(0.02 / (1 + number))
        return number**0.5

    assert list(gram.in_threads(root, [0, 1, 4, 9])) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no negative number"):
        list(gram.in_threads(root, [1, -1, 4]))


def test_products_do_not_depend_on_the_number_of_threads(monkeypatch):
    found = []
    for count in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        found.append(gram.matrix(PARTS).products)
    np.testing.assert_array_equal(*found)
