"""Concept activation vectors: directions in a layer along which its activations look more like a concept.

Kim et al. 2018, Interpretability beyond feature attribution: quantitative testing with concept activation vectors,
arXiv 1711.11279, section 3.2. A CAV is the normal of a linear classifier, of length 1, pointing towards the concept
(the authors' code does not scale it, and has the concept as its first class, whence the minus there).

    stripes = learn(model.net, "mixed4d", "stripes", images, random_images, LogisticRegression())
    order = np.argsort(-similarity(model.net, stripes, others))  # the most striped first (section 4.1.1)

A dream along a CAV (section 4.1.2) is activation maximisation, here of Fourier coefficients that `draw` makes images
of, by `parametrisation.from_fourier` for example:

    noise = parametrisation.fourier_noise(key, (1, 224, 224, 3))
    found = dgn_am.maximise(draw, model.net, targets.direction(stripes.layer, stripes.vector), noise, Montavon())
"""

import os
import warnings
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import SGDClassifier

from xai_jax.concepts import activation_cache, gram
from xai_jax.concepts.gram import Examples
from xai_jax.core.network import Network
from xai_jax.io import checksums
from xai_jax.io.files import write_atomically

CLASSIFIER = SGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3)  # the authors' code's: hinge loss, L2 penalty
HELD_OUT = 1 / 3
_CHECKED: set[str] = set()  # classifiers that `check_classifier` found fit, by their settings


class Fit(NamedTuple):
    """One classifier: its CAV is the sum of the examples `rows` (n,) times `weights` (n,), of length 1.

    `accuracy` on the held-out examples, how many they were, and what share of them the larger class has.
    """

    rows: np.ndarray
    weights: np.ndarray
    accuracy: float
    held_out: int
    chance: float


class CAV(NamedTuple):
    """A unit vector (d,) that points towards a concept, and what it was learnt from and by.

    `network` is what `activation_cache.fingerprint` says of it.
    """

    vector: np.ndarray
    network: str
    layer: str
    concept: str
    classifier: str
    accuracy: float


