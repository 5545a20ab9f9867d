"""reproduce.sh: plan, jobs, failing experiments, and wrong arguments; test_interruption.py has interruptions."""

import dataclasses
import importlib
import os
import pty
import re
import shutil
import subprocess
import sys

import pytest

from experiments.lib import completion
from tests.helpers.scripts import MINUTES, ROOT, bash, reproduce_command, write_experiment


@pytest.fixture
def reproduce(project):
    def run(*arguments):
        command = reproduce_command(project, *arguments)
        return subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=60)

    return run


def finish(project, name, tier="default", steps=3):
    """The files of a finished run that are checked."""
    workdir = project / "results" / name
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(completion.description(name, tier, Steps(steps)))
    (workdir / "metrics.json").write_text('{"checksum": ""}')
    return workdir


@dataclasses.dataclass
class Steps:
    steps: int


def test_plan_and_list_have_the_expected_time_and_run_nothing(reproduce, project):
    done = reproduce("--plan")
    head, *names, last = (line.strip() for line in done.stdout.splitlines())
    assert done.returncode == 0 and names == list(MINUTES) and last == "then the gallery."
    assert head.startswith("3 experiment(s), tier default") and "3 to run, about 40 minutes on 2 cores" in head
    assert "minutes" not in reproduce("--plan", "--tier", "smoke").stdout
    lines = reproduce("--list").stdout.splitlines()
    assert lines[0] == "alpha2001: 2 experiment(s), about 2 minutes on 2 cores"
    assert lines[1].split(maxsplit=3) == ["alpha2001/one", "2", "min", "Title of alpha2001/one (Fig. 3)"]
    assert lines[-1].startswith("all: 3 experiment(s), about 40 minutes on 2 cores")
    assert "alpha2001" not in reproduce("--list", "--only", "beta2002").stdout
    assert not (project / "results").exists()


@pytest.mark.parametrize("results", ["taken/results", "/proc/none"])
def test_results_that_cannot_be_made_take_one_line(reproduce, project, results):
    (project / "taken").write_text("")
    done = reproduce("--results", results)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"reproduce: --results: expected a directory that can be made, got .*: .*\n", done.stderr)


def test_options_of_the_experiments_are_passed_on(monkeypatch):
    reproduce = _reproduce_module(monkeypatch)
    arguments = reproduce.parse(["--deterministic", "--overwrite", "--tier", "smoke"])
    (job,) = reproduce.planned([reproduce.Experiment("a", "b")], set(), arguments, "results", ROOT)
    assert job.command[-2:] == ["--overwrite", "--deterministic"]
    (job,) = reproduce.planned([reproduce.Experiment("a", "b")], set(), reproduce.parse([]), "results", ROOT)
    assert job.command[-1] == "--workdir=results/a/b"


def test_list_may_be_cut_short(project):
    for number in range(3000):  # more than a pipe holds
        write_experiment(project, f"gamma2003/{number}", "")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(reproduce_command(project, "--list"), cwd=project, **pipes) as listing:
        assert listing.stdout.readline().startswith("alpha2001")
        listing.stdout.close()
        assert listing.stderr.read() == ""


def test_missing_experiments_are_named(reproduce, project):
    (project / "experiments/alpha2001/one.py").unlink()
    done = reproduce("--list")
    assert done.returncode == 2 and "expected experiments/alpha2001/one.py" in done.stderr
    shutil.rmtree(project / "configs")
    done = reproduce("--list")
    assert done.returncode == 2 and "found none; is the checkout complete?" in done.stderr


def test_every_experiment_of_this_project_has_expected_minutes_a_title_and_a_figure(monkeypatch):
    module = _reproduce_module(monkeypatch)
    experiments = module.discover(ROOT)
    assert [experiment.name for experiment in experiments if not experiment.minutes] == []
    constants = {experiment.name: module.constants(experiment.name, ROOT) for experiment in experiments}
    assert [name for name, known in constants.items() if not (known.get("title") and known.get("figure"))] == []


def test_a_failing_experiment_is_reported_and_the_rest_runs_longest_first(reproduce, project):
    done = reproduce("--overwrite", "--jobs", "1")
    assert done.returncode == 1
    assert (project / "order.txt").read_text().split() == ["beta2002/three", "alpha2001/one"]
    assert re.search(r"^\[2/3\] alpha2001/two +FAILED +0:0\d$", done.stdout, re.MULTILINE)
    log = project / "results/logs/alpha2001_two.log"
    *_, head, shown = done.stderr.split("\n\n")[0].partition(f"alpha2001/two: exit status 1; the end of {log}:\n")
    assert head and shown.split()[-4:] == ["29", "done", "the", "reason"] and "first" not in shown
    assert log.read_text().startswith("$ ") and "first" in log.read_text()
    assert done.stderr.strip().endswith("reproduce: 1 failed: alpha2001/two")
    flags = (project / "results/beta2002/three/argv.txt").read_text().split()
    assert flags == ["--config=configs/beta2002/three.py:default", "--workdir=results/beta2002/three", "--overwrite"]
    assert f"gallery: {project}/results/index.html" in done.stdout
    assert (project / "results/index.html").read_text() == "gallery"


