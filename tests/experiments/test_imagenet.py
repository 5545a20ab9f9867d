"""The experiments that train networks for ImageNet: settings, inputs, ensembles, verdicts, resuming, dry runs."""

import dataclasses
import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.special import softmax

from configs.springenberg2015 import imagenet as springenberg_config
from configs.zeiler2014 import imagenet as zeiler_config
from experiments.lib import dry_run, runner, training_task
from experiments.springenberg2015 import imagenet as springenberg
from experiments.zeiler2014 import imagenet as zeiler
from tests.experiments.test_runner import assert_same_arrays, command
from tests.helpers.training_child import kill_when
from xai_jax import models
from xai_jax.data import crops, datasets
from xai_jax.data.batches import batches
from xai_jax.training import evaluation, sgd
from xai_jax.weights import safetensors_file

ROOT = Path(__file__).parents[2]
CONFIGS = {zeiler: zeiler_config, springenberg: springenberg_config}
RNG = np.random.default_rng(0)


def made(count, shape=(20, 26, 3), classes=4):
    images = np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)
    return datasets.InMemory(images, np.arange(count, dtype=np.int32) % classes, tuple("abcdefghij"[:classes]))


def test_the_paper_tiers_train_the_networks_that_models_loads():
    config = zeiler_config.get_config("paper")
    assert zeiler.build(zeiler.ROWS["zfnet"], config) == models.module("zfnet")
    assert zeiler.build(zeiler.ROWS["replication"], config) == models.module("caffenet")
    networks = springenberg.networks(springenberg_config.get_config("paper"))
    assert networks == {"allcnn": models.module("allcnn_imagenet"), "caffenet": models.module("caffenet")}


@pytest.mark.parametrize("name, experiment", [("zfnet", zeiler), ("allcnn_imagenet", springenberg)])
def test_loaded_networks_read_photographs_as_training_did(name, experiment, tmp_path, monkeypatch):
    config = CONFIGS[experiment].get_config("paper")
    photograph = RNG.integers(0, 256, (256, 300, 3), np.uint8)
    monkeypatch.setattr(datasets, "load", lambda *_: made(4))
    if experiment is zeiler:
        task = training_task.load(config, crops.one_of_ten, config.mean)
    else:
        task = springenberg.task("allcnn", config)
    path = tmp_path / "weights.safetensors"
    safetensors_file.write(
        path, jax.tree.map(lambda leaf: np.zeros(leaf.shape, "f"), safetensors_file.flatten(models.abstract(name)[1]))
    )
    model = models.load(name, path)
    x = jax.jit(task.prepare)(task.centre(photograph)[None])
    np.testing.assert_allclose(x, model.preprocess([photograph]), rtol=1e-6, atol=1e-6)
    assert x.shape == (1, 224, 224, 3) and abs(np.asarray(x)).max() > (100 if name == "zfnet" else 1.5)


def test_the_rows_of_table_3_at_the_width_of_the_configuration():
    config = dataclasses.replace(zeiler_config.get_config("paper"), width=1 / 8)
    built = {name: zeiler.build(row, config) for name, row in zeiler.ROWS.items()}
    assert len(built) == 12
    assert built["zfnet"].widths == (12, 32, 48, 48, 32) and built["zfnet"].hidden == 512
    assert built["zfnet_wider_doubled"].widths == (12, 32, 64, 128, 64)
    assert built["zfnet_wider_doubled"].hidden == built["replication_doubled"].hidden == 1024
    assert built["replication_halved"].hidden == built["zfnet_halved"].hidden == 256
    assert {m.without for m in built.values()} == {(), (3, 4), (7,), (6, 7), (3, 4, 6, 7)}
    tiny = dataclasses.replace(config, width=1 / 100)
    assert zeiler.build(zeiler.ROWS["replication"], tiny).widths == (2, 2, 4, 4, 2)  # even, for two groups


def test_rows_that_are_none_are_named():
    config = dataclasses.replace(zeiler_config.get_config("smoke"), rows=("zfnet", "alexnet"))
    with pytest.raises(ValueError, match="Expected rows out of replication, .* got zfnet, alexnet"):
        zeiler.plan(config)


def test_recipes_of_the_papers():
    config = zeiler_config.get_config("paper")
    expected = sgd.Recipe(
        epochs=70, batch_size=128, learning_rate=0.01, patience=config.patience, momentum=0.9, renormalise=0.1
    )
    assert zeiler.recipe(config) == expected and config.patience > 0
    config = springenberg_config.get_config("paper")
    recipe, per_epoch = springenberg.recipe(config), config.images // 64
    assert (recipe.batch_size, recipe.decay, round(recipe.epochs * per_epoch)) == (64, 5e-4, 450_000)
    learning_rates = [
        float(sgd.schedule(recipe, per_epoch)(step)) for step in (0, 199_999, 200_001, 399_999, 400_001, 449_999)
    ]
    np.testing.assert_allclose(learning_rates, [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4], rtol=1e-4)


