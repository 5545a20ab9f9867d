"""Table 3 of Springenberg et al. 2015: inputs, choice of learning rates, and verdicts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.springenberg2015.cifar_table import Config, get_config
from experiments.lib import runner
from experiments.springenberg2015 import cifar, cifar_table
from xai_jax import models
from xai_jax.architectures.allcnn import AllCNN
from xai_jax.data import datasets
from xai_jax.data.datasets import InMemory
from xai_jax.data.preprocessing import ZCA
from xai_jax.models.cifar import NETWORKS
from xai_jax.training import supervised
from xai_jax.training.sgd import Recipe
from xai_jax.weights import safetensors_file

RANDOM = np.random.default_rng(0)
TINY = dataclasses.replace(
    get_config("smoke"),
    images=60,
    held_out=20,
    tested=30,
    batch_size=10,
    epochs=1,
    seeds=2,
    learning_rates=(0.02, 0.01),
)


def images(count, shape=(12, 12, 1)):
    labels = np.arange(count, dtype=np.int32) % 10
    return InMemory(RANDOM.integers(0, 256, (count, *shape), np.uint8), labels, tuple("0123456789"))


@pytest.fixture
def some_data(monkeypatch):
    """Every data set has 100 images to train and 40 to test."""
    splits = {"train": images(100), "test": images(40)}
    monkeypatch.setattr(datasets, "load", lambda name, split: splits[split])
    return splits


def run(tmp_path):
    return runner.Workspace(tmp_path, "fingerprint")


def test_inputs_are_contrast_normalised_and_whitened_at_the_same_standard_deviation_for_any_size():
    x = RANDOM.integers(0, 256, (50, 4, 4, 3), np.uint8)
    rows = x.reshape(50, -1).astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    rows *= 55 * np.sqrt(48 / 3072) / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / 50)
    expected = centred @ vectors @ np.diag((values + 0.1) ** -0.5) @ vectors.T
    zca = cifar.fit_zca(x, 4)
    found = jax.jit(cifar.inputs(4))(zca, x)
    np.testing.assert_allclose(np.asarray(found).reshape(50, -1), expected, atol=2e-4)
    enlarged = jax.jit(cifar.inputs(4, 9))(zca, x)
    np.testing.assert_allclose(enlarged, jax.image.resize(found, (50, 9, 9, 3), "linear"), atol=1e-5)


def test_images_are_resized_before_they_are_whitened():
    x = RANDOM.integers(0, 256, (50, 8, 8, 1), np.uint8)
    assert cifar.fit_zca(x, 4).matrix.shape == (16, 16)
    assert jax.jit(cifar.inputs(4))(cifar.fit_zca(x, 4), x).shape == (50, 4, 4, 1)


def test_images_held_out_are_the_last_of_those_to_train(tmp_path, some_data):
    task = cifar.load("table", "digits", TINY, run(tmp_path))
    whole = some_data["train"].images
    np.testing.assert_array_equal(task.training.images, whole[:60])
    np.testing.assert_array_equal(task.selection.images, whole[:40])
    np.testing.assert_array_equal(task.held_out.images, whole[40:60])
    np.testing.assert_array_equal(task.test.images, some_data["test"].images[:30])


def test_the_learning_rate_falls_where_the_paper_says():
    paper = get_config("paper")
    recipe = cifar.recipe(paper, 0.05)
    assert [round(drop) for drop in recipe.drops] == [200, 250, 300]
    assert (recipe.epochs, recipe.learning_rate, recipe.decay, recipe.momentum) == (350, 0.05, 0.001, 0.9)


@pytest.mark.parametrize(
    "held_out, chosen",
    [((30.0, 20.0), 0.01), ((20.0, 30.0), 0.02), ((20.0, 20.0), 0.02), ((np.nan, 90.0), 0.01), ((np.nan,) * 2, 0.02)],
)
def test_learning_rates_are_chosen_by_held_out_images_alone(held_out, chosen, tmp_path, some_data, monkeypatch):
    calls = []

    def error(module, settings, training, test, task, folder, seed, augment):
        calls.append((settings.learning_rate, seed, len(training), len(test)))
        return held_out[TINY.learning_rates.index(settings.learning_rate)] if test is task.held_out else 10.0 + seed

    monkeypatch.setattr(cifar, "error", error)
    working = run(tmp_path)
    task = cifar.load("table", "digits", TINY, working)
    found = cifar.errors("model_a", AllCNN("A", "base"), task, TINY, working)
    assert calls == [(0.02, 2, 40, 20), (0.01, 2, 40, 20), (chosen, 0, 60, 30), (chosen, 1, 60, 30)]
    assert found.learning_rate == chosen and list(found.errors) == [10.0, 11.0]


def test_learning_rates_that_an_earlier_run_chose_are_taken_without_training(tmp_path, some_data, monkeypatch):
    def error(module, settings, training, test, task, folder, seed, augment):
        assert test is task.test
        return settings.learning_rate

    monkeypatch.setattr(cifar, "error", error)
    working, config = run(tmp_path), dataclasses.replace(TINY, chosen=(("model_b", 0.02), ("model_a", 0.005)))
    task = cifar.load("table", "digits", config, working)
    found = cifar.errors("model_a", AllCNN("A", "base"), task, config, working)
    assert found.learning_rate == 0.005 and list(found.errors) == [0.005, 0.005]
    searched, known = (cifar_table.plan(each)[0].repeats for each in (TINY, config))
    assert (searched, known) == (4 * 6, 2 * 6)


def test_by_default_a_learning_rate_is_known_for_every_network():
    assert [name for name, _ in get_config("default").chosen] == list(cifar_table.ROWS)
    assert get_config("paper").chosen == ()


def test_untrained_networks_are_left_out_and_counted():
    found = cifar.mask_untrained(np.array([10.0, 80.9, 81.0, 90.0, np.nan]), 10)
    np.testing.assert_array_equal(found, [10, 80.9, np.nan, np.nan, np.nan])
    number = cifar.number("error", found, "%", "learning rate 0.1", paper=9.08, paper_tag="D")
    assert (number.value, number.paper, number.paper_tag) == (45.45, 9.08, "D")
    assert number.note == "mean and standard deviation over 2 seeds, 3 untrained; learning rate 0.1"
    assert cifar.number("error", np.full(2, np.nan), "%", "").value is None


@functools.cache
def small_network():
    return AllCNN("A", "strided", 0.02, dropout=False)


def trained(folder, some_data, learning_rate):
    zca = cifar.fit_zca(some_data["train"].images, 12)
    prepare = jax.tree_util.Partial(cifar.inputs(12), zca)
    task = cifar.Task(*(some_data[split] for split in ("train", "train", "test", "test")), zca, prepare)
    recipe = Recipe(epochs=1, batch_size=20, learning_rate=learning_rate)
    return task, cifar.error(small_network(), recipe, task.training, task.test, task, folder, 0, None)


def test_training_that_diverges_is_an_error_of_nan_and_other_trouble_is_not_hidden(tmp_path, some_data, monkeypatch):
    assert np.isnan(trained(tmp_path / "wild", some_data, 1e30)[1])
    task, error = trained(tmp_path / "tame", some_data, 0.01)
    assert 0 <= error <= 100

    def full(*arguments, **settings):
        raise supervised.TrainingError("No space left on device")

    monkeypatch.setattr(supervised, "fit", full)
    with pytest.raises(supervised.TrainingError, match="No space left"):
        trained(tmp_path / "other", some_data, 0.01)


def test_published_weights_load_by_name_with_their_whitening(tmp_path):
    shapes = cifar.abstract(NETWORKS["all_cnn_c"](), (32, 32, 3))
    variables = jax.tree.map(lambda s: RANDOM.normal(0, 0.05, s.shape).astype(np.float32), shapes)
    zca = ZCA(
        jnp.asarray(RANDOM.normal(size=3072), jnp.float32), jnp.asarray(RANDOM.normal(size=(3072, 3072)), jnp.float32)
    )
    (tmp_path / "run").mkdir()
    safetensors_file.write(tmp_path / "run" / "weights.safetensors", safetensors_file.flatten(variables))
    cifar.publish(tmp_path / "run", zca, tmp_path / "all_cnn_c.safetensors")
    cifar.publish(tmp_path / "diverged", zca, tmp_path / "nothing.safetensors")
    assert not (tmp_path / "nothing.safetensors").exists()
    loaded = models.load("all_cnn_c", tmp_path / "all_cnn_c.safetensors")
    x = RANDOM.integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(loaded.preprocess(x), jax.jit(cifar.inputs(32))(zca, x), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(loaded.variables["params"]["conv9"]["bias"], variables["params"]["conv9"]["bias"])


def some_errors(**costs):
    """Errors by name of the two bases' networks: 10 for pools, and what else `costs` says, seed by seed."""
    cost = {"model": np.zeros(4), "convpool_cnn": np.zeros(4), "all_cnn": np.zeros(4), "strided_cnn": np.zeros(4)}
    cost |= {name: np.array(values) for name, values in costs.items()}
    return {f"{name}_{base}": 10 + i + values for name, values in cost.items() for i, base in enumerate("ab")}