def test_each_experiment_has_one_line_and_its_output_in_a_log(reproduce, tmp_path):
    selected = "--only", "alpha2001/one", "--only", "beta2002"
    done = reproduce(*selected, "--jobs", "2", "--results", str(tmp_path / "elsewhere"))
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert sorted(re.sub(r"0:0\d", "0:00", line) for line in lines) == [
        "[1/2] alpha2001/one   done       0:00, expected 2:00",
        "[2/2] beta2002/three  done       0:00, expected 40:00",
    ]
    assert "what the experiment prints" not in done.stdout
    for name in ("alpha2001_one", "beta2002_three"):
        assert "what the experiment prints" in (tmp_path / f"elsewhere/logs/{name}.log").read_text()
    assert sorted(path.parent.name for path in tmp_path.glob("elsewhere/*/*/argv.txt")) == ["one", "three"]


def test_finished_experiments_start_no_process(reproduce, project):
    for name in ("alpha2001/one", "alpha2001/two"):
        finish(project, name)
    done = reproduce()
    assert done.returncode == 0, done.stderr
    assert (project / "order.txt").read_text().split() == ["beta2002/three"]
    assert re.search(r"^\[1/3\] alpha2001/one +finished before$", done.stdout, re.MULTILINE)
    assert "1 to run, about 40 minutes" in done.stdout


@pytest.fixture
def toured(project):
    """The project with two experiments in its tour, both done once the gallery has grown."""
    for name in ("alpha2001/one", "beta2002/three"):
        path = project / f"experiments/{name}.py"
        path.write_text(path.read_text().replace("minutes=", f'look="at {name}", minutes='))
    gallery = project / "xai_jax/gallery/__main__.py"
    gallery.write_text(gallery.read_text() + 'pathlib.Path("order.txt").open("a").write("gallery ")\n')
    return project


def test_the_tour_runs_shortest_first_while_the_gallery_grows(reproduce, toured):
    assert "2 experiment(s), tier default" in reproduce("--plan").stdout
    assert "tour: alpha2001/one, beta2002/three: about 40 minutes on 2 cores" in reproduce("--list").stdout
    done = reproduce("--jobs", "1")
    assert done.returncode == 0, done.stderr
    order = "alpha2001/one gallery beta2002/three gallery gallery"
    assert (toured / "order.txt").read_text() == f"{order} "
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("[1/2] alpha2001/one"))
    page = toured / "results/index.html"
    assert lines[at + 1 : at + 3] == ["      look: at alpha2001/one", f"      gallery, which grows: {page}"]


@pytest.mark.parametrize("arguments", [["--all"], ["--tier", "smoke"], ["--only", "alpha2001", "--only", "beta2002"]])
def test_everything_runs_on_request(reproduce, toured, arguments):
    """The tour first, then the longest first."""
    assert "3 experiment(s)" in reproduce(*arguments, "--plan").stdout
    assert reproduce(*arguments, "--jobs", "1").returncode == 1  # alpha2001/two fails
    order = (toured / "order.txt").read_text().replace("gallery ", "").split()
    assert order == ["alpha2001/one", "beta2002/three"]


def test_of_the_tour_the_shortest_comes_first_and_then_the_longest(monkeypatch):
    module = _reproduce_module(monkeypatch)
    minutes = {"a": (2, ""), "b": (5, "look"), "c": (1, "look"), "d": (3, "look"), "e": (9, "")}
    plan = [module.jobs.Job(name, name, [], ROOT, *each) for name, each in minutes.items()]
    assert [job.name for job in module.jobs.in_order(plan)] == list("cbdea")
    assert [job.name for job in module.jobs.in_order(plan[:1] + plan[4:])] == list("ea")


def test_the_tour_of_this_project_shows_every_method(monkeypatch):
    experiments = [e for e in _reproduce_module(monkeypatch).discover(ROOT) if e.look]
    papers = {"zeiler2014", "mahendran2015", "springenberg2015", "nguyen2015", "nguyen2016", "kim2018"}
    assert {e.paper for e in experiments} == papers and sum(e.minutes for e in experiments) / 2 < 10


@pytest.mark.parametrize("change", ["configuration", "tier", "unfinished", "damaged", "broken", "overwrite"])
def test_what_is_not_finished_exactly_so_runs(reproduce, project, change):
    workdir = finish(project, "beta2002/three", *{"configuration": ("default", 4), "tier": ("paper",)}.get(change, ()))
    changes = {
        "unfinished": (workdir / "metrics.json").unlink,
        "damaged": lambda: (workdir / "config.json").write_bytes(b"\xff{"),
        "broken": lambda: (project / "configs/beta2002/three.py").write_text("no Python"),
    }
    changes.get(change, bool)()
    reproduce("--only", "beta2002", *["--overwrite"] * (change == "overwrite"))
    assert (project / "order.txt").read_text().split() == ["beta2002/three"]


