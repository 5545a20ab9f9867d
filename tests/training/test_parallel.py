"""One device, eight devices and two processes train the same network; a lost process ends the others without loss."""

import os
import signal
import socket
import subprocess
import sys
from unittest.mock import ANY

import numpy as np
import pytest

from tests.helpers.training_child import ROOT, files, finish, kill_when, start, steps_logged
from xai_jax.io.errors import TrainingError
from xai_jax.training import parallel, supervised


def curve(workdir):
    return np.array([line.get("loss", line.get("top1")) for line in supervised.metrics(workdir)])


def address():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def start_two(workdir, *flags):
    where = address()
    return [start(workdir, f"--process={where},2,{index}", *flags) for index in range(2)]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("single")
    status, text = finish(start(workdir))
    assert status == 0, text
    return workdir


@pytest.mark.parametrize("at_once", [1, 3])
def test_eight_devices_give_the_same_curve(single, tmp_path, at_once):
    status, text = finish(start(tmp_path, "--devices=8", f"--at_once={at_once}"))
    assert status == 0 and "ends with 8 devices" in text, text
    np.testing.assert_allclose(curve(tmp_path), curve(single), rtol=1e-4)


@pytest.mark.parametrize("at_once", [1, 3])
def test_two_processes_give_the_same_curve(single, tmp_path, at_once):
    for process in start_two(tmp_path, f"--at_once={at_once}"):
        status, text = finish(process)
        assert status == 0 and "ends with 2 devices" in text, text
    np.testing.assert_allclose(curve(tmp_path), curve(single), rtol=1e-4)
    assert list(files(tmp_path)) == list(files(single))


@pytest.mark.kills
@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_lost_process_ends_the_run_and_the_next_start_goes_on(single, tmp_path, victim):
    processes = start_two(tmp_path)
    kill_when(processes[victim], lambda: steps_logged(tmp_path) >= 6)
    status, text = finish(processes[1 - victim])
    assert status == 3 and f"Process {1 - victim} of 2 lost another one" in text and "Start all processes again" in text
    assert not (tmp_path / "weights.safetensors").exists()
    for process in start_two(tmp_path):
        status, text = finish(process)
        assert status == 0, text
    np.testing.assert_allclose(curve(tmp_path), curve(single), rtol=1e-4)


def test_a_process_that_is_alone_says_so():
    with pytest.raises(TrainingError, match="Could not join the other processes at .* as number 5 of 2"):
        parallel.join(address(), 2, 5)


@pytest.mark.kills
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize(
    "lines", [3, pytest.param(1, marks=pytest.mark.slow), pytest.param(11, marks=pytest.mark.slow)]
)
def test_survives_sigkill_bit_for_bit(tmp_path, lines, at_once):
    flag = f"--at_once={at_once}"
    killed = start(tmp_path / "killed", flag)
    kill_when(killed, lambda: steps_logged(tmp_path / "killed") >= lines)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "killed/weights.safetensors").exists()
    for name in ("killed", "whole"):
        status, text = finish(start(tmp_path / name, flag))
        assert status == 0, text
    killed, whole = files(tmp_path / "killed"), files(tmp_path / "whole")
    assert list(killed) == list(whole)
    for path in whole:
        if path.suffix == ".safetensors":
            assert killed[path] == whole[path], path
    np.testing.assert_array_equal(curve(tmp_path / "killed"), curve(tmp_path / "whole"))


INDEPENDENT = """
import os, signal, sys, threading, time
from functools import partial
import jax
from tests.helpers.small_network import Small, small_data
from xai_jax.io.errors import TrainingError
from xai_jax.training import checkpoints, loop, parallel, steps, supervised

folder, kind = sys.argv[1:]
data, recipe, used = small_data(256), supervised.Recipe(epochs=3, batch_size=64, learning_rate=0.05), {}
steps.at_once, loop.LOG_EVERY = lambda: 3, 1
together, write = threading.Barrier(3, timeout=60), checkpoints.Log.write

def log(self, step, **values):
    write(self, step=step, **values)
    number = int(self._path.parent.name)
    used[number] = parallel.devices()
    if step == 1 and kind != "one after another":
        together.wait()  # passes only if three train at once
        if kind == "fails" and number == 1:
            raise KeyError("number 1")
        if kind == "ended" and number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if kind != "at once":
            while number != 1 and not supervised.loop.preemption._ending[-1].is_set():
                time.sleep(0.01)

checkpoints.Log.write = log
fit = [partial(supervised.fit, Small(), data, recipe, f"{folder}/{seed}", seed=seed) for seed in range(3)]
if kind == "one after another":
    [call() for call in fit]
    assert all(len(devices) == 4 for devices in used.values())
else:
    try:
        parallel.independent(fit)
    finally:
        assert len({devices[0] for devices in used.values()}) == 3 and all(len(each) == 1 for each in used.values())
"""


def run_independent(folder, kind):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INDEPENDENT, str(folder), kind]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def one_after_another(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordered")
    assert run_independent(folder, "one after another") == (0, ANY)
    return folder


def test_independent_trainings_run_at_once_on_a_device_each(one_after_another, tmp_path):
    status, text = run_independent(tmp_path, "at once")
    assert status == 0, text
    for seed in "012":
        np.testing.assert_allclose(curve(tmp_path / seed), curve(one_after_another / seed), rtol=1e-4)


@pytest.mark.parametrize(
    "kind, expected, words", [("fails", 1, "KeyError: 'number 1'"), ("ended", -signal.SIGTERM, "")]
)
def test_a_failure_or_sigterm_ends_all_trainings_after_a_checkpoint(one_after_another, tmp_path, kind, expected, words):
    status, text = run_independent(tmp_path, kind)
    assert status == expected and words in text, text
    assert (tmp_path / "0/checkpoints/000000003.safetensors").exists()
    status, text = run_independent(tmp_path, "one after another")
    assert status == 0, text
    for seed in "012":
        np.testing.assert_allclose(curve(tmp_path / seed), curve(one_after_another / seed), rtol=1e-4)
