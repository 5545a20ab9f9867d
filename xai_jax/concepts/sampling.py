"""Which examples are told from which: the runs of TCAV, against random sets or other concepts (Kim et al. 2018)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Trial(NamedTuple):
    """Rows of examples: of each concept, of the negatives of each run, and of each set that takes a concept's place."""

    shown: dict[str, np.ndarray]
    negatives: list[np.ndarray]
    controls: list[np.ndarray]


def plan(sizes: Mapping[str, int], pool: int, runs: int, controls: int, seed: int = 0) -> list[Trial]:
    """Concepts of `sizes` images against sets of as many out of `pool` random ones, another set in each run.

    Rows count the images of all concepts in their order, then the random ones. Concepts of one size share negatives and
    controls. No image is in two controls, or in a control and in a negative set. Raises ValueError for too few images.
    """
    own, random = _rows(sizes, pool, runs, controls)
    trials = []
    for size in dict.fromkeys(sizes.values()):
        if pool < (controls + 2) * size:
            raise ValueError(
                f"Expected {(controls + 2) * size} random images, {controls} times {size} as controls and two times as "
                f"many to draw negatives from, got {pool}. Fewer controls, or fewer images of the concept, need fewer."
            )
        rng = np.random.default_rng([seed, size])
        others, rest = np.split(rng.permutation(random), [controls * size])
        shown = {name: rows for name, rows in own.items() if len(rows) == size}
        trials.append(Trial(shown, _draw(rng, rest, size, runs), list(others.reshape(controls, size))))
    return trials


def plan_relative(sizes: Mapping[str, int], pool: int, runs: int, controls: int, seed: int = 0) -> list[Trial]:
    """The same, but each concept against as many images out of the union of the other concepts (section 3.6).

    Random images are for controls only. Raises ValueError for one concept alone, and for too few random images.
    """
    own, random = _rows(sizes, pool, runs, controls)
    if len(sizes) < 2:
        raise ValueError(f"Expected two concepts or more that CAVs are relative to, got {len(sizes)}.")
    if pool < controls * max(sizes.values()):
        raise ValueError(
            f"Expected {controls * max(sizes.values())} random images for {controls} controls, got {pool}."
        )
    trials = []
    for number, (name, rows) in enumerate(own.items()):
        rng, size = np.random.default_rng([seed, number]), len(rows)
        union = np.concatenate([others for other, others in own.items() if other != name])
        some = rng.permutation(random)[: controls * size]
        trials.append(Trial({name: rows}, _draw(rng, union, size, runs), list(some.reshape(controls, size))))
    return trials


def _rows(sizes, pool, runs, controls):
    """Rows of each concept and of the random images, after what can be told from numbers."""
    if not sizes or runs < 1 or controls < 0:
        raise ValueError(
            f"Expected a concept or more, a run or more, and 0 controls or more, got {len(sizes)} concepts, {runs} "
            f"runs and {controls} controls."
        )
    few = {name: size for name, size in sizes.items() if size < 2}
    if few:
        raise ValueError(f"Expected two images or more of each concept, got {few}.")
    ends = np.cumsum(list(sizes.values()))
    own = {name: np.arange(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
    return own, np.arange(ends[-1], ends[-1] + pool)


def _draw(rng, rows, size, runs):
    return [rng.permutation(rows)[:size] for _ in range(runs)]
