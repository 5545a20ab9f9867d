"""TCAV against slow loops in NumPy, captum's layer gradients and a planted concept; errors and cost."""

import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from tests.helpers import oracle
from xai_jax import activation_cache, cav, network, sampling, significance, targets, tcav
from xai_jax.concepts import layer_scores
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.classifiers import MeanDifference
from xai_jax.core.precision import highest

LAYERS = oracle.random_layers(4)
NET = oracle.jax_network(LAYERS)
RNG = np.random.default_rng(0)
SHAPE = (17, 17, 3)


def images(count, shift=0.0, seed=0):
    """Noise, brighter by `shift` in one corner."""
    x = np.random.default_rng([seed, count]).normal(size=(count, *SHAPE)).astype(np.float32)
    x[:, :8, :8, 1] += shift
    return x


CONCEPTS = {"corner": images(8, 1.5), "other": images(8, -1.5, 1), "none": images(6, 0, 2)}
RANDOM, SHOWN = images(80, 0, 3), images(9, 0, 4)
CLASSES = {"first": (targets.logit(0), SHOWN), "third": (targets.logit(2), SHOWN[:5])}
PLAN = {"runs": 3, "controls": 4, "classifier": LogisticRegression(tol=1e-6), "seed": 5}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    cache_dir = tmp_path_factory.mktemp("cache")
    return tcav.measure(NET, ("relu4", "dense9"), CONCEPTS, RANDOM, CLASSES, **PLAN, cache_dir=cache_dir)


@highest()
def gradients_and_activations(layer, label, x):
    """Gradients of the head (n, d) for a class's images, and activations (N, d), in float64."""
    target, shown = CLASSES[label]
    f, head = network.features(NET, layer), network.head(NET, layer, shown)
    gradients = jax.jit(jax.grad(lambda value: targets.evaluate(head, value, target)[0].sum()))(network.call(f, shown))
    return (np.asarray(each, np.float64).reshape(len(each), -1) for each in (gradients, network.call(f, x)))


def slow(activations, gradients, positive, negative, run):
    """S(x) in the full dimension by scikit-learn's classifier, and its accuracy."""
    rows, labels = np.r_[positive, negative], np.repeat([1, -1], [len(positive), len(negative)])
    training, held_out = cav.split(labels, np.random.default_rng([5, run]))
    model = LogisticRegression(tol=1e-6).fit(activations[rows[training]], labels[training])
    accuracy = model.score(activations[rows[held_out]], labels[held_out])
    return gradients @ model.coef_[0] / np.linalg.norm(model.coef_), accuracy


def test_scores_are_those_of_a_slow_loop(found):
    x = np.concatenate([*CONCEPTS.values(), RANDOM])
    sampled = sampling.sample({name: len(own) for name, own in CONCEPTS.items()}, len(RANDOM), 3, 4, 5)
    for (i, layer), (j, label) in [((0, "relu4"), (1, "third")), ((1, "dense9"), (0, "first"))]:
        gradients, activations = gradients_and_activations(layer, label, x)
        for n, name in enumerate(CONCEPTS):
            (sets,) = [sets for sets in sampled if name in sets.positives]
            for run, negative in enumerate(sets.negatives):
                s, accuracy = slow(activations, gradients, sets.positives[name], negative, run)
                expected = (s > 0).mean(), s[s > 0].sum() / np.abs(s).sum(), s.mean()
                np.testing.assert_allclose(found.values[:, i, j, n, run], expected, rtol=1e-3, atol=1e-5)
                assert found.accuracy[i, n, run] == accuracy
            s, _ = slow(activations, gradients, sets.controls[2], sets.negatives[1], 1)
            np.testing.assert_allclose(found.controls[2, i, j, n, 2, 1], s.mean(), rtol=1e-3, atol=1e-5)