def test_two_run_at_once_but_one_on_an_accelerator(monkeypatch):
    jobs = _reproduce_module(monkeypatch).jobs
    for installed, at_once in {"": 2, "jax_cuda12_plugin": 1, "jax_cuda13_plugin": 1, "libtpu": 1}.items():
        monkeypatch.setattr(jobs.importlib.util, "find_spec", lambda name, installed=installed: name == installed)
        assert jobs.usual() == at_once


def test_minutes_are_those_of_two_at_once_or_of_the_longest(monkeypatch):
    module = _reproduce_module(monkeypatch)
    experiments = [module.Experiment("p", "f", minutes) for minutes in (3, 4, 5, None)]
    assert module.expected(experiments) == "about 6 minutes on 2 cores"
    assert module.expected(experiments[2:]) == "about 5 minutes on 2 cores"
    assert module.expected([]) == "about 0 minutes on 2 cores"


def _cores(project, *arguments):
    """Cores of alpha2001/one and alpha2001/two, which write them to files of their own."""
    subprocess.run(reproduce_command(project, *arguments), cwd=project, check=True, timeout=30)
    return [set(map(int, path.read_text().split())) for path in sorted(project.glob("cores_*"))]


def test_parallel_jobs_have_cores_of_their_own_and_a_single_one_all(project):
    """Each of two waits for the other's file, which would never end if they ran one by one."""
    code = """
import os, pathlib, sys, time
mine, other = (pathlib.Path(f"cores_{name}") for name in ("NAME", "OTHER"))
mine.write_text(" ".join(map(str, os.sched_getaffinity(0))))
while not other.exists():
    time.sleep(0.02)
"""
    for mine, other in (("one", "two"), ("two", "one")):
        write_experiment(project, f"alpha2001/{mine}", code.replace("NAME", mine).replace("OTHER", other))
    first, second = _cores(project, "--only", "alpha2001", "--jobs", "2")
    own = os.sched_getaffinity(0)
    assert first | second == own and (len(own) < 2 or not first & second)
    assert _cores(project, "--only", "alpha2001/one", "--jobs", "2")[0] == own


def test_cores_are_shared_out_where_there_are_enough(monkeypatch):
    jobs = _reproduce_module(monkeypatch).jobs
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 4, 6, 7})
    assert [s.cores for n in (1, 2) for s in jobs.shares(n)] == [{1, 3, 4, 6, 7}, {1, 4, 7}, {3, 6}]
    assert [share.cores for share in jobs.shares(6)] == [set()] * 6
    monkeypatch.delattr(os, "sched_getaffinity")
    assert jobs.shares(2) == [jobs.Share()] * 2


def test_a_terminal_shows_running_experiments_and_when_they_are_done(project):
    write_experiment(project, "alpha2001/one", "import time\nEXPERIMENT = dict(minutes=2)\ntime.sleep(0.5)")
    ours, theirs = pty.openpty()
    command = reproduce_command(project, "--only", "alpha2001/one")
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=project) as process:
        process.wait(timeout=30)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "[1/1] alpha2001/one  running    0:00, expected 2:00\x1b[K" in shown
    assert re.search(r"\x1b\[F\[1/1\] alpha2001/one  done +0:0\d", shown)


def test_failing_gallery_is_a_failure(reproduce, project):
    (project / "xai_jax/gallery/__main__.py").write_text("raise SystemExit('no pictures')")
    done = reproduce("--only", "beta2002")
    assert done.returncode == 1 and "1 failed: the gallery" in done.stderr and "    no pictures\n" in done.stderr
    assert "index.html" not in done.stdout


def _reproduce_module(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("reproduce")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--acelerator", "tpu"], "unrecognized arguments: --acelerator"),
        (["--accelerator", "cuda11"], "expected cuda12, cuda13 or tpu, got 'cuda11'"),
        (["--accelerator"], "expected cuda12, cuda13 or tpu, got ''"),
        (["--tier", "huge"], "invalid choice: 'huge'"),
        (["--results", __file__], "expected a directory, got the file"),
        (["--jobs", "0"], "expected a number of processes, 1 or more, got '0'"),
        (["--only", "gamma2003"], "PAPER or PAPER/FIGURE, got 'gamma2003'; did you mean alpha2001? --list"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_installed(project, machine, arguments, message):
    machine["XAI_JAX_PYTHON"] = sys.executable
    done = bash([f"{project}/scripts/reproduce.sh", *arguments], machine)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (project / ".venv").exists()


def test_help_names_every_option_of_both_scripts(project, machine):
    done = bash([f"{project}/scripts/reproduce.sh", "--help"], machine)
    help_of_python = subprocess.run(
        [sys.executable, str(project / "scripts/reproduce.py"), "--help"], capture_output=True, text=True
    ).stdout
    options = set(re.findall(r"--[a-z]+", help_of_python))
    assert options >= {"--tier", "--only", "--results", "--jobs", "--list"}
    assert done.returncode == 0 and all(option in done.stdout for option in options | {"--accelerator"})
