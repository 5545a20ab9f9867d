"""Concept activation vectors: directions in the activation space of a layer that point towards a concept.

Kim et al. 2018, Interpretability beyond feature attribution: quantitative testing with concept activation vectors,
arXiv 1711.11279, section 3.2. A CAV is the unit normal of a linear classifier, pointing towards the concept (the
authors' code does not normalise it, and has the concept as the negative class, hence the minus sign there).

    stripes = learn(model.net, "mixed4d", "stripes", images, random_images, LogisticRegression())
    order = np.argsort(-similarity(model.net, stripes, others))  # most similar first (section 4.1.1)

A dream along a CAV (section 4.1.2) is activation maximisation, for example of Fourier coefficients that `draw` turns
into images by `parametrisation.from_fourier`:

    noise = parametrisation.fourier_noise(key, (1, 224, 224, 3))
    found = dgn_am.maximise(draw, model.net, targets.direction(stripes.layer, stripes.vector), noise, Montavon())
"""

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from xai_jax.concepts import activation_cache, classifiers, gram, solvers
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.classifiers import CLASSIFIER
from xai_jax.concepts.gram import Gram
from xai_jax.core import per_image
from xai_jax.core.arguments import check_image_shapes
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.io import checksums
from xai_jax.io.files import write_atomically

HELD_OUT = 1 / 3

Job = tuple[np.ndarray, np.ndarray, Any]
"""Rows of a concept's examples, of negatives, and a seed, see `fit`."""


class Fit(NamedTuple):
    """One fitted classifier. Its CAV is the sum of the examples `rows` (n,) with `weights` (n,), a unit vector.

    `accuracy` on `held_out` examples, of which the larger class is a fraction `chance`.
    """

    rows: np.ndarray
    weights: np.ndarray
    accuracy: float
    held_out: int
    chance: float


class CAV(NamedTuple):
    """A unit vector (d,) that points towards a concept, with its origin and held-out accuracy.

    `network` is the `activation_cache.fingerprint` of the network.
    """

    vector: np.ndarray
    network: str
    layer: str
    concept: str
    classifier: str
    accuracy: float


def fit(examples: Gram, positive: np.ndarray, negative: np.ndarray, classifier: Any = CLASSIFIER, seed: Any = 0) -> Fit:
    """Fits a classifier of concept examples against negatives in the span of the examples.

    A third of either class is held out. LogisticRegression, Ridge, RidgeClassifier, `classifiers.MeanDifference` and
    `classifiers.Hinge` are solved to their optimum, whatever their `tol`, by `xai_jax.concepts.solvers`; others by
    scikit-learn.

    Args:
      examples: activations and their Gram matrix.
      positive: rows (n,) of the concept's examples.
      negative: rows (m,) of the negatives.
      classifier: a scikit-learn classifier or regressor with one row of `coef_` whose solution is rotation-equivariant
        (L2 penalty or none).
      seed: integer or sequence of integers for the split and the solver.

    Returns:
      `Fit`, of which `vector` makes the CAV.

    Raises:
      ValueError: for fewer than two examples of a class, examples in both, identical activations, and classifiers that
        are not linear or not rotation-equivariant.

    >>> examples = gram.matrix([np.array([[1.0, 0.1], [1.0, 0.0], [1.1, 0.0], [-1.0, 0.0], [-1.0, 0.1], [-1.1, 0.1]])])
    >>> fitted = fit(examples, np.arange(3), np.arange(3, 6))
    >>> bool(vector(examples, fitted)[0] > 0.9), fitted.accuracy
    (True, 1.0)
    """
    return next(fit_all(examples, [(positive, negative, seed)], classifier))


def fit_all(examples: Gram, jobs: Sequence[Job], classifier: Any = CLASSIFIER) -> Iterator[Fit]:
    """`fit` for many sets of examples, (positive, negative, seed) each, in their order.

    >>> [fitted.accuracy for fitted in fit_all(examples, [(np.arange(3), np.arange(3, 6), seed) for seed in range(3)])]
    [1.0, 1.0, 1.0]
    """
    classifiers.check(classifier)
    if classifiers.objective(classifier, np.array([1, -1])) is None:
        yield from gram.in_threads(functools.partial(_fit_one, examples, classifier), jobs)
        return
    products, batches = solvers.on_device(examples.products), []
    for sizes, group in itertools.groupby(jobs, lambda job: (len(job[0]), len(job[1]))):
        equal, size = list(group), solvers.batch_size(sum(sizes), products)
        batches += [equal[start : start + size] for start in range(0, len(equal), size)]
    over = gram.in_threads if solvers.is_on_host(products) else map
    for found in over(functools.partial(_fit_batch, examples, products, classifier), batches):
        yield from found