def test_scores_of_pairs_are_those_of_a_slow_loop():
    pairs = [("corner", "none"), ("other", "corner")]
    found = tcav.measure(NET, ("relu4",), CONCEPTS, RANDOM, CLASSES, **PLAN, relative=pairs)
    assert found.concepts == ("corner vs none", "other vs corner") and found.controls.shape == (3, 1, 2, 2, 4, 3)
    x = np.concatenate([*CONCEPTS.values(), RANDOM])
    sampled = sampling.sample_pairs({name: len(own) for name, own in CONCEPTS.items()}, pairs, len(RANDOM), 3, 4, 5)
    gradients, activations = gradients_and_activations("relu4", "third", x)
    for n, sets in enumerate(sampled):
        for run, negative in enumerate(sets.negatives):
            s, accuracy = slow(activations, gradients, sets.positives[found.concepts[n]], negative, run)
            expected = (s > 0).mean(), s[s > 0].sum() / np.abs(s).sum(), s.mean()
            np.testing.assert_allclose(found.values[:, 0, 1, n, run], expected, rtol=1e-3, atol=1e-5)
            assert found.accuracy[0, n, run] == accuracy
        s, _ = slow(activations, gradients, sets.controls[2], sets.control_negatives[2][1], 1)
        np.testing.assert_allclose(found.controls[2, 0, 1, n, 2, 1], s.mean(), rtol=1e-3, atol=1e-5)


def test_shapes_and_names(found):
    assert found[:3] == (("relu4", "dense9"), ("first", "third"), tuple(CONCEPTS))
    assert found.values.shape == (3, 2, 2, 3, 3) and found.controls.shape == (3, 2, 2, 3, 4, 3)
    assert found.accuracy.shape == (2, 3, 3) and found.silent.shape == (2, 2) and found.held_out.tolist() == [6, 6, 4]
    assert ((found.values[0] * np.array([9, 5])[:, None, None]) % 1 < 1e-9).all()
    np.testing.assert_array_equal(found.controls[:, :, :, 0], found.controls[:, :, :, 1])  # of one size
    assert np.isfinite(found.values).all() and np.isfinite(found.controls).all()


