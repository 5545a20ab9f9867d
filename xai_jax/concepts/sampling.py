"""Sampling of positive, negative and control sets for TCAV (Kim et al. 2018, sections 3.5 and 3.6).

Examples are identified by row: the images of all concepts in their order, then the random ones.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xai_jax.core.arguments import is_integer
from xai_jax.core.messages import listed, nearest, quoted


class Sets(NamedTuple):
    """Rows of the examples of some concepts of one size that share their negatives and controls.

    `positives` (n,) by concept; `negatives` (n,), one set per run; `controls` (n,), sets of random images that are
    substituted for the concept to form the null distribution. Where there are `control_negatives`, they are the
    negatives of each control, one set per run; all others have `negatives`.
    """

    positives: dict[str, np.ndarray]
    negatives: list[np.ndarray]
    controls: list[np.ndarray]
    control_negatives: Sequence[list[np.ndarray]] = ()


def sample(sizes: Mapping[str, int], random_count: int, runs: int, controls: int, seed: int = 0) -> list[Sets]:
    """Sets of concepts against random images, resampled in each run.

    Args:
      sizes: number of images of each concept, n.
      random_count: number of random images.
      runs: number of negative sets, of n random images each.
      controls: number of control sets. They share no image with each other or with the negative sets.
      seed: of NumPy's generator.

    Returns:
      One `Sets` for all concepts of the same size.

    Raises:
      ValueError: for too few images.

    >>> (sets,) = sample({"stripes": 2, "dots": 2}, random_count=6, runs=3, controls=1)
    >>> {name: rows.tolist() for name, rows in sets.positives.items()}
    {'stripes': [0, 1], 'dots': [2, 3]}
    >>> len(sets.negatives), len(sets.controls)
    (3, 1)
    """
    own, random = _rows(sizes, random_count, runs, controls)
    sampled = []
    for size in dict.fromkeys(sizes.values()):
        if random_count < (controls + 2) * size:
            raise ValueError(
                f"Expected at least {(controls + 2) * size} random images: {controls} control sets of {size} and "
                f"{2 * size} to sample negatives from, got {random_count}. Usual remedies: fewer controls, or fewer "
                "images of the concept."
            )
        rng = np.random.default_rng([seed, size])
        held_out, rest = np.split(rng.permutation(random), [controls * size])
        positives = {name: rows for name, rows in own.items() if len(rows) == size}
        sampled.append(Sets(positives, _draw(rng, rest, size, runs), list(held_out.reshape(controls, size))))
    return sampled


def sample_relative(sizes: Mapping[str, int], random_count: int, runs: int, controls: int, seed: int = 0) -> list[Sets]:
    """Sets of each concept against images of the other concepts (relative CAVs, section 3.6).

    Controls are as of `sample_pairs`: random images in place of the concept, and others in place of the union.

    Args:
      sizes: number of images of each concept, n; two concepts or more.
      random_count: number of random images, which serve as controls only.
      runs: number of negative sets, of up to n images from the union of the other concepts.
      controls: number of control pairs, of as many random images as all concepts have.
      seed: of NumPy's generator.

    Returns:
      One `Sets` for each concept.

    Raises:
      ValueError: for a single concept, and for too few images.

    >>> stripes, dots = sample_relative({"stripes": 2, "dots": 2}, random_count=6, runs=3, controls=1)
    >>> sorted(stripes.negatives[0].tolist())  # the images of dots
    [2, 3]
    """
    own, random = _rows(sizes, random_count, runs, controls)
    if len(sizes) < 2:
        raise ValueError(f"Expected two concepts or more for relative CAVs, got {len(sizes)}.")
    cases = {
        name: (rows, np.concatenate([others for other, others in own.items() if other != name]))
        for name, rows in own.items()
    }
    return _sample_cases(cases, random, runs, controls, seed)


def sample_pairs(
    sizes: Mapping[str, int],
    pairs: Sequence[tuple[str, str]],
    random_count: int,
    runs: int,
    controls: int,
    seed: int = 0,
) -> list[Sets]:
    """Sets of one concept against another, for each pair (relative CAVs, section 3.6).

    Controls are pairs, too: as many random images as each of the two concepts has. They share no image, so that a pair
    of random concepts is one like them.

    Args:
      sizes: number of images of each concept.
      pairs: names of two concepts each, of which the CAV points towards the first.
      random_count: number of random images, which serve as controls only.
      runs: number of negative sets, of up to as many images of the second concept as the first has.
      controls: number of control pairs.
      seed: of NumPy's generator.

    Returns:
      One `Sets` for each pair, in which it is named by `pair_name`.

    Raises:
      ValueError: for no pair, pairs that are not of two different concepts or occur twice, and for too few images.

    >>> (sets,) = sample_pairs({"stripes": 2, "dots": 3}, [("stripes", "dots")], random_count=10, runs=3, controls=2)
    >>> list(sets.positives), len(sets.negatives), len(sets.controls), len(sets.control_negatives)
    (['stripes vs dots'], 3, 2, 2)
    """
    own, random = _rows(sizes, random_count, runs, controls)
    _check_pairs(pairs, sizes)
    cases = {pair_name(first, second): (own[first], own[second]) for first, second in pairs}
    return _sample_cases(cases, random, runs, controls, seed)


def pair_name(first: str, second: str) -> str:
    """What a pair of concepts is called in results.

    >>> pair_name("stripes", "dots")
    'stripes vs dots'
    """
    return f"{first} vs {second}"


def _sample_cases(cases, random, runs, controls, seed):
    """`Sets` of positives against others, {name: (rows, rows of the others)}, with pairs of random sets as controls."""
    if len(random) < (needed := controls * max(sum(map(len, case)) for case in cases.values())):
        raise ValueError(f"Expected at least {needed} random images for {controls} control pairs, got {len(random)}.")
    sampled = []
    for number, (name, (rows, others)) in enumerate(cases.items()):
        rng, size = np.random.default_rng([seed, number]), len(rows)
        each = size + len(others)
        both = rng.permutation(random)[: controls * each].reshape(controls, each)
        negatives, *substitutes = (_draw(rng, some, size, runs) for some in (others, *both[:, size:]))
        sampled.append(Sets({name: rows}, negatives, list(both[:, :size]), substitutes))
    return sampled


def _check_pairs(pairs, names):
    if isinstance(pairs, str) or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"Expected pairs of two concepts each, (first, second), got {quoted(pairs)}.")
    for name in (name for pair in pairs for name in pair):
        if name not in names:
            raise ValueError(f"Expected concepts out of {listed(names)}, got {quoted(name)}.{nearest(name, names)}")
    if (
        not pairs
        or len({tuple(pair) for pair in pairs}) < len(pairs)
        or any(first == second for first, second in pairs)
    ):
        raise ValueError(f"Expected different pairs of two different concepts, one or more, got {quoted(pairs)}.")


def _rows(sizes, random_count, runs, controls):
    """Rows of each concept and of the random images, after checks of the counts."""
    if not sizes or not (is_integer(runs) and is_integer(controls)) or runs < 1 or controls < 0:
        raise ValueError(
            f"Expected a concept or more, a run or more, and 0 controls or more, got {len(sizes)} concepts, "
            f"{quoted(runs)} runs and {quoted(controls)} controls."
        )
    few = {name: size for name, size in sizes.items() if size < 2}
    if few:
        raise ValueError(f"Expected two images or more of each concept, got {quoted(few)}.")
    ends = np.cumsum(list(sizes.values()))
    own = {name: np.arange(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
    return own, np.arange(ends[-1], ends[-1] + random_count)


def _draw(rng, rows, size, runs):
    return [rng.permutation(rows)[:size] for _ in range(runs)]