def test_differences_are_averaged_over_bases_for_each_seed():
    errors = some_errors(all_cnn=[1.0, 2, 3, 4])
    errors["all_cnn_b"] = errors["all_cnn_b"] + np.array([2.0, 0, np.nan, 0])
    found = cifar_table.differences(errors, "all_cnn", "model", ("A", "B"))
    np.testing.assert_allclose(found, [2, 2, np.nan, 4])


@pytest.mark.parametrize(
    "cost, decision",
    [
        ([-2.0, -1.9, -2.1, -2.0], "supported"),
        ([0.5, 0.6, 0.4, 0.5], "supported"),
        ([1.5, 1.6, 1.4, 1.5], "not supported"),
        ([0.9, 1.1, 1.0, 1.2], "inconclusive"),
        ([-9.0, 9.0, -3.0, 3.0], "inconclusive"),
        ([np.nan, np.nan, np.nan, 0.0], "inconclusive"),
    ],
)
def test_a_cost_is_none_only_where_its_interval_is_below_the_margin(cost, decision):
    values = cifar_table.differences(some_errors(all_cnn=cost), "all_cnn", "model", ("A", "B"))
    config = Config(bases=("A", "B"))
    claim = cifar_table.claim(cifar_table.COMPARISONS[0], values, config)
    assert claim.verdict.decision == decision and "a cost below 1 " in claim.measured