def test_the_same_seed_gives_the_same_scores(found):
    again, other = (tcav.measure(NET, found.layers, CONCEPTS, RANDOM, CLASSES, **PLAN | {"seed": s}) for s in (5, 6))
    for name in ("values", "controls", "accuracy"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (other.values[2] != found.values[2]).all()


def test_scores_survive_npz(found, tmp_path):
    np.savez(tmp_path / "scores.npz", **found._asdict())
    with np.load(tmp_path / "scores.npz") as file:
        read = tcav.Scores(**file)
    assert significance.table(read) == significance.table(found)


def test_cached_scores_need_no_forward_or_backward_pass(tmp_path, monkeypatch):
    first = tcav.measure(NET, ["relu4"], CONCEPTS, RANDOM, CLASSES, **PLAN, cache_dir=tmp_path)
    monkeypatch.setattr(activation_cache, "_compute", None)
    cache, plan = ActivationCache(NET, "relu4", tmp_path), tcav.Plan(**PLAN)
    np.testing.assert_array_equal(tcav.score(cache, CONCEPTS, RANDOM, CLASSES, plan).values, first.values)
    with pytest.raises(TypeError):
        tcav.score(cache, {**CONCEPTS, "more": images(8, 0, 9)}, RANDOM, CLASSES, plan)


def test_statistics():
    s = np.array([[1.0, -2.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(layer_scores.statistics(s), [[0.5, 0.0], [4 / 6, 0.5], [0.5, 0.0]])


def test_the_loss_of_the_code_is_the_cross_entropy_of_probabilities():
    logits = RNG.normal(size=(4, 5)).astype(np.float32) * 3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.log(np.exp(p)[:, 2] / np.exp(p).sum(1))
    np.testing.assert_allclose(tcav.code_loss(2)(jnp.asarray(logits), {}), expected, rtol=1e-5)


def test_the_loss_of_the_code_can_disagree_with_the_logit(tmp_path):
    """Along a direction that only changes other classes' logits, the logit is constant, the loss is not."""
    matrix = np.eye(4, dtype=np.float32)[:, :3]

    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("hidden", x.reshape(len(x), -1)) @ matrix

    x = np.abs(RNG.normal(size=(3, 1, 1, 4))).astype(np.float32)
    logit, loss = (
        ActivationCache(net, "hidden", tmp_path).gradients(x, t)["hidden"]
        for t in (targets.logit(0), tcav.code_loss(0))
    )
    assert (logit[:, 1] == 0).all() and (loss[:, 1] < 0).all() and (loss[:, 0] > 0).all()
    with pytest.raises(ValueError, match="between 0 and 2"):
        ActivationCache(net, "hidden", tmp_path).gradients(x, tcav.code_loss(3))


def planted(strength):
    """A network whose first logit depends on the corner; the others do not."""
    corner = np.zeros((*SHAPE, 1), np.float32)
    corner[:8, :8, 1] = strength / 64
    mixing = np.random.default_rng(1).normal(size=(17 * 17 * 3, 24)).astype(np.float32) / 30

    def net(x, relu=jax.nn.relu, tap=network.keep):
        seen = jnp.concatenate([x.reshape(len(x), -1) @ mixing, x.reshape(len(x), -1) @ corner.reshape(-1, 1)], 1)
        seen = tap("hidden", relu(seen + 1))
        away = seen[:, :24] @ mixing[:24, :2]
        return jnp.stack([seen[:, 24] + 0.3 * away[:, 0], away[:, 0], away[:, 1]], 1)

    return net


def test_only_a_planted_concept_is_significant():
    concepts = {"corner": images(20, 1.0, 7), "none": images(20, 0, 8), "nothing": images(20, 0, 9)}
    classes = {"dependent": (targets.logit(0), SHOWN), "independent": (targets.logit(1), SHOWN)}
    given = {"runs": 8, "controls": 20, "classifier": MeanDifference()}
    found = tcav.measure(planted(4.0), ["hidden"], concepts, images(500, 0, 10), classes, **given)
    rows = {(row.label, row.concept): row for row in significance.table(found, tested="mean")}
    assert [key for key, row in rows.items() if row.significant] == [("dependent", "corner")]
    assert rows["dependent", "corner"].value == 1 and rows["dependent", "corner"].accuracy_p < 0.01
    assert rows["dependent", "none"].accuracy_p > 0.05


def test_relative_cavs_separate_concepts():
    concepts = {"corner": images(20, 1.0, 7), "none": images(20, 0, 8)}
    classes = {"dependent": (targets.logit(0), SHOWN)}
    given = {"runs": 4, "controls": 6, "classifier": MeanDifference(), "relative": True}
    found = tcav.measure(planted(4.0), ["hidden"], concepts, images(240, 0, 10), classes, **given)
    np.testing.assert_allclose(found.values[0, 0, 0].mean(1), [1, 0])


def test_pairs_show_which_of_two_concepts_matters_more_where_both_scores_are_one():
    """A class that depends on one corner ten times as much as on the other."""
    left, right = np.zeros((2, *SHAPE), np.float32)
    left[:8, :8, 1], right[:8, -8:, 1] = 10, 1

    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("pixels", x.reshape(len(x), -1)) @ np.stack([(left + right).ravel(), right.ravel()], 1)

    concepts, random = {"left": images(20, 1.5, 7), "right": images(20, 1.5, 8)[:, :, ::-1]}, images(480, 0, 10)
    given = {"runs": 4, "controls": 12, "classifier": MeanDifference()}
    classes = {"both": (targets.logit(0), SHOWN), "right": (targets.logit(1), SHOWN)}
    scores = tcav.measure(net, ["pixels"], concepts, random, classes, **given)
    assert (scores.values[0, 0, 0] == 1).all()
    pair = tcav.measure(net, ["pixels"], concepts, random, classes, **given, relative=[("left", "right")])
    np.testing.assert_allclose(pair.values[0, 0, :, 0].mean(1), [1, 0])
    assert all(row.significant for row in significance.table(pair, tested="mean"))


def test_images_without_gradient_are_counted_as_silent(tmp_path):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        x = tap("hidden", x.reshape(len(x), -1)[:, :30])
        return relu(x.mean(1, keepdims=True) - 1) * jnp.ones((1, 3))

    shown = SHOWN.copy()
    shown[:3] += 3
    shown[3:] -= 3
    found = tcav.measure(net, ["hidden"], CONCEPTS, RANDOM, {"k": (targets.logit(0), shown)}, **PLAN)
    np.testing.assert_allclose(found.silent, 6 / 9)
    assert (found.values[0] <= 3 / 9).all()


def dead(x, relu=jax.nn.relu, tap=network.keep):
    logits = NET(x, relu, tap)
    return logits + tap("dead", 0 * x[:, 0, 0, :2]).sum()


def pooled(x, relu=jax.nn.relu, tap=network.keep):
    return tap("relu", relu(x)).mean((1, 2))


ABSENT = {"k": (targets.logit(5), SHOWN)}
LARGE = {"k": (targets.logit(0), np.zeros((5, 20, 20, 3), np.float32))}
SHARED = {"first": images(8, 1.5), "second": np.concatenate([images(8, 1.5)[:2], images(6, 0, 2)])}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"concepts": {}}, "a concept or more"),
        ({"concepts": {"one": images(1)}}, "two images or more of each concept, got {'one': 1}"),
        ({"concepts": {"same": RANDOM[:5]}}, "no image of 'same' among the 'random images'.* got 5"),
        ({"random": RANDOM[:40]}, "Expected at least 48 random images"),
        ({"classes": ABSENT}, "class between 0 and 4, got 5"),
        ({"classes": {}}, "a class or more"),
        ({"classes": {"k": (targets.logit(0), SHOWN[:0])}}, "at least one image"),
        ({"layers": ["relu5"]}, "Did you mean"),
        ({"layers": []}, "one layer or more"),
        ({"net": dead, "layers": ["dead"]}, "layer 'dead': .*same for all examples"),
        ({"concepts": {"nan": np.full((5, *SHAPE), np.nan, np.float32)}}, "finite images"),
        (
            {"concepts": {"large": np.zeros((5, 20, 20, 3), np.float32)}},
            "concept 'large' of shape .17, 17, 3., got .20, 20, 3.|network can read",
        ),
        ({"classifier": LinearSVC(penalty="l1", dual=False)}, "L1 penalty"),
        ({"runs": 0}, "a run or more"),
        ({"net": pooled, "layers": ["relu"], "classes": LARGE}, "class 'k' of shape .17, 17, 3., got .20, 20, 3."),
        ({"concepts": SHARED, "relative": True}, "no image of 'first' among the 'second'.* got 2"),
        ({"concepts": SHARED, "relative": [("second", "first")]}, "no image of 'second' among the 'first'.* got 2"),
        ({"relative": [("corner", "others")]}, "got 'others'. Did you mean 'other'"),
    ],
)
def test_invalid_arguments_are_refused(changes, words):
    given = {"net": NET, "layers": ["relu4"], "concepts": CONCEPTS, "random": RANDOM, "classes": CLASSES}
    with pytest.raises(ValueError, match=words):
        tcav.measure(**given | PLAN | changes)


