"""Gram matrices of activations, for fitting linear classifiers in the span of the examples.

A linear classifier with an L2 penalty, or without penalty, lies in the span of its n training examples (representer
theorem). In n coordinates that preserve all inner products it solves the same problem as in the layer's d dimensions,
so its solution is the same, however large d is. One Gram matrix serves all classifiers of a layer.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

BYTES = 2**25  # of activations in float64 at once
TILE = 64  # examples per block of the Gram matrix
ROUNDING = np.finfo(np.float64).eps


class Gram(NamedTuple):
    """Activations of one layer in parts (N_i, d), and the inner products (N, N) of all in float64.

    Rows count through all parts. Inner products that no group required are NaN.
    """

    parts: tuple[np.ndarray, ...]
    products: np.ndarray


def matrix(parts: Sequence[np.ndarray], groups: Iterable[np.ndarray] | None = None) -> Gram:
    """Gram matrix of activations (N_i, d) in parts; if given, only for pairs of rows within some group.

    The products (N, N) take 8 N^2 bytes and a few hundred MB of memory, whatever d is. Raises ValueError for parts of
    different layers, and for NaN or infinity.

    >>> matrix([np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]])]).products
    array([[5., 3.],
           [3., 9.]])
    """
    parts = tuple(parts)
    if not parts or parts[0].ndim != 2 or len({part.shape[1:] for part in parts}) != 1:
        raise ValueError(f"Expected activations (N, d) of one layer, got {[np.shape(part) for part in parts]}.")
    n = sum(map(len, parts))
    blocks, products = _blocks(n, groups), np.full((n, n), np.nan)
    for rows, columns in blocks:
        products[rows, columns] = 0
    for (values,) in _column_chunks(parts):

        def add(block, values=values):
            rows, columns = block
            products[rows, columns] += values[rows] @ values[columns].T

        list(in_threads(add, blocks))
    for rows, columns in blocks:
        _refuse_not_finite(products[rows, columns], rows, columns)
        products[columns, rows] = products[rows, columns].T
    return Gram(parts, products)


def inner_products(vectors: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Inner products (M, N) in float64 of vectors (M, d), gradients for example, with the examples of all parts.

    >>> inner_products(np.array([[1.0, -1.0]]), [np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]])])
    array([[-1.,  3.]])
    """
    products = np.zeros((len(vectors), sum(map(len, parts))))
    for left, right in _column_chunks((vectors,), parts):
        products += left @ right.T
    return products


def linear_combination(parts: Sequence[np.ndarray], rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum (d,) in float64 of the examples `rows` (n,) with `weights` (n,).

    >>> linear_combination([np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]])], np.array([0, 1]), np.array([2.0, 1.0]))
    array([5., 4.])
    """
    total, ends = np.zeros(parts[0].shape[1]), np.cumsum([len(part) for part in parts])
    for row, weight in zip(rows, weights, strict=True):
        number = int(np.searchsorted(ends, row, side="right"))
        total += weight * parts[number][row - ends[number]]  # a negative index counts from the end of the part
    return total


def coordinates(products: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, columns) with the given inner products (n, n), and the matrix (n, rank) back to the examples.

    The matrix maps the first `rank` coefficients of a classifier to weights of the n examples. Columns are padded with
    zeros until they outnumber the examples where `d` does, since scikit-learn chooses some solvers by that. Raises
    ValueError for examples that are all the same.

    >>> z, _ = coordinates(np.array([[5.0, 3.0], [3.0, 9.0]]), d=2)
    >>> np.round(z @ z.T, 9)
    array([[5., 3.],
           [3., 9.]])
    """
    n, total = len(products), np.trace(products)
    refuse_same(total and (total - products.sum() / n) / total, n)
    with single_threaded_blas():
        values, vectors = np.linalg.eigh(products)
    kept = values > values[-1] * n * ROUNDING
    lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
    z = np.zeros((n, max(len(lengths), min(d, n + 1))))
    z[:, : len(lengths)] = vectors * lengths
    return z, vectors / lengths


def refuse_same(spread: float, n: int) -> None:
    """Raises ValueError if n examples are all the same: their variance, relative to their mean square, is rounding.

    >>> refuse_same(0.5, 10)
    """
    if spread <= n * ROUNDING:
        raise ValueError(
            "Expected activations that differ, got the same for all examples. Usual causes: a dead layer, or identical "
            "images."
        )


def in_threads(function: Callable, *items: Iterable) -> Iterator:
    """Parallel `map` on as many threads as there are cores, in order.

    NumPy's products and scikit-learn's solvers release the interpreter lock. Results are those of one thread.

    >>> list(in_threads(abs, [-1, 2]))
    [1, 2]
    """
    with single_threaded_blas(), ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, *items)


def single_threaded_blas() -> AbstractContextManager:
    """Limits BLAS to one thread; its own threads cost more than they save on small problems.

    >>> with single_threaded_blas():
    ...     values, vectors = np.linalg.eigh(np.eye(2))
    """
    return _libraries().limit(limits=1)


@functools.cache
def _libraries():
    return ThreadpoolController()  # finding the libraries takes longer than a fit


def _column_chunks(*sets):
    """Successive columns of each set's parts, concatenated, in float64."""
    d, n = sets[0][0].shape[1], sum(len(part) for parts in sets for part in parts)
    width = max(1, BYTES // (8 * n))
    for start in range(0, d, width):
        some = slice(start, start + width)
        yield [np.concatenate([part[:, some] for part in parts], dtype=np.float64) for parts in sets]


def _blocks(n, groups):
    """Slices of rows and of columns in the upper triangle that cover all pairs of the groups."""
    tiles = -(-n // TILE)
    needed = np.full((tiles, tiles), groups is None)
    for rows in groups or ():
        among = np.unique(np.asarray(rows) // TILE)
        needed[np.ix_(among, among)] = True
    blocks = []
    for i, row in enumerate(needed):
        edges = np.flatnonzero(np.diff(np.r_[False, row[i:], False])) + i
        blocks += [(_tiles(i, i + 1), _tiles(*edge)) for edge in edges.reshape(-1, 2)]
    return blocks


def _tiles(start, stop):
    return slice(start * TILE, stop * TILE)


def _refuse_not_finite(products, rows, columns):
    finite = np.isfinite(products)
    if not finite.all():
        wrong = ~finite.any(1)  # an example without a finite product with any other
        example = rows.start + wrong.argmax() if wrong.any() else columns.start + (~finite).sum(0).argmax()
        raise ValueError(
            f"Expected finite activations, got NaN or infinity in example {example}. Usual causes: wrong weights, or a "
            "wrong input range."
        )