def vector(examples: Gram, fitted: Fit) -> np.ndarray:
    """The CAV of a fit as a unit vector (d,), float64; see `fit` for an example."""
    return gram.linear_combination(examples.parts, fitted.rows, fitted.weights)


def learn(
    net: Network,
    layer: str,
    concept: str,
    images: Array,
    negatives: Array,
    classifier: Any = CLASSIFIER,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
) -> CAV:
    """The CAV of a concept's images against other images; see the module for an example.

    Args:
      net: the network.
      layer: name of the layer.
      concept: name of the concept.
      images: images (n, H, W, C) of the concept, in the network's input range.
      negatives: other images (m, H, W, C).
      classifier: linear scikit-learn classifier, see `fit`.
      seed: integer for the split and the solver.
      cache_dir: keeps activations for later calls, if given.

    Returns:
      The CAV, with the fingerprint of the network.

    Raises:
      ValueError: as `fit` and `ActivationCache.activations`, and for images that are both positive and negative.

    >>> def net(x, relu=None, tap=lambda name, value: value):
    ...     return tap("pooled", x.mean((1, 2)))
    >>> images = np.random.default_rng(0).normal(size=(20, 8, 8, 3)).astype(np.float32)
    >>> red = learn(net, "pooled", "red", images[:8] + np.float32([9, 0, 0]), images[8:16])
    >>> int(np.abs(red.vector).argmax()), red.accuracy
    (0, 1.0)
    """
    per_image.refuse(net, "two sets of images", "Make an ActivationCache for each, with its rows, and call cav.fit")
    if not isinstance(layer, str):
        raise TypeError(f"Expected the name of one layer, got {quoted(layer)}.")
    for x in (images, negatives):
        check_image_shapes(x)
    own, others = (activation_cache.digests(x) for x in (images, negatives))
    activation_cache.refuse_shared(concept, own, "negatives", others)
    cache = ActivationCache(net, layer, cache_dir)
    examples = gram.matrix([cache.activations(x)[layer] for x in (images, negatives)])
    rows = np.split(np.arange(len(examples.products)), [len(images)])
    fitted = fit(examples, *rows, classifier, seed)
    direction = vector(examples, fitted).astype(examples.parts[0].dtype)
    network, described = activation_cache.fingerprint(net, images), " ".join(str(classifier).split())
    return CAV(direction, network, layer, concept, described, fitted.accuracy)


def similarity(net: Network, direction: CAV, x: Array, cache_dir: str | os.PathLike | None = None) -> np.ndarray:
    """Cosine similarity (N,) of images' activations and a CAV; see the module for an example.

    Args:
      net: the network of the CAV.
      direction: the CAV.
      x: images (N, H, W, C), other than those that the CAV was trained on.
      cache_dir: keeps activations for later calls, if given.

    Returns:
      Values from -1 to 1; 0 for images without active units.

    Raises:
      ValueError: for a CAV of another network, or of this one for images of another size.

    >>> others = images[16:]
    >>> bool(similarity(net, red, others + np.float32([9, 0, 0])).min() > similarity(net, red, others).max())
    True
    """
    check_image_shapes(x)
    if (network := activation_cache.fingerprint(net, x)) != direction.network:
        raise ValueError(
            f"Expected a CAV of this network, {network}, got one of {direction.network}. Usual cause: new weights."
        )
    activations = ActivationCache(net, direction.layer, cache_dir).activations(x)[direction.layer]
    along = gram.inner_products(direction.vector[None], [activations])[0]
    lengths = np.array([np.linalg.norm(row.astype(np.float64)) for row in activations])
    return np.divide(along, lengths, out=np.zeros_like(along), where=lengths > 0)


