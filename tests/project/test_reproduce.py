"""The scripts: choice of Python, installation, wrong arguments, failing and interrupted experiments."""

import dataclasses
import importlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from experiments.lib import completion

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/bin:/bin"
MINUTES = {"alpha2001/one": 2, "alpha2001/two": 0.5, "beta2002/three": 40}


def _command(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def _python(path, minor, micro=0):
    """A command that replies to setup.sh's probe as Python 3.<minor>.<micro> does."""
    return _command(path, f'echo "{minor} {micro} {path}"')


@pytest.fixture
def tree(tmp_path):
    """A copy of the scripts with two tested Pythons, 3.12 and 3.13, and without experiments."""
    root = tmp_path / "tree"
    (root / "scripts").mkdir(parents=True)
    for name in ("setup.sh", "reproduce.sh", "reproduce.py", "jobs.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
    for minor in (12, 13):
        (root / f"scripts/constraints-3.{minor}.txt").touch()
    return root


def _link(folder, names):
    for name in names.split():
        (folder / name).symlink_to(shutil.which(name, path=SYSTEM_PATH))


@pytest.fixture
def machine(tmp_path):
    """Environment of a machine without other Pythons than those that a test writes to bin/ and pyenv/versions/."""
    tools = tmp_path / "tools"
    tools.mkdir()
    _link(tools, "bash dirname sed sort awk head tail tr grep paste cat cksum")
    return {"PATH": f"{tmp_path}/bin:{tools}", "PYENV_ROOT": f"{tmp_path}/pyenv", "HOME": str(tmp_path)}


def _bash(arguments, environment):
    bash = shutil.which("bash", path=SYSTEM_PATH)
    return subprocess.run([bash, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def _chosen(tree, machine):
    done = _bash(["-c", f"source {tree}/scripts/setup.sh; choose_python"], machine)
    return done.stdout.split(), done


def test_probe_accepts_this_python_and_prints_the_interpreter_itself(tree, machine):
    machine["XAI_JAX_PYTHON"] = sys.executable
    (_, minor, micro, path), _ = _chosen(tree, machine)
    assert (int(minor), int(micro)) == sys.version_info[1:3]
    base = subprocess.run([path, "-c", "import sys; print(sys.prefix == sys.base_prefix)"], capture_output=True)
    assert base.stdout.strip() == b"True"


@pytest.mark.parametrize(
    "pythons, chosen",
    [
        ("python3.14=14.2 python3.13=refuses python3.12=12.0 python3=refuses mine=13.1 older=13.0", "1 13 1 mine"),
        ("python3.14=14.0 python3.11=11.0", "0 14 0 python3.14"),
        ("python3.14=14.0 python3.11=11.0 python3.12=12.0", "1 12 0 python3.12"),
    ],
)
def test_the_newest_tested_python_is_chosen_then_the_newest(tree, machine, tmp_path, pythons, chosen):
    for name, _, version in (each.partition("=") for each in pythons.split()):
        path = tmp_path / (f"bin/{name}" if name[0] == "p" else f"pyenv/versions/{name}/bin/python")
        refuse = lambda path: _command(path, "echo 'command not found' >&2; exit 127")  # noqa: E731
        refuse(path) if version == "refuses" else _python(path, *version.split("."))
    *numbers, path = _chosen(tree, machine)[0]
    assert [*numbers, *{*Path(path).parts} & {*chosen.split()}] == chosen.split()


def test_no_or_a_wrong_python_is_an_error_with_its_reason(tree, machine, tmp_path):
    _command(tmp_path / "bin/python3", "exit 1")
    chosen, done = _chosen(tree, machine)
    assert chosen == [] and done.returncode != 0
    assert "no working Python 3.11 or newer" in done.stderr and "XAI_JAX_PYTHON" in done.stderr
    machine["XAI_JAX_PYTHON"] = str(_python(tmp_path / "mine/python", 12, 4))
    assert _chosen(tree, machine)[0] == ["1", "12", "4", machine["XAI_JAX_PYTHON"]]
    machine["XAI_JAX_PYTHON"] = str(_command(tmp_path / "old/python", "echo 'expected 3.11, got 3.9.1' >&2; exit 1"))
    chosen, done = _chosen(tree, machine)
    assert chosen == [] and "cannot be used: expected 3.11, got 3.9.1" in done.stderr


@pytest.mark.parametrize("extras", ["imagnet", "cuda12 tpu"])
def test_setup_refuses_wrong_extras_before_it_makes_anything(tree, machine, tmp_path, extras):
    _python(tmp_path / "bin/python3.13", 13)
    done = _bash([f"{tree}/scripts/setup.sh", *extras.split()], machine)
    assert done.returncode == 2 and extras in done.stderr
    assert not (tree / ".venv").exists()


def _installer(path, minor=13):
    """Replies to the probe; its `-m venv` creates a python that logs pip's arguments and fails if broken.txt exists."""
    home = path.parent
    inner = f'[ "$2" != pip ] || {{ echo "$@" >> {home}/pip.log; sleep 0.2; [ ! -e {home}/broken.txt ]; }}'
    make = f"mkdir -p \"$3/bin\"; printf '%s\\n' '#!/bin/sh' '{inner}' > \"$3/bin/python\"; chmod +x \"$3/bin/python\""
    return _command(path, f'if [ "$2" = venv ]; then {make}; else echo "{minor} 0 {path}"; fi')


@pytest.fixture
def installable(tree, machine, tmp_path):
    """Runs setup.sh with a fake installer."""
    _link(tmp_path / "tools", "mkdir chmod rm mv sleep flock")
    (tree / "setup.py").write_text("first")
    _installer(tmp_path / "bin/python3.13")
    return lambda *extras: _bash([f"{tree}/scripts/setup.sh", *extras], machine)


def test_setup_installs_once_and_again_only_when_something_changed(installable, tree, tmp_path):
    log = tmp_path / "bin/pip.log"
    first = installable("imagenet")
    assert first.returncode == 0, first.stderr
    assert log.read_text().endswith(f"-e {tree}[imagenet] -c {tree}/scripts/constraints-3.13.txt\n")
    assert "up to date" in installable("imagenet").stdout
    assert len(log.read_text().splitlines()) == 1
    installable("test")
    assert f"{tree}[imagenet,test]" in log.read_text().splitlines()[1]
    assert "up to date" in installable("imagenet").stdout
    (tree / "setup.py").write_text("second")
    assert "installing xai_jax[imagenet test]" in installable("imagenet").stdout
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize("before", [[], ["imagenet"]], ids=["first", "update"])
def test_interrupted_installation_is_redone(installable, tmp_path, before):
    broken = tmp_path / "bin/broken.txt"
    for extra in before:
        installable(extra)
    broken.touch()
    assert installable("imagenet", "test").returncode != 0
    broken.unlink()
    again = installable("imagenet")
    assert again.returncode == 0 and "its installation was not finished" in again.stdout


def test_two_setups_at_once_install_once(installable, tmp_path):
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(installable, ["imagenet", "imagenet"]))
    assert [done.returncode for done in both] == [0, 0], both
    assert len((tmp_path / "bin/pip.log").read_text().splitlines()) == 1


def test_environment_of_another_python_or_accelerator_is_created_again(installable, tmp_path):
    installable("imagenet", "cuda12")
    assert "making .venv again: it is for cuda12" in installable("imagenet", "cuda13").stdout
    (tmp_path / "bin/python3.13").unlink()
    _installer(tmp_path / "bin/python3.12", 12)
    assert "made by another Python" in installable("imagenet").stdout
    (tmp_path / "bin/python3.12").unlink()
    _installer(tmp_path / "bin/python3.14", 14)
    assert "Python 3.14 is untested" in installable("imagenet").stdout
    assert " -c " not in (tmp_path / "bin/pip.log").read_text().splitlines()[-1]


EXPERIMENT = """
import pathlib, sys
from experiments.lib import runner  # not there in this tree's plan: the plan reads modules and imports none
EXPERIMENT = runner.Experiment(title="Title of NAME", figure="Fig. 3", minutes=MINUTES)
pathlib.Path("order.txt").open("a").write("NAME ")
config, workdir = (flag.split("=", 1)[1] for flag in sys.argv[1:3])
workdir = pathlib.Path(workdir)
workdir.mkdir(parents=True, exist_ok=True)
(workdir / "argv.txt").write_text("\\n".join(sys.argv[1:]))
print("what the experiment prints")
"""
CONFIG = """
import dataclasses
@dataclasses.dataclass
class Config:
    steps: int = 3
get_config = lambda tier: Config()
"""
RUNNER = "class Experiment:\n    def __init__(self, **texts): pass"
GALLERY = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'index.html').write_text('gallery')"


@pytest.fixture
def project(tree):
    """A tree with experiments that work (alpha2001/one, beta2002/three), one that fails, and a gallery."""
    failing = "import sys\nprint('first', *range(30), sep='\\n')\nprint('10%\\r20%\\rdone')\nsys.exit('the reason')"
    for name, minutes in MINUTES.items():
        working = EXPERIMENT.replace("NAME", name).replace("MINUTES", str(minutes))
        _write_experiment(tree, name, failing if name == "alpha2001/two" else working)
    for folder in ("configs", "experiments"):
        (tree / folder / "__init__.py").touch()
    (tree / "experiments/lib").mkdir()
    (tree / "experiments/lib/runner.py").write_text(RUNNER)
    shutil.copy(ROOT / "experiments/lib/completion.py", tree / "experiments/lib")
    (tree / "xai_jax").mkdir()
    (tree / "xai_jax/gallery.py").write_text(GALLERY)
    return tree


def _write_experiment(tree, name, code, config=CONFIG):
    for folder, text in (("configs", config), ("experiments", code)):
        path = tree / folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)


def _command_line(project, *arguments):
    """Without site-packages: the standard library has to suffice."""
    return [sys.executable, "-S", "-E", str(project / "scripts/reproduce.py"), *arguments]


@pytest.fixture
def reproduce(project):
    def run(*arguments):
        command = _command_line(project, *arguments)
        return subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=60)

    return run