def test_the_papers_own_differences():
    bases, printed = ("A", "B", "C"), cifar_table.paper_difference
    expected = (10.30 + 9.10 + 9.08 - 12.47 - 10.20 - 9.74, 10.30 + 9.10 + 9.08 - 10.21 - 9.33 - 9.31)
    found = [printed(comparison, bases) for comparison in cifar_table.COMPARISONS]
    np.testing.assert_allclose(found[:2], np.array(expected) / 3)
    np.testing.assert_allclose(found[2], (13.46 + 10.98 + 10.19 - 12.47 - 10.20 - 9.74) / 3)


def test_parameters_are_those_that_follow_from_table_1():
    counts = {name: cifar_table.parameters(name, get_config("paper")) for name in cifar_table.ROWS}
    expected = {"model": (839, 886, 955), "strided_cnn": (839, 886, 955)}
    expected |= {"convpool_cnn": (1254, 1301, 1370), "all_cnn": (1254, 1301, 1370)}
    for name, (here, whole) in counts.items():
        assert here == whole and round(whole / 1000) == expected[name[:-2]]["abc".index(name[-1])]


def test_plan_trains_twelve_networks_for_every_learning_rate_and_seed():
    steps = cifar_table.plan(get_config("paper"))
    assert len(steps) == 24 and steps[0].name == "step, Model A" and steps[-1].name == "errors, All-CNN-C"
    assert {step.repeats for step in steps[::2]} == {(4 + 5) * 350 * (50_000 // 128)}
    assert {step.repeats for step in steps[1::2]} == {(4 + 5) * 40}
    assert steps[0].arguments[2].shape == (128, 32, 32, 3)
    single = cifar_table.plan(get_config("smoke"))
    assert len(single) == 8 and single[0].repeats == 2 * 3 * 70


def test_a_step_of_the_plan_runs():
    step, errors = cifar_table.plan(TINY)[2:4]
    arrays = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), step.arguments)
    state = jax.jit(step.function)(*arrays)
    assert int(state.step) == 1 and jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, arrays[0])
    assert jax.eval_shape(errors.function, *errors.arguments).shape == (256, 10)


def test_unknown_tiers_are_refused():
    with pytest.raises(ValueError, match="Expected a tier out of smoke, default, paper, got 'large'"):
        get_config("large")
