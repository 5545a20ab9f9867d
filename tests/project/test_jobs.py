"""Parallel jobs of reproduce.sh on a machine with GPUs."""

import importlib
import sys

import pytest

from tests.helpers.scripts import ROOT


@pytest.mark.filterwarnings("ignore:os.fork")  # JAX is imported in this process, unlike in the script's
def test_parallel_jobs_divide_the_gpus(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    jobs = importlib.import_module("jobs")
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(jobs, "DEVICE_FILES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def divided(at_once):
        return [share.gpus for share in jobs.shares(at_once)]

    assert divided(2) == ["", ""]  # no package for them
    monkeypatch.setattr(jobs.importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin")
    assert divided(1) == [""] and divided(4) == ["0", "1", "2", "3"]
    assert divided(2) == ["0,2", "1,3"] and divided(5) == ["0", "1", "2", "3", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert divided(2) == ["GPU-a", "GPU-b"]
    job = jobs.Job(
        "a", "a", [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"], tmp_path / "log"
    )
    with open(tmp_path / "lock", "w") as lock:
        child = jobs.start(job, tmp_path, jobs.Share(gpus="GPU-b"), lock)
        assert child.process.wait() == 0
    jobs.lifetime.unwatch(child.watcher)
    assert job.log.read_text().splitlines()[-1] == "GPU-b"