def _finish(project, name, tier="default", steps=3):
    """The files of a finished run that are checked."""
    workdir = project / "results" / name
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(completion.description(name, tier, Steps(steps)))
    (workdir / "metrics.json").touch()
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


def test_list_may_be_cut_short(project):
    for number in range(3000):  # more than a pipe holds
        _write_experiment(project, f"gamma2003/{number}", "")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(_command_line(project, "--list"), cwd=project, **pipes) as listing:
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
        _finish(project, name)
    done = reproduce()
    assert done.returncode == 0, done.stderr
    assert (project / "order.txt").read_text().split() == ["beta2002/three"]
    assert re.search(r"^\[1/3\] alpha2001/one +finished before$", done.stdout, re.MULTILINE)
    assert "1 to run, about 40 minutes" in done.stdout


@pytest.mark.parametrize("change", ["configuration", "tier", "unfinished", "damaged", "broken", "overwrite"])
def test_what_is_not_finished_exactly_so_runs(reproduce, project, change):
    workdir = _finish(project, "beta2002/three", *{"configuration": ("default", 4), "tier": ("paper",)}.get(change, ()))
    changes = {
        "unfinished": (workdir / "metrics.json").unlink,
        "damaged": lambda: (workdir / "config.json").write_bytes(b"\xff{"),
        "broken": lambda: (project / "configs/beta2002/three.py").write_text("no Python"),
    }
    changes.get(change, bool)()
    reproduce("--only", "beta2002", *["--overwrite"] * (change == "overwrite"))
    assert (project / "order.txt").read_text().split() == ["beta2002/three"]