def save(path: str | os.PathLike, cav: CAV) -> None:
    """Atomically writes a safetensors file with a checksum, and the other fields in its header.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(f"{directory}/stripes", CAV(np.ones(1), "net", "conv5", "stripes", "Ridge()", 0.9))
    ...     load(f"{directory}/stripes", layer="conv5").concept
    'stripes'
    """
    about = {name: str(value) for name, value in cav._asdict().items() if name != "vector"}
    write_atomically(path, checksums.pack({"vector": np.ascontiguousarray(cav.vector)}, about))


def load(path: str | os.PathLike, network: str | None = None, layer: str | None = None) -> CAV:
    """Reads a CAV, see `save`; raises ValueError for damaged files, and for CAVs of another network or layer."""
    try:
        arrays, about = checksums.read(path)
        cav = CAV(arrays["vector"], *(about[name] for name in CAV._fields[1:-1]), float(about["accuracy"]))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a CAV in a complete safetensors file, got another file ({error})."
        ) from error
    for name, wanted in (("network", network), ("layer", layer)):
        if wanted not in (None, getattr(cav, name)):
            raise ValueError(
                f"{path}: expected a CAV of {name} {wanted}, got one of {getattr(cav, name)}. Its direction is "
                "meaningless elsewhere."
            )
    return cav


def _fit_one(examples, classifier, job):
    rows, labels, training, held_out, rng = _divided(*job)
    products = examples.products[np.ix_(rows, rows)]
    _refuse_missing(products)
    z, back = gram.coordinates(products, examples.parts[0].shape[1])
    coefficients, intercept = classifiers.solve(classifier, z[training], labels[training], int(rng.integers(2**31)))
    weights = back @ coefficients[: back.shape[1]] / np.linalg.norm(coefficients)
    return _fit(rows, weights, z[held_out] @ coefficients + intercept, labels[held_out])


def _fit_batch(examples, products, classifier, jobs):
    """Fits of a batch of jobs with equal numbers of examples; where the batched solver fails, by scikit-learn."""
    divided = [_divided(*job) for job in jobs]
    training, others = (np.stack([each[0][each[part]] for each in divided]) for part in (2, 3))
    _, labels, fitted, held_out, _ = divided[0]  # the same in all, as training examples are sorted
    loss, costs = classifiers.objective(classifier, labels[fitted])
    found = solvers.solve(loss, products, training, others, labels[fitted], costs)
    gram.refuse_same(found.spread.min(), training.shape[1])
    solved = zip(jobs, found.sound, training, found.weights, found.outputs, strict=True)
    return [
        _fit(*each, labels[held_out]) if sound else _fit_one(examples, classifier, job) for job, sound, *each in solved
    ]


def _divided(positive, negative, seed):
    """Rows and labels of a job, indices for training and to hold out, and the generator of the rest."""
    _check_rows(positive, negative)
    rows, labels = np.r_[positive, negative], np.repeat([1, -1], [len(positive), len(negative)])
    rng = np.random.default_rng(seed)
    return rows, labels, *split(labels, rng), rng


def _fit(rows, weights, outputs, labels):
    """`Fit` with the accuracy of outputs (k,) for held-out examples with labels (k,)."""
    accuracy, positives = ((outputs > 0) == (labels > 0)).mean(), (labels > 0).mean()
    return Fit(rows, weights, float(accuracy), len(labels), float(max(positives, 1 - positives)))


def _check_rows(positive, negative):
    if min(len(positive), len(negative)) < 2:
        raise ValueError(f"Expected two examples or more of either class, got {len(positive)} and {len(negative)}.")
    shared = np.intersect1d(positive, negative)
    if shared.size:
        raise ValueError(f"Expected no example in both classes, got {shared.size}, the first in row {shared[0]}.")


def _refuse_missing(values):
    if np.isnan(values).any():
        raise ValueError("Expected a Gram matrix with all pairs of these rows. Add them as one of the groups.")


def split(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of labels 1 and -1 (n,) for training, and of a third of each class, at least one example, to hold out.

    >>> [len(part) for part in split(np.repeat([1, -1], [6, 3]), np.random.default_rng(0))]
    [6, 3]
    """
    indices = [rng.permutation(np.flatnonzero(labels == label)) for label in (1, -1)]
    counts = [max(1, round(len(each) * HELD_OUT)) for each in indices]
    training = np.concatenate([each[count:] for each, count in zip(indices, counts, strict=True)])
    return np.sort(training), np.concatenate([each[:count] for each, count in zip(indices, counts, strict=True)])
