"""Files of others in a working directory: never replaced, never removed; results are finished when all are whole."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from experiments.lib import configuration, manifest, runner
from experiments.lib.workspace import Workspace
from tests.experiments.test_runner import ROOT, Config, command, experiment
from tests.helpers.small_network import Small, small_data
from xai_jax import training
from xai_jax.gallery import build
from xai_jax.io.errors import TrainingError, UserError

FOREIGN = {
    name: f"the user's own {name}"
    for name in (
        *("photo.png", "data.npz", "training/labels.csv", "stages/plan.txt", "index.html", "old.part", "metrics.json"),
        *("config.json", "arrays.npz", "curve.png", ".hidden", "training/net/notes.txt"),
    )
}


def save(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FOREIGN[name])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("names", [[name] for name in FOREIGN if name != ".hidden"] + [list(FOREIGN)])
def test_a_directory_of_others_is_refused_and_stays_as_it_is(tmp_path, names, overwrite):
    save(tmp_path, names)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="Expected a new or empty directory"):
        runner.execute(experiment([]), Config(), tmp_path, "smoke", overwrite)
    assert contents(tmp_path) == before


def test_overwrite_removes_what_the_experiment_wrote_and_nothing_else(tmp_path):
    folder, names = tmp_path / "paper/figure", [n for n in FOREIGN if n.split("/")[0] in ("stages", "training")]
    names += ["photo.png", "data.npz", "old.part", ".hidden"]

    def run(config, work):
        for name in (
            "training.json",
            "metrics.jsonl",
            "weights.safetensors",
            "epochs/001.safetensors",
            ".training.lock",
        ):
            path = work.training("net") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"{}")
        work.path("training/seed-0.npz").touch()
        return experiment([]).run(config, work)

    runner.execute(dataclasses.replace(experiment([]), run=run), Config(), folder, "smoke")
    build(tmp_path)
    own = set(contents(folder))
    assert own >= {
        "index.html",
        "curve.png",
        "pages/a.html",
        "stages/stage0.npz",
        "training/net/epochs/001.safetensors",
    }
    save(folder, names)
    manifest.clear(folder)
    assert contents(folder) == {name: FOREIGN[name].encode() for name in names} | {".lock": b"", ".manifest": b""}
    assert not (folder / "pages").exists() and not (folder / "training/net/epochs").exists()


def test_a_file_in_the_way_is_named_and_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner.execute(experiment([], fail_after=2), Config(), tmp_path, "smoke")
    save(tmp_path, ["curve.png"])
    with pytest.raises(UserError, match=r"Expected no .*curve\.png, which the experiment writes"):
        runner.execute(experiment(calls := []), Config(), tmp_path, "smoke")
    assert (tmp_path / "curve.png").read_text() == FOREIGN["curve.png"] and not (tmp_path / "metrics.json").exists()
    (tmp_path / "curve.png").unlink()
    runner.execute(experiment(calls), Config(), tmp_path, "smoke")
    assert calls == [2]


@pytest.mark.parametrize("line", ["../outside.txt", "/{tmp}/outside.txt", "link/outside.txt", "a\0", "", "."])
def test_a_manifest_of_others_leads_nowhere_else(tmp_path, line):
    folder = tmp_path / "results"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("mine")
    (folder / "link").symlink_to(tmp_path)
    (folder / ".manifest").write_text(line.format(tmp=tmp_path) + "\n")
    manifest.clear(folder)
    assert (tmp_path / "outside.txt").read_text() == "mine" and folder.is_dir()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [flip, os.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["curve.png", "arrays.npz", "metrics.json", "pages/a.html"])
def test_damaged_results_are_made_again_from_their_stages(tmp_path, name, harm):
    runner.execute(experiment([]), Config(), tmp_path, "smoke")
    before = contents(tmp_path)
    harm(tmp_path / name)
    runner.execute(experiment(calls := []), Config(), tmp_path, "smoke")
    after = contents(tmp_path)
    assert not calls and {**after, "metrics.json": b""} == {**before, "metrics.json": b""}
    runner.execute(dataclasses.replace(experiment([]), run=None), Config(), tmp_path, "smoke")  # finished


def test_a_kill_while_results_are_removed_never_leaves_finished_ones(tmp_path, monkeypatch):
    runner.execute(experiment([]), Config(), tmp_path, "smoke")
    unlink, removed = type(tmp_path).unlink, []

    def counted(path, missing_ok=False):
        removed.append(path.name)
        assert path.name == "metrics.json" or not (tmp_path / "metrics.json").exists()
        unlink(path, missing_ok)

    monkeypatch.setattr(type(tmp_path), "unlink", counted)
    manifest.clear(tmp_path)
    assert removed[0] == "metrics.json" and "config.json" in removed


def test_temporary_files_of_a_killed_run_are_removed_by_the_next(tmp_path):
    code = (
        "import os, signal, dataclasses, pathlib; from tests.experiments.test_manifest import *; import tempfile\n"
        "def run(config, work): open(tempfile.mkdtemp() + '/large.npy', 'w').close(); os.kill(os.getpid(), 9)\n"
        "killed = dataclasses.replace(experiment([]), run=run)\n"
        f"runner.execute(killed, Config(), pathlib.Path({str(tmp_path)!r}), 'smoke')"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -9
    assert [path.name for path in tmp_path.rglob("*.npy")] == ["large.npy"]
    usual = tempfile.gettempdir()
    runner.execute(experiment([]), Config(), tmp_path, "smoke")
    assert not list(tmp_path.rglob("*.npy")) and not (tmp_path / ".temporary").exists()
    assert tempfile.gettempdir() == usual


def test_a_configuration_that_fails_at_once_does_not_occupy_the_directory(tmp_path):
    def run(config, work):
        raise ValueError("Expected at least 1 image, got 0.")

    with pytest.raises(ValueError, match="at least 1 image"):
        runner.execute(dataclasses.replace(experiment([]), run=run), Config(size=4), tmp_path, "smoke")
    runner.execute(experiment([]), Config(), tmp_path, "smoke")
    assert json.loads((tmp_path / "config.json").read_text())["size"] == 3


def test_training_that_fails_before_its_first_checkpoint_does_not_occupy_the_directory(tmp_path):
    def run(config, work):
        recipe = training.Recipe(epochs=1, batch_size=64, learning_rate=0.1 if config.size == 3 else 1e30)
        training.fit(Small(), small_data(128), recipe, work.training("net"), seed=0)
        return experiment([]).run(config, work)

    trains = dataclasses.replace(experiment([]), run=run)
    with pytest.raises(TrainingError, match="high learning rate"):
        runner.execute(trains, Config(size=4), tmp_path, "smoke")
    runner.execute(trains, Config(), tmp_path, "smoke")
    with pytest.raises(UserError, match="size: 3 there, 4 now"):
        runner.execute(trains, Config(size=4), tmp_path, "smoke")


@dataclasses.dataclass
class Lists(Config):
    seeds: tuple[int, ...] = (0, 1)
    patience: int = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "--config.size of at least 1, got 0"),
        ({"size": -2}, "--config.size of at least 1, got -2"),
        ({"seeds": ()}, "at least one value in --config.seeds, got none"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        runner.execute(experiment([]), Lists(**change), tmp_path / "new", "smoke")
    assert not (tmp_path / "new").exists()
    configuration.check(Lists(patience=0, seed=0))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir="], "Expected --workdir"),
        (["--workdir=new", "--config.count=0"], "Expected --config.count of at least 1, got 0."),
    ],
)
def test_wrong_values_on_the_command_line_take_one_line(tmp_path, flags, message):
    run = command("zeiler2014/occlusion", "smoke", *flags)
    run[3] = f"--config={ROOT / 'configs/zeiler2014/occlusion.py'}:smoke"
    done = subprocess.run(run, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode and message in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_workspace_makes_directories_of_its_files(tmp_path):
    work = Workspace(tmp_path, "fingerprint")
    work.stage("a", lambda: {"x": np.zeros(2)})
    assert work.training("net") == tmp_path / "training/net" and work.path("b/c.txt").parent.is_dir()
    assert manifest.read(tmp_path) == ["stages/a.npz", "training/net/", "b/c.txt"]
