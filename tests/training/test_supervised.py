"""Training as users meet it: it learns, it survives SIGKILL bit for bit, and its errors leave earlier results alone."""

import dataclasses
import json
import os
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers.small_network import Small, small_data
from tests.helpers.training_child import files
from xai_jax.data import datasets
from xai_jax.io.errors import TrainingError
from xai_jax.io.fingerprints import labelled
from xai_jax.training import checkpoints, loop, supervised
from xai_jax.training.supervised import Recipe
from xai_jax.weights import safetensors_file

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.1)
DATA, SMALL = small_data(256), Small()


def fit(checkpoint_dir, module=SMALL, data=DATA, recipe=RECIPE, seed=0, **options):
    return supervised.fit(module, data, recipe, checkpoint_dir, seed=seed, **options)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_learns_and_leaves_the_contract(tmp_path):
    variables = fit(tmp_path, validation=small_data(90), keep_epochs=True)
    lines = supervised.metrics(tmp_path)
    assert [line["step"] for line in lines] == [1, 4, 4, 8, 8, 12, 12]
    assert lines[0]["loss"] > 0.9 and lines[-2]["loss"] < 0.3 and lines[-1]["top1"] < 10
    assert all(line["images_per_second"] > 0 for line in lines if "loss" in line)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [
        "epochs", "metrics.jsonl", "training.json", "weights.safetensors"
    ]  # fmt: skip
    epochs = supervised.epoch_weights(tmp_path)
    assert list(epochs) == [1, 2, 3]
    assert_same(safetensors_file.unflatten(safetensors_file.read(epochs[3])), jax.tree.map(np.asarray, variables))
    with pytest.raises(AssertionError):
        assert_same(safetensors_file.unflatten(safetensors_file.read(epochs[2])), jax.tree.map(np.asarray, variables))


def test_finished_returns_at_once_and_another_seed_differs(tmp_path):
    first = fit(tmp_path / "a")
    before = files(tmp_path / "a")
    assert_same(fit(tmp_path / "a"), first)
    assert files(tmp_path / "a") == before
    assert_same(fit(tmp_path / "b"), first)
    with pytest.raises(AssertionError):
        assert_same(fit(tmp_path / "c", seed=1), first)


def test_goes_through_every_batch_in_the_order_of_its_seed(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(supervised.evaluation, "check_labels", lambda labels, _: seen.append(labels))
    fit(tmp_path)
    expected = [np.random.default_rng([0, epoch]).permutation(256) for epoch in range(3)]
    np.testing.assert_array_equal(np.concatenate(seen[1:]), DATA.labels[np.concatenate(expected)])


class Stop(Exception):
    pass


def interrupted(checkpoint_dir, monkeypatch, at, **changes):
    """Trains, saving after every step, until the checkpoint of step `at` is written."""
    save = checkpoints.Checkpoints.save

    def then_stop(self, step, state):
        save(self, step, state)
        if step == at:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", then_stop)
        patch.setattr(loop, "LOG_EVERY", 1)
        patch.setattr(loop, "SAVE_EVERY", 0.0)
        with pytest.raises(Stop):
            fit(checkpoint_dir, **changes)


def test_a_truncated_checkpoint_is_named_and_the_one_before_serves(tmp_path, monkeypatch):
    whole = fit(tmp_path / "whole")
    work = tmp_path / "work"
    interrupted(work, monkeypatch, at=8)
    newest = work / "checkpoints" / "000000008.safetensors"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    before = files(work)
    with pytest.raises(TrainingError, match=r"whole checkpoint .*/000000008.*truncated copy. Remove that file"):
        fit(work)
    assert files(work) == before
    newest.unlink()
    assert sorted(path.name for path in newest.parent.iterdir()) == ["000000007.safetensors"]
    assert_same(fit(work), whole)


def scaled(images, factor=255.0):
    return images.astype(jnp.float32) / factor


def shifted(offset, key, x):
    return x + offset


def flipped(image, rng, short=8):
    return image[:, ::-1] if rng.random() * short < 4 else image


BRIEF = dataclasses.replace(RECIPE, epochs=0.25)
OTHER_PIXELS = datasets.InMemory(DATA.images[::-1], DATA.labels, DATA.classes)
OTHER_LABELS = datasets.InMemory(DATA.images, DATA.labels[::-1], DATA.classes)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {"module": Small(width=5)}, r"network: Small\(.*width=4\) .* there, Small\(.*width=5\) .* now"),
        ({}, {"recipe": dataclasses.replace(BRIEF, decay=0.2)}, r"\(recipe.decay: 0.0 there, 0.2 now\)"),
        ({}, {"seed": 1}, "seed: 0 there, 1 now"),
        ({}, {"data": small_data(200)}, "images: 256 there, 200 now"),
        ({}, {"data": OTHER_PIXELS}, r"\(data: .* there, .* now\)"),
        ({}, {"data": OTHER_LABELS}, r"\(data: .* there, .* now\)"),
        ({"prepare": scaled}, {"prepare": partial(scaled, factor=2.0)}, r"\(prepare: .* there, .* now\)"),
        (
            {"prepare": partial(scaled, factor=3.0)},
            {"prepare": partial(scaled, factor=2.0)},
            r"\(prepare: .* there, .* now\)",
        ),
        ({"prepare": lambda x: scaled(x) + 1}, {"prepare": lambda x: scaled(x) + 2}, r"\(prepare: .* there, .* now\)"),
        (
            {"transform": partial(flipped, short=8)},
            {"transform": partial(flipped, short=12)},
            r"\(transform: .* there, .* now\)",
        ),
        ({"augment": Partial(shifted, 0.0)}, {"augment": Partial(shifted, 1.0)}, r"\(augment: .* there, .* now\)"),
        ({"validation": DATA}, {"validation": OTHER_LABELS}, r"\(validation: .* there, .* now\)"),
    ],
)
def test_weights_of_something_else_are_never_returned(tmp_path, first, second, words):
    fit(tmp_path, **{"recipe": BRIEF} | first)
    before = files(tmp_path)
    fit(tmp_path, **{"recipe": BRIEF} | first)  # the same again
    with pytest.raises(TrainingError, match=f"has something else .*{words}"):
        fit(tmp_path, **{"recipe": BRIEF} | second)
    assert files(tmp_path) == before