def test_two_run_at_once_but_one_on_an_accelerator(monkeypatch):
    module = _reproduce_module(monkeypatch)
    for installed, at_once in {"": 2, "jax_cuda12_plugin": 1, "jax_cuda13_plugin": 1, "libtpu": 1}.items():
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name, installed=installed: name == installed)
        assert module.usual_jobs() == at_once


def test_minutes_are_those_of_two_at_once_or_of_the_longest(monkeypatch):
    module = _reproduce_module(monkeypatch)
    experiments = [module.Experiment("p", "f", minutes) for minutes in (3, 4, 5, None)]
    assert module.expected(experiments) == "about 6 minutes on 2 cores"
    assert module.expected(experiments[2:]) == "about 5 minutes on 2 cores"
    assert module.expected([]) == "about 0 minutes on 2 cores"


def _cores(project, *arguments):
    """Cores of alpha2001/one and alpha2001/two, which write them to files of their own."""
    subprocess.run(_command_line(project, *arguments), cwd=project, check=True, timeout=30)
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
        _write_experiment(project, f"alpha2001/{mine}", code.replace("NAME", mine).replace("OTHER", other))
    first, second = _cores(project, "--only", "alpha2001", "--jobs", "2")
    own = os.sched_getaffinity(0)
    assert first | second == own and (len(own) < 2 or not first & second)
    assert _cores(project, "--only", "alpha2001/one", "--jobs", "2")[0] == own


def test_cores_are_shared_out_where_there_are_enough(monkeypatch):
    jobs = _reproduce_module(monkeypatch).jobs
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 4, 6, 7})
    assert jobs.shares(1) == [{1, 3, 4, 6, 7}] and jobs.shares(2) == [{1, 4, 7}, {3, 6}]
    assert jobs.shares(6) == [set()] * 6
    monkeypatch.delattr(os, "sched_getaffinity")
    assert jobs.shares(2) == [set(), set()]