def test_the_share_of_parameters_here_is_that_at_full_size():
    config = springenberg_config.get_config("default")
    counts = springenberg.parameters(springenberg.networks(config), config)
    assert (counts["allcnn at full size"], counts["caffenet at full size"]) == (9_372_840, 60_965_224)
    full = counts["allcnn at full size"] / counts["caffenet at full size"]
    assert counts["allcnn"] / counts["caffenet"] == pytest.approx(full, rel=0.02)


def test_the_first_images_in_order():
    data = made(9)
    few = training_task.first(data, 5)
    assert len(few) == 5 and len(training_task.first(data, 50)) == 9 and few.classes == data.classes
    images, labels = few.arrays()
    np.testing.assert_array_equal(images, data.images[:5])
    np.testing.assert_array_equal(labels, data.labels[:5])


def test_the_centre_is_what_ten_crops_call_it():
    image = RNG.integers(0, 256, (31, 44, 3), np.uint8)
    found, expected = crops.centre_crop(image, 15, 20).astype(int), crops.ten_crop(image, 15, 20)[4]
    np.testing.assert_allclose(found, expected, atol=1)  # boxes of other corners are rounded otherwise
    assert (found != expected).mean() < 0.02


def test_images_that_are_resized_once_are_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = zeiler_config.get_config("smoke")
    tasks = [
        training_task.load(dataclasses.replace(config, squares=squares), crops.one_of_ten, config.mean)
        for squares in (False, True)
    ]
    for name in ("training", "known", "validation"):
        data, copied = (getattr(task, name) for task in tasks)
        assert len(data) == len(copied) and copied[3][0].shape == (config.short, config.short, 1)
        for left, right in zip(
            *(batches(each, 16, 0, 0, transform=task.crop) for each, task in zip((data, copied), tasks, strict=True)),
            strict=True,
        ):
            np.testing.assert_array_equal(left[0], right[0])
            np.testing.assert_array_equal(left[1], right[1])


def linear(matrix, x, relu=None, tap=None):
    return x.reshape(len(x), -1) @ matrix


def test_ensembles_average_probabilities_over_networks_and_crops():
    matrices = np.random.default_rng(0).normal(size=(3, 12 * 12 * 3, 4)).astype("f")
    nets, data = [Partial(linear, matrix) for matrix in matrices], made(40)
    config = dataclasses.replace(zeiler_config.get_config("smoke"), short=14, side=12)
    found = evaluation.errors(zeiler.ensemble(nets), data, transform=zeiler.ten_crop(config))
    wrong = 0
    for image, label in zip(data.images, data.labels, strict=True):
        each = crops.ten_crop(image, 12, 14).reshape(10, -1).astype(float) / 255
        scores = np.mean([softmax(crop @ matrix.astype(float), -1) for crop in each for matrix in matrices], 0)
        wrong += scores.argmax() != label
    assert found.top1 == pytest.approx(100 * wrong / 40) and 0 < wrong < 40
    alone = [evaluation.errors(net, data, transform=zeiler.ten_crop(config)).top1 for net in nets]
    assert len({*alone, found.top1}) > 1


def spread(value):
    """Three networks' (training, top-1, top-5) errors around those of the paper."""
    return np.array([value, value, value]) + np.array([-0.1, 0, 0.1])[:, None]


def findings(found, ensembles):
    numbers, claims = zeiler.findings(found, ensembles, zeiler_config.get_config("paper"))
    return numbers, [claim.verdict.decision for claim in claims]


def test_every_claim_holds_for_the_papers_own_numbers_and_none_for_their_opposites():
    found = {name: spread(row.paper) for name, row in zeiler.ROWS.items()}
    ensembles = {name: np.array(values) for name, values in zeiler.ENSEMBLES.items()}
    numbers, decisions = findings(found, ensembles)
    assert decisions == ["supported"] * 6 and len(numbers) == 3 * 12 + 2 * 2
    assert all(number.paper_tag == "V:ZF" and number.unit == "%" for number in numbers)
    assert all(number.value == pytest.approx(number.paper) for number in numbers)
    _, opposite = findings({n: 100 - v for n, v in found.items()}, {n: 100 - v for n, v in ensembles.items()})
    assert opposite == ["not supported"] * 6