def test_training_that_another_version_of_jax_began_is_refused(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, at=4)
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    with pytest.raises(TrainingError, match=r"jax: .* there, 0.0.1 now"):
        fit(tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, at=4)
    described = json.loads((tmp_path / "training.json").read_text())
    described["network"] = labelled(Small(width=5))
    (tmp_path / "training.json").write_text(json.dumps(described))
    before = files(tmp_path)
    with pytest.raises(TrainingError, match="Expected a whole checkpoint of this network"):
        fit(tmp_path, module=Small(width=5))
    assert files(tmp_path) == before


def test_a_damaged_description_is_named(tmp_path):
    fit(tmp_path)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(TrainingError, match="training.json is damaged"):
        fit(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_named_and_training_goes_on_once_there_is_room(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        module, whole = Small(width=400), fit(tmp_path / "whole", module=Small(width=400))
        monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
        with pytest.raises(TrainingError, match=r"Could not write .*No space left on device.*start again"):
            fit(disk, module=module)
        left = sorted(path.name for path in (disk / "checkpoints").iterdir())
        assert not (disk / "weights.safetensors").exists()
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert_same(fit(disk, module=module), whole)
        assert left == ["000000001.safetensors"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_learning_rate_too_high_is_named(tmp_path):
    with pytest.raises(
        TrainingError, match=r"got epoch 1, loss (nan|inf), learning_rate 1e\+30 at step \d+.*high learning rate"
    ):
        fit(tmp_path, recipe=dataclasses.replace(RECIPE, learning_rate=1e30))
    assert not (tmp_path / "weights.safetensors").exists()


def test_the_learning_rate_falls_on_plateaus(tmp_path):
    wrong = datasets.InMemory(DATA.images, (DATA.labels + 1) % 3, DATA.classes)  # no progress on these
    recipe = dataclasses.replace(RECIPE, epochs=8, patience=2)
    fit(tmp_path, recipe=recipe, validation=wrong)
    lines = supervised.metrics(tmp_path)
    errors = [line["top1"] for line in lines if "top1" in line]
    learning_rates = [line["learning_rate"] for line in lines if "learning_rate" in line and line["step"] % 4 == 0]
    scale, best, stale, expected = 1.0, np.inf, 0, []
    for error in errors:
        expected.append(0.1 * scale)
        best, stale = (error, 0) if error < best else (best, stale + 1)
        if stale == 2:
            scale, stale = scale / 10, 0
    np.testing.assert_allclose(learning_rates, expected, rtol=1e-5)
    assert learning_rates[-1] < learning_rates[0]


def test_images_of_many_sizes_through_transform(tmp_path):
    rng = np.random.default_rng(0)

    def read(index):
        return rng.integers(0, 256, (8 + index % 3, 9, 1), np.uint8), index % 3

    data = datasets.OnDisk("made", 64, read, DATA.classes)

    def crop(image, rng):
        top = rng.integers(len(image) - 6 + 1)
        return image[top : top + 6, :6]

    fit(tmp_path, data=data, recipe=Recipe(epochs=1, batch_size=32), transform=crop)
    with pytest.raises(ValueError, match="Crop them with `transform`"):
        fit(tmp_path / "uncropped", data=data, recipe=Recipe(epochs=1, batch_size=32))