def test_a_terminal_shows_running_experiments_and_when_they_are_done(project):
    _write_experiment(project, "alpha2001/one", "import time\nEXPERIMENT = dict(minutes=2)\ntime.sleep(0.5)")
    ours, theirs = pty.openpty()
    command = _command_line(project, "--only", "alpha2001/one")
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=project) as process:
        process.wait(timeout=30)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "[1/1] alpha2001/one  running    0:00, expected 2:00\x1b[K" in shown
    assert re.search(r"\x1b\[F\[1/1\] alpha2001/one  done +0:0\d", shown)


def test_failing_gallery_is_a_failure(reproduce, project):
    (project / "xai_jax/gallery.py").write_text("raise SystemExit('no pictures')")
    done = reproduce("--only", "beta2002")
    assert done.returncode == 1 and "1 failed: the gallery" in done.stderr and "    no pictures\n" in done.stderr
    assert "index.html" not in done.stdout


def _reproduce_module(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("reproduce")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_all_experiments_too(project, stop):
    code = "import os, time, pathlib; pathlib.Path('NAME').write_text(str(os.getpid())); time.sleep(60)"
    for name in ("one", "two"):
        _write_experiment(project, f"alpha2001/{name}", code.replace("NAME", name))
    command = _command_line(project, "--only", "alpha2001", "--jobs", "2")
    quiet = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=project, **quiet) as process:
        children = [_wait_for(project / name) for name in ("one", "two")]
        process.send_signal(stop)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "run the same command to continue" in errors
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def _wait_for(path: Path) -> int:
    for _ in range(300):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.1)
    raise TimeoutError(f"{path} did not appear in 30 s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--acelerator", "tpu"], "unrecognized arguments: --acelerator"),
        (["--accelerator", "cuda11"], "expected cuda12, cuda13 or tpu, got 'cuda11'"),
        (["--accelerator"], "expected cuda12, cuda13 or tpu, got ''"),
        (["--tier", "huge"], "invalid choice: 'huge'"),
        (["--jobs", "0"], "expected a number of processes, 1 or more, got '0'"),
        (["--only", "gamma2003"], "alpha2001/one, alpha2001/two, beta2002/three; got 'gamma2003'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_installed(project, machine, arguments, message):
    machine["XAI_JAX_PYTHON"] = sys.executable
    done = _bash([f"{project}/scripts/reproduce.sh", *arguments], machine)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (project / ".venv").exists()


def test_help_names_every_option_of_both_scripts(project, machine):
    done = _bash([f"{project}/scripts/reproduce.sh", "--help"], machine)
    help_of_python = subprocess.run(
        [sys.executable, str(project / "scripts/reproduce.py"), "--help"], capture_output=True, text=True
    ).stdout
    options = set(re.findall(r"--[a-z]+", help_of_python))
    assert options >= {"--tier", "--only", "--results", "--jobs", "--list"}
    assert done.returncode == 0 and all(option in done.stdout for option in options | {"--accelerator"})


@pytest.fixture
def without_images(tree, machine, tmp_path):
    """Runs fashion_mnist.sh where Python finds no images, with a given apt-get."""
    shutil.copy(ROOT / "scripts/fashion_mnist.sh", tree / "scripts")
    _link(tmp_path / "tools", "mktemp rm mkdir mv id touch")
    _command(tree / ".venv/bin/python", f'[ -e "{tree}/.venv/share/datasets/fashion-mnist/images.gz" ]')

    def run(apt, unpack="true"):
        _command(tmp_path / "bin/apt-get", apt)
        inside = "$3/usr/share/datasets/fashion-mnist"
        _command(tmp_path / "bin/dpkg-deb", f'mkdir -p "{inside}" && touch "{inside}/images.gz" && {unpack}')
        return _bash([f"{tree}/scripts/fashion_mnist.sh"], machine)

    return run


def test_fashion_mnist_is_unpacked_once(without_images, tree):
    done = without_images("touch dataset-fashion-mnist_1_all.deb")
    assert done.returncode == 0 and "fetching" in done.stdout and not done.stderr
    assert (tree / ".venv/share/datasets/fashion-mnist/images.gz").exists()
    again = without_images("exit 1")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "apt, unpack", [("echo no network >&2; exit 1", "true"), ("touch dataset-fashion-mnist_1_all.deb", "false")]
)
def test_unavailable_fashion_mnist_is_reported_and_stops_nothing(without_images, tree, apt, unpack):
    done = without_images(apt, unpack)
    assert done.returncode == 0 and "could not fetch it" in done.stdout
    assert not (tree / ".venv/share").exists() and not list((tree / ".venv").glob("fashion*"))


def test_fake_machine_has_no_python_of_its_own(machine):
    """Guards the other tests: a real python on the fake machine's PATH would make them vacuous."""
    assert not shutil.which("python3", path=machine["PATH"])