class MeanDifference(BaseEstimator):
    """The mean of the second class less that of the first; the boundary lies half-way."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "MeanDifference":
        first, second = (x[y == label].mean(0) for label in np.unique(y))
        self.coef_ = (second - first)[None]
        self.intercept_ = -self.coef_ @ (first + second) / 2
        return self


def fit(
    known: Examples, positive: np.ndarray, negative: np.ndarray, classifier: Any = CLASSIFIER, seed: Any = 0
) -> Fit:
    """Fits a classifier of the examples in the rows `positive`, which show the concept, against those in `negative`.

    A third of both is held out. `classifier`: one of scikit-learn's, or a regression, with one row of `coef_` and an
    answer that does not depend on the axes. `seed`, a number or several, decides on the third and on all else that is
    random. Solvers that stop by the largest derivative (lbfgs, newton-cg) stop later than in d dimensions, nearer the
    optimum; a small `tol` brings both there. Raises ValueError for fewer than two examples of a kind, examples on both
    sides, activations that are all the same, and classifiers with an L1 penalty or without `coef_`.
    """
    check_classifier(classifier)
    _check_rows(known, positive, negative)
    rows, labels = np.r_[positive, negative], np.repeat([1, -1], [len(positive), len(negative)])
    z, back = gram.coordinates(known.products[np.ix_(rows, rows)], known.parts[0].shape[1])
    rng = np.random.default_rng(seed)
    learnt, held_out = split(labels, rng)
    coefficients, intercept = _solve(classifier, z[learnt], labels[learnt], int(rng.integers(2**31)))
    right = (z[held_out] @ coefficients + intercept > 0) == (labels[held_out] > 0)
    weights = back @ coefficients[: back.shape[1]] / np.linalg.norm(coefficients)
    share = (labels[held_out] > 0).mean()
    return Fit(rows, weights, float(right.mean()), len(held_out), float(max(share, 1 - share)))


def vector(known: Examples, fitted: Fit) -> np.ndarray:
    """The CAV of a fit as a unit vector (d,), float64."""
    return gram.combined(known.parts, fitted.rows, fitted.weights)


def learn(
    net: Network,
    layer: str,
    concept: str,
    images: Array,
    negatives: Array,
    classifier: Any = CLASSIFIER,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
) -> CAV:
    """The CAV of a concept's images (n, H, W, C) against others (m, H, W, C), in the network's input range.

    Activations stay in `folder`, if given. Raises ValueError as `fit` and
    `activation_cache.activations`, and for images on both sides.
    """
    activation_cache.refuse_shared(
        concept, activation_cache.digests(images), "negatives", activation_cache.digests(negatives)
    )
    with activation_cache.kept_in(folder) as place:
        known = gram.examples([activation_cache.activations(net, layer, x, place)[layer] for x in (images, negatives)])
        rows = np.split(np.arange(len(known.products)), [len(images)])
        fitted = fit(known, *rows, classifier, seed)
        direction = vector(known, fitted).astype(known.parts[0].dtype)
    mark, described = activation_cache.fingerprint(net, images), " ".join(str(classifier).split())
    return CAV(direction, mark, layer, concept, described, fitted.accuracy)


def similarity(net: Network, known: CAV, x: Array, folder: str | os.PathLike | None = None) -> np.ndarray:
    """Cosine (N,) of images' activations and a CAV, to sort images by; 0 where nothing is active.

    Images should be others than the CAV was learnt from. Raises ValueError for a CAV of another network, or of this one
    for images of another size.
    """
    if (mark := activation_cache.fingerprint(net, x)) != known.network:
        raise ValueError(
            f"Expected a CAV of this network, {mark}, got one of {known.network}. Usual cause: new weights."
        )
    with activation_cache.kept_in(folder) as place:
        activations = activation_cache.activations(net, known.layer, x, place)[known.layer]
        along = gram.inner(known.vector[None], [activations])[0]
        lengths = np.array([np.linalg.norm(row.astype(np.float64)) for row in activations])
    return np.divide(along, lengths, out=np.zeros_like(along), where=lengths > 0)


def save(path: str | os.PathLike, cav: CAV) -> None:
    """Writes a safetensors file whose header says what the CAV is, with a checksum; whole or not at all."""
    about = {name: str(value) for name, value in cav._asdict().items() if name != "vector"}
    write_atomically(path, checksums.pack({"vector": np.ascontiguousarray(cav.vector)}, about))


def load(path: str | os.PathLike, network: str | None = None, layer: str | None = None) -> CAV:
    """Reads a CAV; raises ValueError for damaged files, and for CAVs of another network or layer than the given."""
    try:
        arrays, about = checksums.read(path)
        cav = CAV(arrays["vector"], *(about[name] for name in CAV._fields[1:-1]), float(about["accuracy"]))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a CAV in a whole safetensors file, got one without ({error}).") from error
    for name, wanted in (("network", network), ("layer", layer)):
        if wanted not in (None, getattr(cav, name)):
            raise ValueError(
                f"{path}: expected a CAV of {name} {wanted}, got one of {getattr(cav, name)}. Its direction means "
                "nothing anywhere else."
            )
    return cav


def check_classifier(classifier: Any) -> None:
    """Raises ValueError for classifiers that are not linear, or whose answer depends on the axes or their number."""
    if not isinstance(classifier, BaseEstimator):
        raise ValueError(f"Expected a scikit-learn estimator such as LogisticRegression(), got {classifier!r}.")
    settings = classifier.get_params()
    if (described := f"{type(classifier)} {settings}") in _CHECKED:
        return
    penalty = settings.get("penalty", "deprecated")  # scikit-learn 1.8 began to tell by l1_ratio alone
    if (
        penalty in ("l1", "elasticnet")
        or (penalty == "deprecated" and settings.get("l1_ratio"))
        or not _turns(classifier)
    ):
        raise ValueError(
            f"Expected a classifier whose answer turns with the axes, that of {classifier} does not. Usual causes: an "
            "L1 penalty, columns that are scaled, or shrinkage by the number of columns. One with an L2 penalty, or "
            "none, can be fitted in the span of the examples."
        )
    _CHECKED.add(described)


def _turns(classifier):
    """Whether a trial gives the same direction in 24 columns as in the span of 16 examples."""
    labels = np.repeat([1, -1], 8)
    x = np.random.default_rng(0).normal(size=(16, 24)) + 0.2 * labels[:, None] + 1
    z, back = gram.coordinates(x @ x.T, x.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge
        there, here = (_solve(classifier, values, labels, 0)[0] for values in (x, z))
    here = x.T @ back @ here[: back.shape[1]]
    return there @ here > 0.999 * np.linalg.norm(there) * np.linalg.norm(here)


def _check_rows(known, positive, negative):
    if min(len(positive), len(negative)) < 2:
        raise ValueError(
            f"Expected two examples or more of the concept and of the others, got {len(positive)} and {len(negative)}."
        )
    shared = np.intersect1d(positive, negative)
    if shared.size:
        raise ValueError(f"Expected no example on both sides, got {shared.size}, the first of them number {shared[0]}.")
    if np.isnan(known.products[np.ix_(positive, negative)]).any():
        raise ValueError("Expected examples with the inner products of all these rows. Name them as one of the groups.")


def split(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places of labels 1 and -1 (n,) to learn from, and a third of each class, at least one example, to hold out."""
    places = [rng.permutation(np.flatnonzero(labels == label)) for label in (1, -1)]
    counts = [max(1, round(len(each) * HELD_OUT)) for each in places]
    learnt = np.concatenate([each[count:] for each, count in zip(places, counts, strict=True)])
    return np.sort(learnt), np.concatenate([each[:count] for each, count in zip(places, counts, strict=True)])


def _solve(classifier, z, labels, seed):
    """Coefficients (columns,), which point towards the label 1, and the intercept."""
    model = clone(classifier)
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    with gram.one_thread():
        model.fit(z, labels)
    found = np.asarray(getattr(model, "coef_", ()), np.float64).ravel()
    if found.size != z.shape[1] or not found.any() or not np.isfinite(found).all():
        raise ValueError(
            f"Expected a linear classifier, with one `coef_` for each of {z.shape[1]} columns that are not all zero, "
            f"{classifier} gave {found.size}."
        )
    return found, float(np.ravel(model.intercept_)[0])
