"""Robustness of long runs: kills at random moments, full disks, unreadable files, concurrent runs in one directory.

Results equal those of the undisturbed run, or an error names the cause. `pytest -m slow tests/project/test_faults.py`
kills every kind of long run, 38 times in all. See also test_checksums.py (damaged bytes) and test_malformed.py.
"""

import dataclasses
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.lib import runner, workspace
from tests.experiments.test_runner import Config, command, experiment
from tests.helpers import small_gallery
from xai_jax.gallery import ResultsError, build
from xai_jax.io import files
from xai_jax.io.errors import UserError
from xai_jax.weights import safetensors_file

ROOT = Path(__file__).parents[2]
SMOKE = ("zeiler2014/occlusion", "springenberg2015/comparison")


def child(kind):
    return lambda folder: [sys.executable, "tests/helpers/faults_child.py", kind, str(folder)]


def figure(name):
    return lambda folder: command(name, "smoke", f"--workdir={folder}")


def everything(folder):
    only = [flag for name in SMOKE for flag in ("--only", name)]
    return [sys.executable, "scripts/reproduce.py", "--tier", "smoke", "--results", str(folder), *only]


# Kind of run -> (its command, number of kills).
RUNS = {kind: (child(kind), 4) for kind in ("training", "generator", "evolution", "activations", "gallery")} | {
    "inversion": (figure("mahendran2015/multiple"), 4),
    "dgn": (figure("nguyen2016/classes"), 4),
    "fooling": (figure("nguyen2015/direct"), 3),
    "captions": (figure("kim2018/captions"), 4),
    "reproduce": (everything, 3),
}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Starts a command with a compilation cache, so that a restarted run gets further."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("programs"))}
    cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

    def start(command):
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | cache, start_new_session=True, **quiet)

    return start


def finish(process):
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text


def kill_after(process, seconds):
    """Kills a run with its children, as a power failure does; returns whether it was still running."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def content(folder):
    """The results of a run: arrays without times, weights and pages."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name == "arrays.npz" or (path.suffix == ".npz" and path.parent == folder):
            found |= {f"{name}/{key}": value.tobytes() for key, value in np.load(path).items() if key[0] != "_"}
        elif path.suffix in (".safetensors", ".npy") or (path.suffix == ".html" and "reproduced" not in str(folder)):
            found[name] = path.read_bytes()
    return found


def survives(name, tmp_path, started, kills):
    """Kills a run at random moments within its run time, then completes it; returns the number of kills."""
    make, rng, counted = RUNS[name][0], random.Random(name), 0
    directory = "reproduced" if name == "reproduce" else name
    finish(started(make(tmp_path / "warm" / directory)))  # compiles
    start = time.monotonic()
    finish(started(make(tmp_path / "whole" / directory)))
    seconds = time.monotonic() - start
    while counted < kills:
        counted += kill_after(started(make(tmp_path / "killed" / directory)), rng.uniform(0.1, 0.9) * seconds)
    finish(started(make(tmp_path / "killed" / directory)))
    whole, killed = (content(tmp_path / each / directory) for each in ("whole", "killed"))
    assert whole and list(killed) == list(whole)
    assert [path for path in whole if killed[path] != whole[path]] == []
    return counted


@pytest.mark.kills
def test_survives_a_few_kills(tmp_path, started):
    assert survives("gallery", tmp_path, started, kills=2) == 2


@pytest.mark.kills
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_survives_kills_at_random_moments_bit_for_bit(name, tmp_path, started):
    counted = survives(name, tmp_path, started, RUNS[name][1])
    print(f"{name}: killed {counted} times")
    partial = [path for path in (tmp_path / "killed").rglob("*.part")]
    assert not partial or name in ("activations", "gallery")  # without a lock; partial files are hidden and never read


def test_a_second_run_is_refused_and_the_first_continues(tmp_path):
    quiet = experiment([])

    def disturbed(config, run):
        with pytest.raises(runner.UserError, match="Another run is working in"):
            runner.execute(quiet, Config(), tmp_path / "first", "smoke")
        return quiet.run(config, run)

    runner.execute(dataclasses.replace(quiet, run=disturbed), Config(), tmp_path / "first", "smoke")
    runner.execute(quiet, Config(), tmp_path / "alone", "smoke")
    assert content(tmp_path / "first") == content(tmp_path / "alone") != {}


@pytest.fixture
def small_disk():
    """Limits files to 4 kB: the writer sees what it sees on a full disk, with the kernel's signal ignored."""
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("write", ["weights", "stage"])
def test_a_file_that_does_not_fit_is_named_and_leaves_nothing(write, tmp_path, small_disk):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    large = {"a": np.zeros(5000)}
    with pytest.raises(OSError, match="File too large.*file'"):
        safetensors_file.write(path, large) if write == "weights" else workspace._write_stage(path, large)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_named_and_the_run_resumes_once_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        config, work = Config(size=5000), experiment([])
        with pytest.raises(OSError, match=r"No space left on device: '.*stage2\.npz'"):
            runner.execute(work, config, disk, "smoke")
        assert not (disk / "metrics.json").exists() and not list(disk.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        runner.execute(work, config, disk, "smoke")
        runner.execute(work, config, tmp_path / "whole", "smoke")
        assert content(disk) == content(tmp_path / "whole") != {}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("name", ["metrics.json", "config.json", "arrays.npz", "curve.png"])
def test_no_page_shows_results_of_which_a_bit_changed(name, tmp_path):
    """The page beside them and that of all figures are replaced by a note; others hold copies of earlier ones."""
    runner.execute(experiment([]), Config(), tmp_path / "paper/figure", "smoke")
    build(tmp_path)
    own, figures = tmp_path / "paper/figure/index.html", tmp_path / "figures.html"
    pages = {page: page.read_bytes() for page in tmp_path.rglob("*.html")}
    whole, rng, refused = (file := tmp_path / "paper/figure" / name).read_bytes(), np.random.default_rng(0), 0
    for index, bit in zip(rng.integers(len(whole), size=40), rng.integers(8, size=40), strict=True):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << bit
        file.write_bytes(damaged)
        try:
            build(tmp_path)
            note = {}
        except ResultsError as error:
            refused, note = refused + 1, {page: page.read_bytes() for page in (own, figures)}
            assert "paper/figure/" in str(error)
            for content in note.values():
                assert b"<img" not in content and b"These results are damaged" in content
        assert {page: page.read_bytes() for page in tmp_path.rglob("*.html")} == pages | note
    assert refused > 30  # the others changed whitespace, or names of checksums


def test_a_missing_or_foreign_figure_is_named(tmp_path):
    folder = tmp_path / "paper/figure"
    runner.execute(experiment([]), Config(), folder, "smoke")
    small_gallery.save_picture(folder / "curve.png")
    with pytest.raises(ResultsError, match="curve.png: expected what the experiment wrote, its checksum differs"):
        build(tmp_path)
    (folder / "arrays.npz").unlink()
    with pytest.raises(ResultsError, match="arrays.npz: expected what the experiment wrote, No such file"):
        build(tmp_path)


@pytest.mark.parametrize("name", ["stages/stage0.npz", "config.json", "metrics.json"])
def test_an_unreadable_path_is_named(name, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner.execute(experiment([], fail_after=2), Config(), tmp_path, "smoke")
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises((OSError, UserError), match=name):
        runner.execute(experiment([]), Config(), tmp_path, "smoke")


def test_a_dangling_link_is_replaced_by_the_file(tmp_path):
    (tmp_path / "file").symlink_to(tmp_path / "nowhere")
    files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and not (tmp_path / "file").is_symlink()
