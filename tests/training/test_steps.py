"""Many steps of one program, on images that stay on the device: the same losses and weights as step by step."""

import functools
import threading

import jax
import numpy as np
import pytest

from tests.helpers.small_network import Small, small_data
from tests.training import test_deepsim, test_two_labels
from xai_jax.data.augmentation import random_shift
from xai_jax.data.datasets import InMemory, OnDisk
from xai_jax.training import checkpoints, loop, parallel, steps, supervised
from xai_jax.training.supervised import Recipe

DATA, RECIPE = small_data(256), Recipe(epochs=4.5, batch_size=64, learning_rate=0.05, decay=1e-3, cosine=True)
OPTIONS = {"augment": functools.partial(random_shift, most=1), "validation": small_data(50), "keep_epochs": True}
MODULE = Small(dropout=0.5)


def supervise(folder, data=DATA, **options):
    return supervised.fit(MODULE, data, RECIPE, folder, seed=3, **(OPTIONS | options))


def lines(folder):
    timeless = [{k: v for k, v in line.items() if k != "images_per_second"} for line in supervised.metrics(folder)]
    return {(line["step"], "loss" in line or "features" in line): line for line in timeless}


def assert_same_lines(first, second):
    assert list(first) == list(second)
    for key, line in first.items():
        assert list(line) == list(second[key])
        np.testing.assert_allclose(list(line.values()), list(second[key].values()), rtol=1e-5, err_msg=key)


@pytest.fixture
def every(monkeypatch):
    """Every step is logged, and the state is saved whenever the host reads measurements."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)


@pytest.fixture
def scanned(monkeypatch):
    """The lengths of the programs that ran."""
    found, scan = [], steps._scan

    def count(step, setting, state, rows, *others):
        found.append(len(rows))
        return scan(step, setting, state, rows, *others)

    monkeypatch.setattr(steps, "_scan", count)
    return found


@pytest.mark.parametrize(
    "fit, expected",
    [
        pytest.param(supervise, [4] * 4 + [2], id="supervised"),
        pytest.param(test_two_labels.fit, [4] * 3, id="two labels"),
        pytest.param(test_deepsim.fit, [3] * 2, id="deepsim"),
    ],
)
def test_losses_are_those_of_single_steps(fit, expected, every, scanned, monkeypatch, tmp_path):
    single = fit(tmp_path / "single")
    assert not scanned
    monkeypatch.setattr(steps, "at_once", lambda: 5)
    many = fit(tmp_path / "many")
    assert scanned == expected
    assert_same_lines(lines(tmp_path / "single"), lines(tmp_path / "many"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), single, many)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [5, 8, 13])
def test_a_run_killed_between_two_programs_ends_with_the_same_weights(at, every, monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "at_once", lambda: 3)
    options = {"validation": None, "keep_epochs": False}
    whole = supervise(tmp_path / "whole", **options)
    line = supervised._Task.line

    def killed(self, step, measured):
        if step == at:
            raise Killed
        return line(self, step, measured)

    with monkeypatch.context() as patched:
        patched.setattr(supervised._Task, "line", killed)
        with pytest.raises(Killed):
            supervise(tmp_path / "killed", **options)
    (newest, *_) = sorted((tmp_path / "killed/checkpoints").iterdir(), reverse=True)
    assert int(newest.stem) == (at - 1) // 3 * 3
    jax.tree.map(np.testing.assert_array_equal, supervise(tmp_path / "killed", **options), whole)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_measurements_are_read_once_for_each_program(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "at_once", lambda: 9)
    read, usual = [], jax.device_get
    monkeypatch.setattr(steps.jax, "device_get", lambda tree: read.append(tree) or usual(tree))
    supervise(tmp_path, validation=None, keep_epochs=False)
    measured = [tree for tree in read if isinstance(tree, tuple) and len(tree) == 2]
    assert [len(loss) for loss, _ in measured] == [9, 9]
    assert [step for step, _ in lines(tmp_path)] == [1, 4, 8, 12, 16, 18]  # the first, the last and those of epochs


@pytest.mark.parametrize(
    "changes",
    [
        {"data": OnDisk("on disk", 256, DATA.__getitem__, DATA.classes)},
        {"transform": lambda image, rng: image[:, ::-1]},
    ],
)
def test_images_on_disk_and_those_cut_by_the_host_are_streamed(changes, scanned, monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "at_once", lambda: 5)
    supervise(tmp_path, **changes)
    assert not scanned


def test_images_that_do_not_fit_are_streamed(scanned, monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "at_once", lambda: 5)
    monkeypatch.setattr(parallel, "memory", lambda: 4 * DATA.images.nbytes - 1)
    supervise(tmp_path / "streamed")
    assert not scanned
    monkeypatch.setattr(parallel, "memory", lambda: 4 * DATA.images.nbytes)
    supervise(tmp_path / "resident")
    assert scanned


def test_labels_out_of_range_are_refused_before_the_first_step(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "at_once", lambda: 5)
    wrong = InMemory(DATA.images, np.where(np.arange(256) == 99, 7, DATA.labels), DATA.classes)
    with pytest.raises(ValueError, match="Expected labels from 0 to 2, got 0 to 7"):
        supervise(tmp_path, wrong)
    assert not lines(tmp_path)


def test_training_continues_while_a_checkpoint_is_written(every, monkeypatch, tmp_path):
    """Each write waits for the line of the next step, which would never come if training waited."""
    reached, write, pack = threading.Semaphore(0), checkpoints.Log.write, checkpoints.checksums.pack
    written = []

    def log(self, **values):
        write(self, **values)
        if values["step"] > 1:
            reached.release()

    def slow(arrays, metadata):
        written.append(len(written) > 16 or reached.acquire(timeout=20))  # after the last steps there is none
        return pack(arrays, metadata)

    monkeypatch.setattr(checkpoints.Log, "write", log)
    monkeypatch.setattr(checkpoints.checksums, "pack", slow)
    supervise(tmp_path, validation=None, keep_epochs=False)
    assert len(written) == 19 and all(written)  # with the weights


class Named:
    """A data set of the user's, whose `images` are names and not pixels."""

    classes, images = DATA.classes, ["a.png"] * len(DATA)

    def __len__(self):
        return len(DATA)

    def __getitem__(self, index):
        return DATA[index]


@pytest.mark.parametrize("length", [1, 5])
def test_a_data_set_may_call_other_things_images(length, scanned, monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "at_once", lambda: length)
    supervise(tmp_path, Named(), validation=None, keep_epochs=False)
    assert not scanned
