"""One device, eight devices and two processes train the same network; a lost process ends the others without loss."""

import signal
import socket

import numpy as np
import pytest

from tests.helpers.training_child import files, finish, kill_when, start, steps_logged
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


def test_eight_devices_give_the_same_curve(single, tmp_path):
    status, text = finish(start(tmp_path, "--devices=8"))
    assert status == 0 and "ends with 8 devices" in text, text
    np.testing.assert_allclose(curve(tmp_path), curve(single), rtol=1e-4)


def test_two_processes_give_the_same_curve(single, tmp_path):
    for process in start_two(tmp_path):
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
@pytest.mark.parametrize(
    "lines", [3, pytest.param(1, marks=pytest.mark.slow), pytest.param(11, marks=pytest.mark.slow)]
)
def test_survives_sigkill_bit_for_bit(tmp_path, lines):
    killed = start(tmp_path / "killed")
    kill_when(killed, lambda: steps_logged(tmp_path / "killed") >= lines)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "killed/weights.safetensors").exists()
    for name in ("killed", "whole"):
        status, text = finish(start(tmp_path / name))
        assert status == 0, text
    killed, whole = files(tmp_path / "killed"), files(tmp_path / "whole")
    assert list(killed) == list(whole)
    for path in whole:
        if path.suffix == ".safetensors":
            assert killed[path] == whole[path], path
    np.testing.assert_array_equal(curve(tmp_path / "killed"), curve(tmp_path / "whole"))