def test_claims_about_rows_that_were_left_out_or_trained_once_are_open():
    found = {name: spread(zeiler.ROWS[name].paper) for name in ("replication", "zfnet")}
    _, few = findings(found, {"a": np.array([36.7, 15.3])})
    assert few == ["supported", *["inconclusive"] * 4, "supported"]
    _, once = findings(
        {name: spread(row.paper)[:1] for name, row in zeiler.ROWS.items()}, {"a": np.array([36.7, 15.3])}
    )
    assert set(once) == {"inconclusive"}
    assert findings({"replication": spread((1, 2, 3))}, {})[1][-1] == "inconclusive"


def test_claims_about_networks_at_chance_level_are_open():
    found = {name: spread(row.paper) for name, row in zeiler.ROWS.items()}
    found["replication_without_3467"][1] = 99.9
    _, decisions = findings(found, {"a": np.array([36.7, 15.3])})
    yes, unknown = "supported", "inconclusive"
    assert decisions == [yes, unknown, yes, yes, unknown, yes]


@pytest.mark.parametrize("difference, decision", [(0.5, "supported"), (3.0, "not supported"), (1.0, "inconclusive")])
def test_all_cnn_comes_close_or_not(difference, decision):
    found = {"caffenet": spread((30, 40.0, 5)), "allcnn": spread((30, 40 + difference, 5))}
    config = springenberg_config.get_config("default")
    claims = springenberg.claims(found, springenberg.parameters(springenberg.networks(config), config))
    assert [claim.verdict.decision for claim in claims] == ["supported", decision]


SHORT = {
    zeiler: {"rows": ("zfnet",), "images": 96, "checked": 32},
    springenberg: {"images": 96, "checked": 32, "iterations": 3, "drop_every": 2},
}


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(zeiler, id="zeiler"), pytest.param(springenberg, id="springenberg", marks=pytest.mark.slow)],
)
def test_an_interrupted_run_goes_on_and_ends_the_same(experiment, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIGS[experiment].get_config("smoke"), **SHORT[experiment])
    fit, calls = training_task.fit, []

    def stop(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training_task, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            runner.execute(experiment.EXPERIMENT, config, tmp_path / "killed", "smoke")
    for name in ("killed", "whole"):
        runner.execute(experiment.EXPERIMENT, config, tmp_path / name, "smoke")
    assert_same_arrays(tmp_path)
    metrics = json.loads((tmp_path / "whole/metrics.json").read_text())
    assert metrics["claims"] and metrics["numbers"] and metrics["summary"]
    assert all((tmp_path / "whole" / figure["file"]).exists() for figure in metrics["figures"])
    trained = sorted((tmp_path / "whole/training").glob("*/weights.safetensors"))
    assert len(trained) == config.seeds * (1 if experiment is zeiler else 2)


@pytest.mark.parametrize("experiment", CONFIGS, ids=["zeiler", "springenberg"])
def test_every_step_of_the_paper_has_a_shape_and_a_count(experiment):
    config = CONFIGS[experiment].get_config("paper")
    if experiment is zeiler:
        config = dataclasses.replace(config, rows=("replication_without_3467", "zfnet_wider_doubled"))
    plan = experiment.plan(config)
    steps = {step.name: step.repeats for step in plan}
    assert len(steps) == 4
    if experiment is zeiler:
        assert steps["step, zfnet_wider_doubled"] == 5 * 70 * (1_281_167 // 128)
        assert steps["errors, zfnet_wider_doubled"] == 5 * 2 * -(-50_000 // 32)
        assert plan[1].arguments[1].shape == (320, 224, 224, 3)
    else:
        assert steps["step, allcnn"] == steps["step, caffenet"] == 3 * 450_000
        assert plan[1].arguments[1].shape == (32, 224, 224, 3)


def test_a_smoke_plan_lowers_for_accelerators():
    config = dataclasses.replace(zeiler_config.get_config("smoke"), rows=("zfnet",))
    report = dry_run.report("zeiler2014/imagenet", zeiler.plan(config), "A100")
    assert "All steps lower for cuda and tpu" in report


@pytest.mark.slow
@pytest.mark.parametrize("experiment", CONFIGS, ids=["zeiler", "springenberg"])
def test_smoke_survives_sigkill_in_the_middle_of_training(experiment, tmp_path):
    runs = {
        name: command(experiment.EXPERIMENT.name, "smoke", f"--workdir={tmp_path / name}", "--config.images=1280")
        for name in ("killed", "whole")
    }
    process = subprocess.Popen(runs["killed"], cwd=ROOT, stderr=subprocess.DEVNULL)
    kill_when(process, lambda: any((tmp_path / "killed/training").glob("*/metrics.jsonl")))
    assert not list((tmp_path / "killed/stages").glob("*.npz"))
    for run in runs.values():
        subprocess.run(run, cwd=ROOT, check=True, capture_output=True)
    assert_same_arrays(tmp_path)