def test_a_class_without_its_images_is_refused():
    with pytest.raises(TypeError, match=r"pair \(target, images\) for class 'zebra', got int"):
        tcav.measure(NET, ["relu4"], CONCEPTS, RANDOM, {"zebra": 3}, **PLAN)


def test_gradients_are_those_of_captum(tmp_path):
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    module = oracle.torch_module(LAYERS).eval()
    index = [i for i, part in enumerate(module) if isinstance(part, torch.nn.ReLU)][1]  # "relu4"
    x = torch.tensor(SHOWN.transpose(0, 3, 1, 2).copy())
    attribution = attr.LayerGradientXActivation(module, module[index], multiply_by_inputs=False)
    theirs = attribution.attribute(x, target=2).detach().numpy().transpose(0, 2, 3, 1).reshape(len(SHOWN), -1)
    ours = ActivationCache(NET, "relu4", tmp_path).gradients(SHOWN, targets.logit(2))["relu4"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.slow
def test_five_hundred_runs_take_under_a_minute_and_four_gigabytes():
    """One concept of 100 images in a layer of dimension 100,352, against sets from 1000 random images."""
    d, rng = 100_352, np.random.default_rng(0)
    parts = [np.maximum(rng.standard_normal((count, d), np.float32) + 0.3, 0) for count in (100, 1000)]
    gradients = rng.standard_normal((50, d), np.float32)
    tracemalloc.start()
    started = time.process_time()
    found = layer_scores.score_layer(parts, [gradients], sampling.sample({"any": 100}, 1000, 500, 0))
    assert time.process_time() - started < 120  # CPU seconds of all cores: one minute on two
    assert found["any"].values.shape == (3, 1, 500)
    arrays = sum(each.nbytes for each in (*parts, gradients))
    assert tracemalloc.get_traced_memory()[1] + arrays < 4 * 2**30
    tracemalloc.stop()
