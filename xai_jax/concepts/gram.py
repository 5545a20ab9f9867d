"""Examples of a layer as what they are to a linear classifier: their inner products.

A linear classifier with an L2 penalty, or with none, lies in the span of its n examples. In n coordinates that keep all
inner products it meets the same problem as in the layer's d dimensions, and so finds the same answer, however large d
is. One matrix of inner products serves all classifiers of a layer.
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
TILE = 64  # examples whose inner products are computed together
ROUNDING = np.finfo(np.float64).eps


class Examples(NamedTuple):
    """Activations of one layer in parts (N_i, d), and the inner products (N, N) of all in float64.

    Rows count through all parts. Inner products that no group was said to need are NaN.
    """

    parts: tuple[np.ndarray, ...]
    products: np.ndarray


def examples(parts: Sequence[np.ndarray], groups: Iterable[np.ndarray] | None = None) -> Examples:
    """Inner products of all examples, activations (N_i, d), or only of those that some group of rows has in common.

    The products (N, N) take 8 N^2 bytes and a few hundred MB of memory, whatever d is. Raises ValueError for parts of
    different layers, and for NaN or infinity.
    """
    parts = tuple(parts)
    if not parts or parts[0].ndim != 2 or len({part.shape[1:] for part in parts}) != 1:
        raise ValueError(f"Expected activations (N, d) of one layer, got {[np.shape(part) for part in parts]}.")
    n = sum(map(len, parts))
    blocks, products = _blocks(n, groups), np.full((n, n), np.nan)
    for rows, columns in blocks:
        products[rows, columns] = 0
    for (values,) in _columns(parts):

        def add(block, values=values):
            rows, columns = block
            products[rows, columns] += values[rows] @ values[columns].T

        list(in_threads(add, blocks))
    for rows, columns in blocks:
        _refuse_not_finite(products[rows, columns], rows, columns)
        products[columns, rows] = products[rows, columns].T
    return Examples(parts, products)


def inner(first: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Inner products (M, N) in float64 of arrays (M, d), gradients for example, with the examples of all parts."""
    found = np.zeros((len(first), sum(map(len, parts))))
    for values, others in _columns((first,), parts):
        found += values @ others.T
    return found


def combined(parts: Sequence[np.ndarray], rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum (d,) in float64 of the examples `rows` (n,), times `weights` (n,)."""
    found, ends = np.zeros(parts[0].shape[1]), np.cumsum([len(part) for part in parts])
    for row, weight in zip(rows, weights, strict=True):
        number = int(np.searchsorted(ends, row, side="right"))
        found += weight * parts[number][row - ends[number]]  # a negative place counts from the end of the part
    return found


def coordinates(products: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, columns) with the given inner products (n, n), and the matrix (n, rank) back to the examples.

    It makes weights of the n examples from the first `rank` coefficients. Zeros fill up the columns until they are more
    than the examples where `d` is, since scikit-learn chooses some solvers by that. Raises ValueError for examples that
    are all the same.
    """
    n, total = len(products), np.trace(products)
    if total - products.sum() / n <= n * ROUNDING * total:
        raise ValueError(
            "Expected activations that differ, got the same for all examples. Usual causes: a dead layer, or images "
            "that are all the same."
        )
    with one_thread():
        values, vectors = np.linalg.eigh(products)
    kept = values > values[-1] * n * ROUNDING
    lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
    z = np.zeros((n, max(len(lengths), min(d, n + 1))))
    z[:, : len(lengths)] = vectors * lengths
    return z, vectors / lengths


def in_threads(function: Callable, *items: Iterable) -> Iterator:
    """What `function` gives for each of the items, in their order; as many at a time as there are cores.

    NumPy's products and scikit-learn's solvers let other threads run meanwhile. Answers are those of one thread.
    """
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, *items)


def one_thread() -> AbstractContextManager:
    """Keeps BLAS from using threads of its own, which cost more than they gain on problems as small as these."""
    return _libraries().limit(limits=1)


@functools.cache
def _libraries():
    return ThreadpoolController()  # looking for them takes longer than a fit


def _columns(*sets):
    """Some columns after the other of each set's parts, in float64."""
    d, n = sets[0][0].shape[1], sum(len(part) for parts in sets for part in parts)
    width = max(1, BYTES // (8 * n))
    for start in range(0, d, width):
        some = slice(start, start + width)
        yield [np.concatenate([part[:, some] for part in parts], dtype=np.float64) for parts in sets]


def _blocks(n, groups):
    """Slices of rows and of columns, none below the diagonal, that hold all pairs of the groups."""
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
    if not np.isfinite(products).all():
        raise ValueError(
            f"Expected finite activations, got NaN or infinity in an example of {rows.start} to {rows.stop - 1} or "
            f"{columns.start} to {columns.stop - 1}. Usual causes: wrong weights, or an input range."
        )
