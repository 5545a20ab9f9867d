"""The contract of experiments: outputs, resuming after SIGKILL, locking, damaged files, and the dry run."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.lib import dry_run, runner, statistics, workspace
from experiments.lib.report import Claim, Number, Panel, Report
from tests.helpers.training_child import kill_when
from xai_jax.io import checksums

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass
class Config:
    size: int = 3
    seed: int = 0


def experiment(calls, fail_after=None):
    def run(config, work):
        for stage in range(3):
            if fail_after == stage:
                raise KeyboardInterrupt

            def compute(stage=stage):
                calls.append(stage)
                return {"values": np.random.default_rng([config.seed, stage]).normal(size=config.size)}

            found = work.stage(f"stage{stage}", compute)
        figure = Figure()
        figure.subplots().plot(found["values"])
        numbers = [Number("mean", found["values"].mean(), np.float32(np.nan), paper=1.0)]
        claims = [Claim("It works.", "section 1", statistics.decide(np.float64(0.01), text="p = 0.01"), "it did")]
        return Report(numbers, claims, [Panel("curve", figure, "A curve.", "A line.")], {"pages/a.html": b"page"})

    return runner.Experiment("paper/figure", "Title", "Fig. 1", "Paper 2014", "Summary.", run, lambda config: [])


def test_writes_the_contract(tmp_path):
    runner.execute(experiment([]), Config(), tmp_path / "a" / "b", "smoke")
    workdir = tmp_path / "a" / "b"
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics["experiment"] == "paper/figure" and metrics["tier"] == "smoke" and metrics["seed"] == 0
    assert metrics["figures"] == [{"file": "curve.png", "caption": "A curve.", "alt": "A line."}]
    (number,) = metrics["numbers"]
    assert number["spread"] is None and number["paper"] == 1.0 and isinstance(number["value"], float)
    assert json.loads((workdir / "config.json").read_text())["size"] == 3
    assert sorted(np.load(workdir / "arrays.npz")) == ["stage0/values", "stage1/values", "stage2/values"]
    assert (workdir / "curve.png").read_bytes().startswith(b"\x89PNG")
    verdict = {"verdict": "supported", "tested": True, "p": 0.01, "opposite_p": 0.99}
    claim = {"claim": "It works.", "source": "section 1", **verdict, "measured": "it did; p = 0.01"}
    assert metrics["claims"] == [claim]
    assert (workdir / "pages/a.html").read_bytes() == b"page" and metrics["order"] == 1000
    assert sorted(metrics["files"]) == ["arrays.npz", "config.json", "curve.png", "pages/a.html"]
    assert checksums.is_intact(metrics) and not checksums.is_intact(metrics | {"title": "Another"})
    assert metrics["files"]["curve.png"] == checksums.sha256((workdir / "curve.png").read_bytes())
    assert not list(workdir.rglob("*.part"))


def test_resumes_where_it_stopped_and_ends_the_same(tmp_path):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        runner.execute(experiment(calls, fail_after=2), Config(), tmp_path / "killed", "smoke")
    assert not (tmp_path / "killed" / "metrics.json").exists()
    runner.execute(experiment(calls), Config(), tmp_path / "killed", "smoke")
    assert calls == [0, 1, 2]
    runner.execute(experiment([]), Config(), tmp_path / "whole", "smoke")
    assert_same_arrays(tmp_path)


def assert_same_arrays(directory):
    killed, whole = (np.load(directory / name / "arrays.npz") for name in ("killed", "whole"))
    assert list(killed) == list(whole)
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name])


def test_finished_returns_at_once_and_overwrite_recomputes_what_is_the_runs(tmp_path, capsys):
    calls = []
    for overwrite in (False, False, True):
        runner.execute(experiment(calls), Config(), tmp_path, "smoke", overwrite)
        (tmp_path / "notes.txt").write_text("the user's own")
    assert calls == [0, 1, 2] * 2 and (tmp_path / "notes.txt").exists()
    assert "finished before" in capsys.readouterr().out


def test_another_or_a_damaged_configuration_is_refused_by_name(tmp_path):
    runner.execute(experiment([]), Config(), tmp_path, "smoke")
    before = (tmp_path / "metrics.json").read_bytes()
    with pytest.raises(runner.UserError, match=r"size: 3 there, 4 now.*--overwrite"):
        runner.execute(experiment([]), Config(size=4), tmp_path, "smoke")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(runner.UserError, match="config.json is damaged"):
        runner.execute(experiment([]), Config(), tmp_path, "smoke")
    assert (tmp_path / "metrics.json").read_bytes() == before


def test_stages_of_another_configuration_or_damaged_ones_are_computed_again(tmp_path):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        runner.execute(experiment(calls, fail_after=2), Config(), tmp_path, "smoke")
    stage = tmp_path / "stages" / "stage0.npz"
    stage.write_bytes(stage.read_bytes()[:-40])
    runner.execute(experiment(calls), Config(), tmp_path, "smoke")
    assert calls == [0, 1, 0, 2]


@dataclasses.dataclass
class WithFiles(Config):
    weights: str = ""
    files: tuple[str, ...] = ()
    folder: str = ""


def test_results_belong_to_the_content_of_files_and_not_to_their_names(tmp_path):
    path, folder, workdir = tmp_path / "weights.safetensors", tmp_path / "lesions", tmp_path / "results"
    folder.mkdir()
    path.write_bytes(b"first")
    config = WithFiles(weights=str(path), files=(str(path), "none.caffemodel"), folder=str(folder))
    runner.execute(experiment([]), config, workdir, "smoke")
    runner.execute(experiment(calls := []), config, workdir, "smoke")
    assert not calls
    path.write_bytes(b"other")
    with pytest.raises(runner.UserError, match=r"\(files.weights: \w+... there, \w+... now; files.files: .* now\)"):
        runner.execute(experiment([]), config, workdir, "smoke")
    path.write_bytes(b"first")
    (folder / "image.png").write_bytes(b"new")
    with pytest.raises(runner.UserError, match=r"\(files.folder: \w+... there, \w+... now\)"):
        runner.execute(experiment([]), config, workdir, "smoke")


def test_stages_of_another_precision_are_computed_again(tmp_path):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        runner.execute(experiment(calls, fail_after=2), Config(), tmp_path, "smoke")
    with jax.default_matmul_precision("highest"):
        runner.execute(experiment(calls), Config(), tmp_path, "smoke")
    assert calls == [0, 1, 0, 1, 2]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["precision"].values()) == {"highest"} and metrics["versions"]["jax"] == jax.__version__


def test_a_run_that_another_version_of_jax_began_computes_its_stages_again(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        runner.execute(experiment(calls := [], fail_after=2), Config(), tmp_path, "smoke")
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    runner.execute(experiment(calls), Config(), tmp_path, "smoke")
    assert calls == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("first, second", [(0.695, 0.7049), (0.1 + 0.2, 0.3), (1e-7, 1.0000001e-7)])
def test_different_numbers_have_different_names(first, second):
    assert workspace.exact(first) != workspace.exact(second) and float(workspace.exact(first)) == first


def command(figure, *flags):
    paper, name = figure.split("/")
    flags = [f"--config=configs/{paper}/{name}.py:{flags[0]}", *flags[1:]]
    return [sys.executable, "-m", f"experiments.{paper}.{name}", *flags]


FIGURES = sorted(f"{path.parent.name}/{path.stem}" for path in ROOT.glob("configs/*/[!_]*.py"))
KILLED = {"mahendran2015/multiple", "zeiler2014/occlusion"}  # the others are slow


@pytest.mark.kills
@pytest.mark.parametrize(
    "figure", [pytest.param(name, marks=[pytest.mark.slow] * (name not in KILLED)) for name in FIGURES]
)
def test_smoke_survives_sigkill_with_the_same_arrays(figure, tmp_path):
    flags = "smoke", f"--workdir={tmp_path / 'killed'}"
    process = subprocess.Popen(command(figure, *flags), cwd=ROOT, stderr=subprocess.DEVNULL)
    kill_when(process, lambda: any((tmp_path / "killed" / "stages").glob("*.npz")))
    assert not (tmp_path / "killed" / "metrics.json").exists()
    subprocess.run(command(figure, *flags), cwd=ROOT, check=True)
    subprocess.run(command(figure, "smoke", f"--workdir={tmp_path / 'whole'}"), cwd=ROOT, check=True)
    assert_same_arrays(tmp_path)
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert metrics["claims"] and metrics["numbers"]
    assert all((tmp_path / "whole" / f["file"]).exists() and f["alt"] and f["caption"] for f in metrics["figures"])


def test_a_dry_run_reports_its_cost():
    done = subprocess.run(
        command("mahendran2015/multiple", "paper", "--dry_run"), cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "All steps lower for cuda and tpu" in done.stdout and "hours on one A100" in done.stdout


@pytest.mark.parametrize(
    "flags, words",
    [
        (["smoke"], "Expected --workdir"),
        (["nope", "--workdir=x"], "Expected a tier out of smoke, default, paper, got 'nope'"),
        (["smoke", "--workdir=x", "--config.count=many"], "Expected --config.count to be an integer, got 'many'."),
        (["smoke", "--workdir=x", "--config.pach=40"], "got --config.pach; did you mean patch?"),
        (["smoke", "--workdir=x", "--config.zzz=40"], "got --config.zzz; it has seed, images, count, "),
        (["smoke", "--workdir=x", "--config=configs/none.py:smoke"], "found no file 'configs/none.py'"),
        (["smoke", "--workdir=x", "--config=configs/mahendran2015/layers.py:smoke"], "that of another figure"),
        (["smoke", "--workdir=README.md"], "--workdir=README.md is a file"),
    ],
)
def test_mistakes_on_the_command_line(flags, words, tmp_path):
    done = subprocess.run(command("zeiler2014/occlusion", *flags), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and words in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr
    assert not (ROOT / "x").exists()


def test_errors_of_the_disk_take_one_line(tmp_path):
    run = command("zeiler2014/occlusion", "smoke", f"--workdir={tmp_path / 'file' / 'results'}")
    (tmp_path / "file").write_text("no folder")
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"zeiler2014/occlusion: [Errno 20] Not a directory: '{tmp_path}" in done.stderr.splitlines()[-1]


def test_dry_run_counts_and_fails_on_shapes():
    a, b = jax.ShapeDtypeStruct((64, 32), jnp.float32), jax.ShapeDtypeStruct((32, 16), jnp.float32)
    step = dry_run.Step("product", jnp.dot, (a, b), 10)
    cost = dry_run.cost(step)
    assert cost.parameters == 64 * 32 and cost.memory >= 4 * (64 * 32 + 32 * 16 + 64 * 16)
    np.testing.assert_allclose(cost.flops, 2 * 64 * 32 * 16, rtol=0.01)
    assert "product" in dry_run.report("paper/figure", [step], "V100")
    with pytest.raises(TypeError):
        dry_run.cost(dry_run.Step("wrong", jnp.dot, (a, a)))
