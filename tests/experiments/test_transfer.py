"""Transfer to other data sets (Zeiler & Fergus 2014, Tables 4 to 7): features, classifiers, tables and claims."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.svm import LinearSVC

from configs.zeiler2014.transfer import get_config
from experiments.lib import training_task
from experiments.zeiler2014 import from_scratch, linear_classifiers, transfer, transfer_tables
from xai_jax import models, network
from xai_jax.data import datasets

RNG = np.random.default_rng(0)


def clusters(count, dimensions=300, classes=4, apart=0.5):
    """Features (classes * count, dimensions) about one centre for each class, and labels."""
    labels = np.repeat(np.arange(classes), count)
    centres = np.random.default_rng(1).normal(size=(classes, dimensions)) * apart
    return RNG.normal(size=(len(labels), dimensions)) + centres[labels], labels


@pytest.mark.parametrize("copies", [0, 5])
def test_the_span_of_the_images_gives_the_decisions_of_all_dimensions(copies):
    known, labels = clusters(10)
    known[:copies] = known[copies : 2 * copies]  # fewer directions than images
    new, _ = clusters(6)
    known, new = known / 20, new / 20  # about their norm
    z, z_new = linear_classifiers.span(known, new)
    assert z.shape == (40, 40 - copies) and z_new.shape == (24, 40 - copies)
    for C in (0.1, 100.0):
        full, reduced = (LinearSVC(C=C, dual=False, tol=1e-9, max_iter=10_000).fit(x, labels) for x in (known, z))
        np.testing.assert_allclose(reduced.decision_function(z_new), full.decision_function(new), atol=1e-4)
        full, reduced = (LogisticRegression(C=C, solver="newton-cg", tol=1e-9).fit(x, labels) for x in (known, z))
        np.testing.assert_allclose(reduced.predict_proba(z_new), full.predict_proba(new), atol=1e-5)


def test_few_dimensions_stay_as_they_are():
    known, new = RNG.normal(size=(20, 7)), RNG.normal(size=(3, 7))
    for found, expected in zip(linear_classifiers.span(known, new), (known, new), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "model, kind", [(linear_classifiers.svm, LinearSVC), (linear_classifiers.softmax, LogisticRegression)]
)
def test_a_held_out_third_chooses_c_at_any_scale(model, kind):
    known, labels = clusters(12, apart=0.15)
    new, _ = clusters(6, apart=0.15)
    fitted, x = linear_classifiers.fit(model, known, labels, new, seed=3)
    scaled = known / np.mean([np.sqrt(np.sum(row**2)) for row in known])
    split = StratifiedShuffleSplit(1, test_size=1 / 3, random_state=3)
    ((training, held_out),) = split.split(scaled, labels)
    assert np.bincount(labels[held_out]).tolist() == [4] * 4
    options = {"dual": False} if kind is LinearSVC else {"solver": "newton-cg"}
    accuracies = [
        kind(C=C, **options).fit(scaled[training], labels[training]).score(scaled[held_out], labels[held_out])
        for C in linear_classifiers.STRENGTHS
    ]
    assert fitted.best_params_["C"] == linear_classifiers.STRENGTHS[int(np.argmax(accuracies))]
    again, x_again = linear_classifiers.fit(model, 1000 * known, labels, 1000 * new, seed=3)
    np.testing.assert_array_equal(fitted.predict(x), again.predict(x_again))


def test_maps_are_averaged_to_six_by_six():
    x = RNG.normal(size=(2, 14, 9, 3)).astype(np.float32)
    found = np.asarray(linear_classifiers.shrink(jnp.asarray(x)))
    for i, j in np.ndindex(6, 6):
        rows, columns = (slice(n * k // 6, -(-(n * (k + 1)) // 6)) for n, k in ((14, i), (9, j)))
        np.testing.assert_allclose(found[:, i, j], x[:, rows, columns].mean((1, 2)), rtol=1e-4, atol=1e-6)
    for kept in (x[:, :6, :4], x[:, 0, 0]):
        np.testing.assert_allclose(linear_classifiers.shrink(jnp.asarray(kept)), kept, rtol=1e-6)


def test_features_are_those_of_each_image_by_itself(monkeypatch):
    monkeypatch.setattr(linear_classifiers, "BATCH", 4)
    model, images = models.load("digits"), datasets.load("digits", "test")
    data, counted = training_task.first(images, 6), []
    bar = type("Bar", (), {"update": counted.append})
    read = transfer.reading(model)
    found = linear_classifiers.extract(model.net, data, read, ("conv1", "logits"), bar)
    assert counted == [4, 2] and found["conv1"].shape == (6, 6 * 6 * 16)
    for number in range(6):
        x = jnp.asarray(data[number][0][None] / 255, jnp.float32)
        logits, kept = network.capture(model.net, x, ["conv1"])
        np.testing.assert_allclose(found["logits"][number], logits[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            found["conv1"][number], linear_classifiers.shrink(kept["conv1"]).ravel(), rtol=1e-4, atol=1e-5
        )


def test_accuracy_is_averaged_over_classes():
    truth, found = np.array([0] * 8 + [1] * 2 + [3]), np.array([0] * 8 + [0, 1] + [1])
    assert linear_classifiers.per_class(truth, found) == pytest.approx(100 * (8 / 8 + 1 / 2 + 0 / 1) / 3)


def test_average_precision_adds_precision_where_recall_rises():
    truth, scores = RNG.random((30, 3)) < 0.3, RNG.random((30, 3))
    for k, found in enumerate(linear_classifiers.precisions(truth, scores)):
        ranked = truth[np.argsort(-scores[:, k]), k]
        hits = [np.mean(ranked[: rank + 1]) for rank in range(30) if ranked[rank]]
        assert found == pytest.approx(100 * sum(hits) / ranked.sum())


def test_networks_from_scratch_see_the_fold_alone_and_as_many_steps_for_few_images(monkeypatch, tmp_path):
    config, data, seen = get_config("smoke"), datasets.load("digits", "train"), []

    def fit(module, task, recipe, workdir, seed):
        images = [task.training[number] for number in range(len(task.training))]
        assert len(images) == config.steps * config.batch_size and recipe.epochs == 1 and module.classes == 10
        seen.extend(int(label) for _, label in images)
        known = [data[number][0] for number in (3, 5, 8)]
        assert all(any((image == one).all() for one in known) for image, _ in images)
        return jax.tree_util.Partial(lambda x: jnp.zeros((len(x), 10)).at[:, data[7][1]].set(1))

    monkeypatch.setattr(training_task, "fit", fit)
    new = np.array([7, *range(20, 60)])
    labels = data.labels
    found = from_scratch.accuracy(data, labels, np.array([3, 5, 8]), new, config, tmp_path, 0)
    assert found == pytest.approx(100 / len(set(labels[new])))  # all are given one class
    assert max(map(seen.count, seen)) - min(map(seen.count, seen)) <= 1 and set(seen) == {data[i][1] for i in (3, 5, 8)}


def values(softmax, without, svm=((50, 60), (51, 61), (52, 62.5)), precision=90.0):
    """What `classify` finds in three folds."""
    jitter = np.array([[-1.0], [0.0], [1.0]])
    return {
        "softmax": jitter + softmax,
        "scratch": 2 * jitter + without,
        "svm": np.array(svm, float),
        "softmax_before": np.ravel(jitter) + 60,
        "precision": jitter + np.full(4, precision),
        "ratio": np.full(3, 0.5),
    }


YES, NO, OPEN = "supported", "not supported", "inconclusive"
TARGET = transfer.Target("fashion_mnist", "test", 100, 4, (6, 60))


@pytest.mark.parametrize(
    "softmax, without, better, few",
    [((70, 90), (30, 50), YES, YES), ((70, 90), (50, 80), YES, NO), ((40, 51), (30, 50), OPEN, NO)],
)
def test_claims_about_few_images(softmax, without, better, few):
    found = {TARGET: values(softmax, without)}
    assert transfer.pretraining_claim(found).verdict.decision == better
    claim = transfer.few_images_claim(found)
    assert claim.verdict.decision == few and "6 images per class are worth more than 60" in claim.text
    both = {TARGET: values((40, 50), (60, 80)), TARGET._replace(name="digits"): values(softmax, without)}
    assert transfer.pretraining_claim(both).verdict.decision == NO


@pytest.mark.parametrize(
    "svm, expected",
    [
        (((50, 60), (51, 61), (52, 62.5)), YES),
        (((60, 50), (61, 51), (62, 51.5)), NO),
        (((60, 50), (60, 70), (60, 61)), OPEN),
    ],
)
def test_claim_about_depth(svm, expected):
    config = dataclasses.replace(get_config("default"), layers=("a", "b"))
    found = {TARGET: values((1, 2), (1, 2), svm=svm)}
    assert transfer.layers_claim(found, config).verdict.decision == expected


@pytest.mark.parametrize("folds, precision, expected", [(3, 90.0, YES), (3, 20.0, NO), (2, 90.0, OPEN)])
def test_claim_about_scenes(folds, precision, expected):
    scene = np.array([[50.0] * 4, [51.5] * 4, [52.0] * 4])[:folds]
    single = {key: found[:folds] for key, found in values((1, 2), (1, 2), precision=precision).items()}
    assert transfer.scenes_claim(scene, single).verdict.decision == expected


@pytest.mark.parametrize("count", [2, 6, 8])
def test_figures_hold_every_number(count):
    config = dataclasses.replace(get_config("default"), layers=tuple("abcdefgh"[:count]))
    found = {TARGET: values((70.25, 90.5), (30, 50), svm=np.arange(3.0 * count).reshape(3, count))}

    def texts(figure):
        return [text.get_text() for axis in figure.axes for text in axis.texts]

    table = texts(transfer_tables.layers(found, config).figure)
    assert {"SVM (a)", "SVM (7)", "softmax (7)", f"softmax ({config.layers[-1]})", "90.50 ± 0.82"} <= set(table)
    assert sum(words.startswith("SVM (") for words in table) == count + 6
    assert {"70.25 ± 0.82", "55.2 ± 0.3", "86.5 ± 0.5"} <= set(texts(transfer_tables.accuracies(found, config).figure))
    scene = np.array([[50.0, 60, 70, 80]] * 3)
    table = texts(transfer_tables.precisions(tuple("wxyz"), scene, found, config).figure)
    assert {"80.00 ± 0.00", "65.00 ± 0.00", "90.00 ± 0.82", "79.0", "tv"} <= set(table)


def test_the_papers_numbers_are_in_agreement_with_each_other():
    assert np.mean(list(transfer_tables.PASCAL.values())) == pytest.approx(
        transfer_tables.PASCAL_MEANS["paper"], abs=0.05
    )
    assert transfer_tables.paper("caltech101").name == "Caltech-101"
    assert transfer_tables.paper("folder:256_ObjectCategories").name == "Caltech-256"


def test_the_plan_of_the_papers_experiment():
    steps = transfer.plan(get_config("paper"))
    features, *training = steps
    assert features.repeats == -(-(9144 + 30_608 + 11_540) // 32)
    assert [step.name for step in training] == [
        f"{kind}, {name}" for name in ("caltech101", "folder-256_ObjectCategories") for kind in ("step", "test")
    ]
    assert [step.repeats for step in training[::2]] == [5000 * 5 * 2, 5000 * 5 * 5]


def test_data_sets_that_are_not_fully_described_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        transfer.targets(dataclasses.replace(get_config("paper"), splits=("all",)))
