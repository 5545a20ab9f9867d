"""Features of fixed layers, and linear classifiers on top of them (Zeiler & Fergus 2014, sections 5.2 and 5.3)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.svm import LinearSVC

from xai_jax import network
from xai_jax.core.network import Network
from xai_jax.core.precision import highest
from xai_jax.data.batches import in_order
from xai_jax.data.datasets import Dataset

SIDE = 6  # that larger maps are averaged to: pool5 of the paper's network has 6x6
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # values of C, of which held-out images choose one
BATCH = 32
PATIENT = 10_000  # iterations; all fits here converge in far fewer

# Newton's method both: for large C, L-BFGS and the dual's coordinate descent take over ten times as many iterations.
svm = partial(LinearSVC, dual=False, max_iter=PATIENT)
softmax = partial(LogisticRegression, solver="newton-cg", max_iter=PATIENT)


def extract(
    net: Network, data: Dataset, read: tuple[Callable, Callable], layers: tuple[str, ...], bar: Any
) -> dict[str, np.ndarray]:
    """Features (N, D) float32 of all images in each layer.

    `read`: functions (prepare, transform) of batches on the device, which gives the network's input, and of each image.
    """
    parts, (prepare, transform) = [], read
    for x, _ in in_order(data, BATCH, transform):
        whole = prepare(jnp.asarray(np.resize(x, (BATCH, *x.shape[1:]))))  # repeats images where there are too few
        kept = features(net, whole, layers)
        parts.append({name: np.asarray(value)[: len(x)] for name, value in kept.items()})
        bar.update(len(x))
    return {name: np.concatenate([part[name] for part in parts]) for name in layers}


@highest()
@partial(jax.jit, static_argnums=2)
def features(net: Network, x: Array, layers: tuple[str, ...]) -> dict[str, Array]:
    """Features (N, D) of each layer of images (N, H, W, C). Raises ValueError for names that are no layers."""
    _, kept = network.capture(net, x, layers)
    return {name: shrink(value).reshape(len(x), -1) for name, value in kept.items()}


def shrink(value: Array) -> Array:
    """Maps (N, H, W, C) with sides above 6 averaged to (N, 6, 6, C), vectors (N, D) as they are.

    Position i of 6 averages the rows floor(i H / 6) to ceil((i + 1) H / 6); neighbours may share a row.
    """
    if value.ndim == 2:
        return value
    rows, columns = (_averages(n) for n in value.shape[1:3])
    return jnp.einsum("ih,nhwc,jw->nijc", rows, value, columns)


def _averages(n):
    size, positions = min(n, SIDE), np.arange(n)
    starts = np.arange(size)[:, None]
    inside = (positions >= starts * n // size) & (positions < -(-(starts + 1) * n // size))
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def span(known: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N, R) and (M, R) of features (N, D) and (M, D) in an orthonormal basis of what the N span, float64.

    A linear classifier with an L2 penalty lies in this span, so it gives the same scores as on D dimensions. With no
    more dimensions than images, features stay as they are.
    """
    known, new = np.asarray(known, np.float64), np.asarray(new, np.float64)
    if known.shape[1] <= len(known):
        return known, new
    values, vectors = np.linalg.eigh(known @ known.T)
    kept = values > values[-1] * len(known) * np.finfo(np.float64).eps
    lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return vectors * lengths, new @ known.T @ (vectors / lengths)


def fit(model: Callable, known: np.ndarray, labels: np.ndarray, new: np.ndarray, seed: int) -> tuple[Any, np.ndarray]:
    """A classifier of `known` (N, D) with labels (N,), and the coordinates (M, R) in which it reads `new` (M, D).

    `model(C=...)` is `svm` or `softmax`. Features are divided by the mean norm of the known ones, and C is the smallest
    of those out of `STRENGTHS` that are right most often on a third of them, with classes in proportion, held out.
    Raises ValueError where a class has fewer than two.
    """
    scale = np.linalg.norm(known, axis=1).mean()
    known, new = span(known / scale, new / scale)
    held_out = StratifiedShuffleSplit(1, test_size=1 / 3, random_state=seed)
    return GridSearchCV(model(), {"C": STRENGTHS}, cv=held_out).fit(known, labels), new


def accuracy(model: Callable, features: np.ndarray, labels: np.ndarray, known: Any, new: Any, seed: int) -> float:
    """Accuracy in %, averaged over classes, on the images `new` after learning those that `known` picks."""
    fitted, x = fit(model, features[known], labels[known], features[new], seed)
    return per_class(labels[new], fitted.predict(x))


def per_class(truth: np.ndarray, found: np.ndarray) -> float:
    """Accuracy of each class that occurs, averaged over these classes, in %."""
    return 100 * float(balanced_accuracy_score(truth, found))


def precisions(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Average precision (K,) of each class in %: the area under recall and precision, not interpolated.

    `truth` (N, K): which classes are there; `probability` (N, K) ranks the images of each class.
    """
    return 100 * np.asarray(average_precision_score(truth, probability, average=None))
