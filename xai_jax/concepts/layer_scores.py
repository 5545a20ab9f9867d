"""TCAV in one layer: conceptual sensitivities and their statistics from activations and gradients.

Kim et al. 2018, arXiv 1711.11279, equations 1 and 2; `xai_jax.concepts.tcav` measures all layers of a network.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from xai_jax.concepts import cav, gram
from xai_jax.concepts.cav import Fit
from xai_jax.concepts.classifiers import CLASSIFIER
from xai_jax.concepts.sampling import Sets
from xai_jax.core import finite

STATISTICS = ("score", "magnitude", "mean")
NEUTRAL = (0.5, 0.5, 0.0)  # values of the statistics for a class that does not depend on the concept


class ConceptScores(NamedTuple):
    """One concept in one layer: `values` (3, K, J), `controls` (3, K, M, J), `accuracy` (J,), see `tcav.Scores`."""

    values: np.ndarray
    controls: np.ndarray
    accuracy: np.ndarray
    held_out: int
    chance: float


def score_layer(
    parts: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    sets: Sequence[Sets],
    classifier: Any = CLASSIFIER,
    seed: int = 0,
) -> dict[str, ConceptScores]:
    """TCAV in one layer, from arrays.

    Args:
      parts: activations (N_i, d), of all concepts and random images.
      gradients: for each class, gradients (m, d) of its target at its images.
      sets: rows of `parts`, as `sampling.sample` returns them.
      classifier: linear scikit-learn classifier, see `cav.fit`.
      seed: of NumPy's generators.

    Returns:
      `ConceptScores` by concept.

    Raises:
      ValueError: for activations that are not finite or all the same, and for gradients that are not finite.

    >>> from xai_jax.concepts.sampling import sample
    >>> activations = np.random.default_rng(0).normal(size=(40, 5)) + 3 * np.eye(5)[0] * (np.arange(40) < 10)[:, None]
    >>> sets, gradients = sample({"first unit": 10}, random_count=30, runs=2, controls=1), [np.eye(5)[:1]]
    >>> score_layer([activations], gradients, sets)["first unit"].values[0]  # the TCAV score
    array([[1., 1.]])
    """
    for number, each in enumerate(gradients):
        if (bad := finite.first_bad(np.asarray(each))) is not None:
            raise ValueError(f"Expected finite gradients, got NaN or infinity for image {bad} of class {number}.")
    examples = gram.matrix(parts, (rows for each in sets for rows in _groups(each)))
    products = [gram.inner_products(each, examples.parts) for each in gradients]
    total = sum(len(each.negatives) * (len(each.positives) + len(each.controls)) for each in sets)
    with tqdm(total=total, desc="CAVs", delay=2, leave=False) as bar:

        def fit_all(pairs):
            jobs = [(rows, negative, [seed, run]) for rows, all_ in pairs for run, negative in enumerate(all_)]
            for fitted in cav.fit_all(examples, jobs, classifier):
                bar.update()
                yield fitted

        return {name: found for each in sets for name, found in _score_sets(each, products, fit_all)}


def sensitivities(products: np.ndarray, fits: Sequence[Fit]) -> np.ndarray:
    """S(x) of equation 1 (J, m) along J CAVs, from inner products (m, N) of gradients and activations.

    >>> cav_of_first_example = Fit(np.array([0]), np.array([1.0]), accuracy=1.0, held_out=2, chance=0.5)
    >>> sensitivities(np.array([[3.0, 0.0], [-2.0, 1.0]]), [cav_of_first_example])
    array([[ 3., -2.]])
    """
    return np.stack([products[:, fitted.rows] @ fitted.weights for fitted in fits])


def statistics(sensitivity: np.ndarray) -> np.ndarray:
    """The three `STATISTICS` (3, ...) of sensitivities S(x) (..., m) of m images.

    The TCAV score is the fraction that is positive (equation 2). The magnitude, as in captum, is the sum of the
    positive ones over the sum of absolute values. The mean distinguishes strong from weak dependence.

    >>> statistics(np.array([1.0, -1.0, 2.0, 0.0]))
    array([0.5 , 0.75, 0.5 ])
    """
    total, positive = np.abs(sensitivity).sum(-1), np.maximum(sensitivity, 0).sum(-1)
    magnitude = np.divide(positive, total, out=np.full_like(total, NEUTRAL[1]), where=total > 0)
    return np.stack([(sensitivity > 0).mean(-1), magnitude, sensitivity.mean(-1)])


def _score_sets(sets, products, fit_all):
    """(name, `ConceptScores`) of each concept; the controls are fitted once for all concepts of the sets."""
    runs, pairs = len(sets.negatives), [(rows, sets.negatives) for rows in sets.positives.values()]
    fitted = fit_all([*_with_negatives(sets), *pairs])
    controls = [_values(products, list(itertools.islice(fitted, runs))) for _ in sets.controls]
    controls = np.reshape(controls, (len(controls), len(STATISTICS), len(products), runs))
    for name in sets.positives:
        fits = list(itertools.islice(fitted, runs))
        accuracy = np.array([each.accuracy for each in fits])
        values = _values(products, fits), np.moveaxis(controls, 0, 2)
        yield name, ConceptScores(*values, accuracy, fits[0].held_out, fits[0].chance)


def _values(products, fits):
    """Statistics (3, K, J) of the sensitivities of each class's images along the CAVs of J fits."""
    return np.stack([statistics(sensitivities(each, fits)) for each in products], 1)


def _groups(sets):
    """Rows that one classifier is fitted to."""
    pairs = [*((rows, sets.negatives) for rows in sets.positives.values()), *_with_negatives(sets)]
    return [np.r_[rows, some] for rows, negatives in pairs for some in negatives]


def _with_negatives(sets):
    """Each control with its negatives."""
    return zip(sets.controls, sets.control_negatives or [sets.negatives] * len(sets.controls), strict=True)
