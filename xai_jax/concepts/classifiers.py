"""Linear classifiers for CAVs: which of scikit-learn's are valid, the default, and the difference of means."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from xai_jax.concepts import gram
from xai_jax.core.messages import quoted

CLASSIFIER = SGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3)  # of the authors' code: hinge loss, L2 penalty
EXACT = ("auto", "svd", "cholesky", "lbfgs", "newton-cg", "newton-cholesky")  # solvers that stop near the optimum
_CHECKED: set[str] = set()  # classifiers that passed `check`, by their settings


class MeanDifference(BaseEstimator):
    """Difference of class means, with the decision boundary half-way between them.

    >>> MeanDifference().fit(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([-1, 1])).coef_
    array([[2., 0.]])
    """

    def fit(self, x: np.ndarray, y: np.ndarray) -> "MeanDifference":
        """Sets `coef_` (1, d) and `intercept_` (1,) from examples (n, d) of two classes with labels (n,)."""
        first, second = (x[y == label].mean(0) for label in np.unique(y))
        self.coef_ = (second - first)[None]
        self.intercept_ = -self.coef_ @ (first + second) / 2
        return self


class Hinge(BaseEstimator):
    """Hinge loss and L2 penalty, the objective of SGDClassifier, at its optimum.

    Args:
      alpha: multiplies the penalty |w|^2 / 2, which is added to the mean loss.

    >>> Hinge(alpha=0.1).fit(np.array([[0.0], [1.0], [2.0]]), np.array([-1, 1, 1])).coef_
    array([[2.]])
    """

    def __init__(self, alpha: float = CLASSIFIER.alpha):
        self.alpha = alpha

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Hinge":
        """Sets `coef_` (1, d) and `intercept_` (1,) from examples (n, d) of two classes with labels (n,)."""
        if not self.alpha > 0:
            raise ValueError(f"Expected a positive alpha, got {quoted(self.alpha)}.")
        found = SVC(kernel="linear", C=1 / (self.alpha * len(x)), tol=1e-8).fit(x, y)
        self.coef_, self.intercept_ = found.coef_, found.intercept_
        return self


def objective(classifier: Any, labels: np.ndarray) -> tuple[str, np.ndarray] | None:
    """Loss and costs (n,) for `solvers.solve` of a classifier that has an equivalent there, else None.

    These are optima: early stopping, by `tol` or `max_iter`, is not imitated, so that classifiers whose solution
    depends on it, such as SGDClassifier, have none.

    >>> objective(LogisticRegression(C=0.1), np.array([1, -1]))
    ('logistic', array([0.1, 0.1]))
    """
    kind, given = type(classifier), classifier.get_params()
    if kind is MeanDifference:
        return "difference", 2 / len(labels) * compute_sample_weight("balanced", labels)
    if kind is Hinge:
        return "hinge", np.full(len(labels), 1 / (given["alpha"] * len(labels)))
    solved = kind in (LogisticRegression, Ridge, RidgeClassifier) and given["solver"] in EXACT
    if not solved or not given["fit_intercept"] or given.get("positive"):
        return None
    weights = compute_sample_weight(given.get("class_weight"), labels)
    if kind is LogisticRegression:
        has_penalty = given.get("penalty", "deprecated") in ("l2", "deprecated") and not given.get("l1_ratio")
        return ("logistic", given["C"] * weights) if has_penalty and np.isfinite(given["C"]) else None
    has_penalty = np.ndim(given["alpha"]) == 0 and given["alpha"] > 0
    return ("squared", weights / given["alpha"]) if has_penalty else None


def check(classifier: Any) -> None:
    """Raises ValueError for classifiers that are not linear or not rotation-equivariant.

    >>> check(SGDClassifier(penalty="l1"))
    Traceback (most recent call last):
    ...
    ValueError: Expected a rotation-equivariant linear classifier (L2 penalty or none)...
    """
    if not isinstance(classifier, BaseEstimator):
        raise ValueError(f"Expected a scikit-learn estimator such as LogisticRegression(), got {quoted(classifier)}.")
    settings = classifier.get_params()
    if (described := f"{type(classifier)} {settings}") in _CHECKED:
        return
    penalty = settings.get("penalty", "deprecated")  # scikit-learn 1.8 deprecates it for l1_ratio
    if (
        penalty in ("l1", "elasticnet")
        or (penalty == "deprecated" and settings.get("l1_ratio"))
        or not _is_rotation_equivariant(classifier)
    ):
        raise ValueError(
            f"Expected a rotation-equivariant linear classifier (L2 penalty or none), got {classifier}. Usual causes: "
            "an L1 penalty, scaled columns, or shrinkage by the number of columns."
        )
    _CHECKED.add(described)


def _is_rotation_equivariant(classifier):
    """Whether it finds the same direction in 24 dimensions as in the span of 16 examples."""
    labels = np.repeat([1, -1], 8)
    x = np.random.default_rng(0).normal(size=(16, 24)) + 0.2 * labels[:, None] + 1
    z, back = gram.coordinates(x @ x.T, x.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that do not converge
        full, reduced = (solve(classifier, values, labels, 0)[0] for values in (x, z))
    reduced = x.T @ back @ reduced[: back.shape[1]]
    return full @ reduced > 0.999 * np.linalg.norm(full) * np.linalg.norm(reduced)


@contextlib.contextmanager
def stopping_early() -> Iterator[None]:
    """Lets the authors' classifier stop at its 1000 iterations, as it often does, without a warning each time.

    >>> with stopping_early():
    ...     warnings.warn("suppressed", ConvergenceWarning)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def solve(classifier: Any, z: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Fits a clone of a linear classifier.

    Args:
      classifier: a scikit-learn classifier or regressor.
      z: examples (n, columns).
      labels: 1 and -1, (n,).
      seed: the `random_state`, where the classifier has one.

    Returns:
      Coefficients (columns,), pointing towards the label 1, and the intercept.

    Raises:
      ValueError: for classifiers without one finite, non-zero `coef_`.

    >>> solve(MeanDifference(), np.array([[0.0], [2.0]]), np.array([-1, 1]), seed=0)
    (array([2.]), -2.0)
    """
    model = clone(classifier)
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    with gram.single_threaded_blas():
        model.fit(z, labels)
    found = np.asarray(getattr(model, "coef_", ()), np.float64).ravel()
    if found.size != z.shape[1] or not found.any() or not np.isfinite(found).all():
        raise ValueError(
            f"Expected a linear classifier with a finite, non-zero `coef_` of {z.shape[1]} values, {classifier} gave "
            f"{found.size}."
        )
    return found, float(np.ravel(model.intercept_)[0])
