"""CAVs against scikit-learn in the full dimension; files; similarity and dreams."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.svm import SVC, LinearSVC

from tests.helpers import oracle
from xai_jax import activation_cache, cav, dgn_am, gram, network, parametrisation, targets
from xai_jax.concepts.classifiers import Hinge, MeanDifference
from xai_jax.synthesis.dgn_am import Montavon

RNG = np.random.default_rng(0)
N, D = 25, 2000
SHOWN, OTHERS = np.arange(N), np.arange(N, 2 * N)
X = np.maximum(RNG.normal(size=(2 * N, D)) + 0.5, 0).astype(np.float32)
X[:N, :60] += 0.4
KNOWN = gram.matrix((X[:10], X[10:]))
NET = oracle.jax_network(oracle.random_layers(2))
IMAGES = np.random.default_rng(5).normal(size=(30, 17, 17, 3)).astype(np.float32)

CLASSIFIERS = [
    cav.CLASSIFIER,
    SGDClassifier(loss="log_loss", alpha=0.1),
    SGDClassifier(average=True, early_stopping=True),
    LogisticRegression(tol=1e-10, max_iter=1000),
    LogisticRegression(C=0.01, solver="newton-cg", tol=1e-10),
    LogisticRegression(solver="liblinear"),
    LinearSVC(max_iter=10_000),
    LinearSVC(loss="hinge", C=0.1, max_iter=10_000),
    LinearSVC(dual=False),
    LinearSVC(fit_intercept=False, max_iter=10_000),
    SVC(kernel="linear"),
    Ridge(),
    Ridge(alpha=100.0, fit_intercept=False),
    RidgeClassifier(),
    LinearRegression(),
    Perceptron(),
    MeanDifference(),
    Hinge(),
]


def in_full_dimension(x, positive, negative, classifier, seed):
    """Unit normal and held-out accuracy by scikit-learn's fit and predictions."""
    x, rng = x[np.r_[positive, negative]].astype(np.float64), np.random.default_rng(seed)
    labels = np.repeat([1, -1], [len(positive), len(negative)])
    training, held_out = cav.split(labels, rng)
    model, state = clone(classifier), int(rng.integers(2**31))
    if "random_state" in model.get_params():
        model.set_params(random_state=state)
    model.fit(x[training], labels[training])
    normal = np.ravel(model.coef_)
    if hasattr(model, "predict"):
        predicted = np.where(np.ravel(model.predict(x[held_out])) > 0, 1, -1)
    else:
        predicted = np.where(x[held_out] @ normal + np.ravel(model.intercept_) > 0, 1, -1)
    return normal / np.linalg.norm(normal), (predicted == labels[held_out]).mean()


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda c: " ".join(str(c).split()))
@pytest.mark.parametrize("case", ["wide", "copies", "narrow"])
def test_solutions_are_those_of_the_full_dimension(classifier, case):
    x = {"wide": X, "copies": X[np.r_[SHOWN // 2 * 2, N + SHOWN // 2 * 2]], "narrow": X[:, :20]}[case]
    known = gram.matrix((x[:10], x[10:]))
    found = cav.fit(known, SHOWN, OTHERS[:-5], classifier, seed=[7, 3])
    normal, accuracy = in_full_dimension(x, SHOWN, OTHERS[:-5], classifier, [7, 3])
    direction = cav.vector(known, found)
    assert direction @ normal >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(direction), 1, rtol=1e-6)
    assert found.accuracy == accuracy and found.held_out == 8 + 7 and found.chance == 8 / 15


def test_logistic_regression_is_solved_to_its_optimum_whatever_its_tolerance():
    """At scikit-learn's default tolerance, L-BFGS in the full dimension stops at a cosine of 0.997 with it."""
    best, _ = in_full_dimension(X, SHOWN, OTHERS, LogisticRegression(tol=1e-12, max_iter=10_000), 0)
    full, _ = in_full_dimension(X, SHOWN, OTHERS, LogisticRegression(), 0)
    ours = cav.vector(KNOWN, cav.fit(KNOWN, SHOWN, OTHERS, LogisticRegression(), 0))
    assert ours @ best > 0.99999 > full @ best > 0.99


def test_cavs_point_towards_the_concept():
    for classifier in (cav.CLASSIFIER, Ridge(), MeanDifference()):
        there, back = (
            cav.vector(KNOWN, cav.fit(KNOWN, *sides, classifier)) for sides in ((SHOWN, OTHERS), (OTHERS, SHOWN))
        )
        towards = X[SHOWN].mean(0) - X[OTHERS].mean(0)
        assert there @ towards > 0 > back @ towards


def test_the_mean_difference_is_that_of_the_training_examples():
    training, _ = cav.split(np.repeat([1, -1], N), np.random.default_rng(4))
    expected = X[training[training < N]].mean(0, np.float64) - X[training[training >= N]].mean(0, np.float64)
    found = cav.vector(KNOWN, cav.fit(KNOWN, SHOWN, OTHERS, MeanDifference(), 4))
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-9)


def test_the_same_seed_gives_the_same_cav():
    first, again, other = (cav.fit(KNOWN, SHOWN, OTHERS, seed=seed) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert np.abs(first.weights - other.weights).max() > 1e-6


@pytest.mark.parametrize("sizes", [(2, 2), (3, 30), (30, 30)])
def test_a_third_of_each_class_is_held_out(sizes):
    labels = np.repeat([1, -1], sizes)
    training, held_out = cav.split(labels, np.random.default_rng(0))
    assert sorted([*training, *held_out]) == list(range(sum(sizes)))
    assert [(labels[held_out] == label).sum() for label in (1, -1)] == [max(1, round(size / 3)) for size in sizes]


@pytest.mark.parametrize(
    "classifier, words",
    [
        (SGDClassifier(penalty="l1"), "L1 penalty"),
        (SGDClassifier(penalty="elasticnet"), "L1 penalty"),
        (LinearSVC(penalty="l1", dual=False), "L1 penalty"),
        (Lasso(0.01), "L1 penalty"),
        (ElasticNet(0.01), "L1 penalty"),
        (LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1), "shrinkage"),
        (SVC(), "linear classifier"),
        ("logistic", "scikit-learn estimator"),
    ],
)
def test_classifiers_outside_the_span_are_refused(classifier, words):
    for _ in range(2):  # only valid classifiers are remembered
        with pytest.raises(ValueError, match=words):
            cav.fit(KNOWN, SHOWN, OTHERS, classifier)


@pytest.mark.parametrize(
    "known, positive, negative, words",
    [
        (KNOWN, SHOWN[:1], OTHERS, "two examples or more.* got 1 and 25"),
        (KNOWN, SHOWN, OTHERS[:0], "got 25 and 0"),
        (KNOWN, SHOWN, np.r_[OTHERS, 3], "both classes, got 1, the first in row 3"),
        (gram.matrix((X * 0 + 1,)), SHOWN, OTHERS, "dead layer"),
        (gram.matrix((np.tile(X, (3, 1)),), [SHOWN]), SHOWN, OTHERS + 2 * N, "one of the groups"),
    ],
)
@pytest.mark.parametrize("classifier", [cav.CLASSIFIER, Ridge(), Hinge()])
def test_examples_that_cannot_be_classified_are_refused(known, positive, negative, words, classifier):
    with pytest.raises(ValueError, match=words):
        cav.fit(known, positive, negative, classifier)


def test_a_cav_is_trained_saved_and_sorts_images(tmp_path):
    marked = IMAGES[:12].copy()
    marked[..., 0] += 1.5
    known = cav.learn(
        NET, "relu4", "red", marked[:8], IMAGES[12:24], LogisticRegression(), cache_dir=tmp_path / "cache"
    )
    cav.save(tmp_path / "red.safetensors", known)
    found = cav.load(tmp_path / "red.safetensors", activation_cache.fingerprint(NET, IMAGES), "relu4")
    np.testing.assert_array_equal(found.vector, known.vector)
    assert found[1:] == known[1:] and found.concept == "red" and found.classifier == "LogisticRegression()"
    assert found.vector.dtype == np.float32 and abs(np.linalg.norm(found.vector) - 1) < 1e-6
    others = np.concatenate([marked[8:], IMAGES[24:]])
    cosines = cav.similarity(NET, found, others)
    activations = np.asarray(network.call(network.features(NET, "relu4"), others)).reshape(len(others), -1)
    np.testing.assert_allclose(cosines, activations @ found.vector / np.linalg.norm(activations, axis=1), atol=1e-5)
    assert set(np.argsort(-cosines)[:4]) == {0, 1, 2, 3}


def test_shared_images_and_cavs_of_other_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="among the 'negatives'"):
        cav.learn(NET, "relu4", "any", IMAGES[:8], IMAGES[7:])
    known = cav.learn(NET, "relu4", "any", IMAGES[:8], IMAGES[8:])
    other = oracle.jax_network(oracle.random_layers(3))
    with pytest.raises(ValueError, match="CAV of this network"):
        cav.similarity(other, known, IMAGES)
    cav.save(tmp_path / "any.safetensors", known)
    for given, words in (({"network": "another"}, "of network another"), ({"layer": "relu1"}, "of layer relu1")):
        with pytest.raises(ValueError, match=words):
            cav.load(tmp_path / "any.safetensors", **given)


def test_zeros_have_no_direction():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        x = tap("hidden", relu(x.reshape(len(x), -1)[:, :20]))
        return x[:, :3]

    known = cav.learn(net, "hidden", "any", IMAGES[:8], IMAGES[8:])
    np.testing.assert_array_equal(cav.similarity(net, known, -jnp.ones((2, 17, 17, 3))), 0)


def test_a_dream_along_a_cav_is_activation_maximisation():
    """As in the module's docstring."""
    known = cav.learn(NET, "relu4", "any", IMAGES[:8], IMAGES[8:])
    key = jax.random.key(0)
    noise = parametrisation.fourier_noise(key, (2, 17, 17, 3))
    draw = Partial(functools.partial(parametrisation.from_fourier, width=17))
    along = targets.direction("relu4", known.vector)
    found = dgn_am.maximise(draw, NET, along, noise, Montavon(steps=30))
    before, after = (targets.evaluate(NET, draw(codes), along)[0] for codes in (noise, found.x))
    assert (after > before + 1).all()
