"""Batched solvers against scikit-learn in all dimensions, over shapes, classes, penalties and hard data."""

import itertools
import warnings

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.svm import SVC

from xai_jax import cav, gram
from xai_jax.concepts import classifiers, solvers
from xai_jax.concepts.classifiers import Hinge, MeanDifference

STRICT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 10_000}
KINDS = {
    "logistic": lambda strength, **weights: LogisticRegression(C=strength, **STRICT, **weights),
    "ridge": lambda strength, **_: Ridge(alpha=1 / strength),
    "ridge classifier": lambda strength, **weights: RidgeClassifier(alpha=1 / strength, **weights),
    "mean difference": lambda strength, **_: MeanDifference(),
    "hinge": lambda strength, **_: Hinge(alpha=0.1 / strength),
}
LABELS = np.repeat([1, -1], 6)


def data(n, m, d, shift, seed=0):
    """Rectified noise (n + m, d), of which the first n examples are larger by `shift` in a tenth of the dimensions."""
    x = np.maximum(np.random.default_rng(seed).normal(size=(n + m, d)) + 0.3, 0)
    x[:n, : -(-d // 10)] += shift
    return x, np.arange(n), np.arange(n, n + m)


def copies(x, positive, negative):
    """Every example twice or more."""
    return x[np.r_[positive // 2 * 2, negative // 3 * 3]], positive, negative


CASES = {  # of few sizes, since each compiles
    "d > n, separable": data(30, 30, 400, 0.5),
    "d > n, hardly different": data(30, 30, 40, 0.0),
    "n > d, separable": data(60, 60, 8, 6.0),
    "n > d, overlapping": data(60, 60, 8, 0.5),
    "unbalanced": data(9, 120, 200, 0.5),
    "unbalanced, n > d": data(120, 9, 6, 0.5),
    "duplicates": copies(*data(30, 30, 150, 0.5)),
    "duplicates, n > d": copies(*data(60, 60, 9, 0.5)),
    "large values": tuple(100 * each if each.dtype == float else each for each in data(30, 30, 300, 0.5)),
    "small values": tuple(each / 100 if each.dtype == float else each for each in data(30, 30, 300, 0.5)),
    "far from zero": tuple(each + 50 if each.dtype == float else each for each in data(30, 30, 300, 0.5)),
    "two of each": data(3, 3, 5, 0.5),
}


def in_all_dimensions(classifier, x, positive, negative, seed):
    """Unit normal and outputs for the held-out examples, with their labels, by scikit-learn's own solver."""
    labels = np.repeat([1, -1], [len(positive), len(negative)])
    training, held_out = cav.split(labels, np.random.default_rng(seed))
    x = x[np.r_[positive, negative]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = classifier.fit(x[training], labels[training])
    normal, intercept = np.ravel(found.coef_), np.ravel(found.intercept_)
    return normal / np.linalg.norm(normal), (x[held_out] @ normal + intercept) * labels[held_out]


WEIGHTED = ({"class_weight": "balanced"}, {"class_weight": {1: 3.0, -1: 0.5}})


@pytest.mark.parametrize(
    ("case", "weights"), [*((case, {}) for case in CASES), *(("unbalanced", weights) for weights in WEIGHTED)]
)
def test_solutions_are_those_of_scikit_learn(case, weights):
    x, positive, negative = CASES[case]
    known = gram.matrix([x])
    for (kind, build), strength in itertools.product(KINDS.items(), (0.01, 10.0, 1e8)):
        if strength > 10 and (kind == "hinge" or case != "n > d, overlapping"):
            continue  # hardly a penalty: of separable classes the normal would be of any length
        classifier = build(strength, **weights)
        found = cav.fit(known, positive, negative, classifier, seed=3)
        normal, outputs = in_all_dimensions(classifier, x, positive, negative, 3)
        assert cav.vector(known, found) @ normal >= 0.99999, (kind, strength)
        assert np.linalg.norm(cav.vector(known, found)) == pytest.approx(1, abs=1e-4), (kind, strength)
        ties = np.abs(outputs) < 1e-3
        assert abs(found.accuracy - (outputs > 0).mean()) <= ties.mean(), (kind, strength)


def test_the_hinge_loss_is_the_objective_of_sgd_at_its_optimum():
    """Its value, in all dimensions, is below that of ten thousand epochs of SGDClassifier, by little."""
    x, positive, negative = CASES["n > d, overlapping"]
    y, alpha = np.repeat([1.0, -1.0], [len(positive), len(negative)]), 0.02

    def objective(model):
        outputs = x @ model.coef_[0] + model.intercept_
        return alpha / 2 * (model.coef_**2).sum() + np.maximum(0, 1 - y * outputs).mean()

    sgd = SGDClassifier(alpha=alpha, tol=None, max_iter=10_000, average=True, random_state=0).fit(x, y)
    best = objective(Hinge(alpha).fit(x, y))
    assert best <= objective(sgd) <= 1.001 * best


def test_svc_is_the_hinge_loss():
    x, positive, negative = CASES["unbalanced"]
    known, count = gram.matrix([x]), 6 + 80
    ours, theirs = (
        cav.vector(known, cav.fit(known, positive, negative, each, 1))
        for each in (Hinge(alpha=0.1), SVC(kernel="linear", C=1 / (0.1 * count), tol=1e-6))
    )
    assert ours @ theirs > 0.99999


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_penalty_or_number_of_examples_compiles_nothing(kind):
    x, positive, negative = CASES["unbalanced"]
    known = gram.matrix([x])
    cav.fit(known, positive, negative, KINDS[kind](1.0))
    before = solvers._solve._cache_size()
    for strength, fewer in ((0.5, 0), (3.0, 1), (0.2, 2)):
        cav.fit(known, positive, negative[fewer:], KINDS[kind](strength))
    list(cav.fit_all(known, [(positive, negative, 0)], KINDS[kind](0.7)))
    assert solvers._solve._cache_size() == before


@pytest.mark.parametrize("kind", KINDS)
def test_batches_give_what_single_fits_give(kind, monkeypatch):
    x, positive, negative = CASES["n > d, overlapping"]
    known, rng = gram.matrix([x]), np.random.default_rng(0)
    sizes = [12] * 9 + [9]
    monkeypatch.setitem(solvers.LIMITS, "cpu", (8, 2**26))
    jobs = [(rng.permutation(positive)[:n], rng.permutation(negative)[: n + 1], [1, i]) for i, n in enumerate(sizes)]
    batch = list(cav.fit_all(known, jobs, KINDS[kind](1.0)))
    assert [len(fitted.rows) for fitted in batch] == [8 + 9] * 9 + [6 + 7]
    for job, fitted in zip(jobs, batch, strict=True):
        alone = cav.fit(known, *job[:2], KINDS[kind](1.0), job[2])
        np.testing.assert_array_equal(fitted.rows, alone.rows)
        np.testing.assert_allclose(fitted.weights, alone.weights, rtol=1e-4, atol=1e-6 * np.abs(alone.weights).max())
        assert fitted[2:] == alone[2:]


def test_the_solver_leaves_jax_as_it_is():
    x, positive, negative = CASES["two of each"]
    cav.fit(gram.matrix([x]), positive, negative, Ridge())
    assert np.asarray(jax.numpy.ones(1)).dtype == np.float32


@pytest.mark.parametrize(
    "classifier",
    [
        SGDClassifier(),
        LinearRegression(),
        Ridge(alpha=0.0),
        Ridge(fit_intercept=False),
        Ridge(positive=True),
        Ridge(solver="lsqr"),
        LogisticRegression(solver="liblinear"),
        LogisticRegression(solver="saga"),
        LogisticRegression(fit_intercept=False),
        SVC(kernel="linear"),
    ],
    ids=str,
)
def test_others_are_left_to_scikit_learn(classifier):
    assert classifiers.objective(classifier, LABELS) is None


@pytest.mark.parametrize("kind", KINDS)
def test_examples_without_a_direction_are_refused(kind):
    rows = np.arange(32)
    with pytest.raises(ValueError, match="same for all examples"):
        cav.fit(gram.matrix([np.ones((32, 5))]), rows[:16], rows[16:], KINDS[kind](1.0))
    half = np.repeat(np.eye(2), 16, 0)
    found = cav.fit(gram.matrix([half]), rows[:16], rows[16:], KINDS[kind](1.0))
    assert found.accuracy == 1.0 and cav.vector(gram.matrix([half]), found)[0] > 0.7
