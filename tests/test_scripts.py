"""The scripts: which Python they choose, which arguments they refuse, what they do when an experiment fails."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PATH = "/usr/bin:/bin"


def _command(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def _python(path, minor, micro=0):
    """A command that answers setup.sh's probe like a Python 3.<minor>.<micro> would."""
    return _command(path, f'echo "{minor} {micro} {path}"')


@pytest.fixture
def tree(tmp_path):
    """A copy of the scripts with two tested Pythons, 3.12 and 3.13, and no experiments."""
    root = tmp_path / "tree"
    (root / "scripts").mkdir(parents=True)
    for name in ("setup.sh", "reproduce.sh", "reproduce.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
    for minor in (12, 13):
        (root / f"scripts/constraints-3.{minor}.txt").touch()
    return root


def _link(folder, names):
    for name in names.split():
        (folder / name).symlink_to(shutil.which(name, path=SYSTEM_PATH))


@pytest.fixture
def machine(tmp_path):
    """Environment of a machine whose Pythons are only those that a test puts into bin/ and pyenv/versions/."""
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


def test_newest_tested_python_wins_over_refusing_old_and_untested(tree, machine, tmp_path):
    _python(tmp_path / "bin/python3.14", 14, 2)
    _command(tmp_path / "bin/python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    _python(tmp_path / "bin/python3.12", 12)
    _command(tmp_path / "bin/python3", "echo 'expected CPython 3.11 or newer' >&2; exit 1")
    newest = _python(tmp_path / "pyenv/versions/3.13.1/bin/python", 13, 1)
    _python(tmp_path / "pyenv/versions/3.13.0/bin/python", 13, 0)
    assert _chosen(tree, machine)[0] == ["1", "13", "1", str(newest)]


def test_untested_python_is_used_only_without_a_tested_one(tree, machine, tmp_path):
    untested = _python(tmp_path / "bin/python3.14", 14)
    _python(tmp_path / "bin/python3.11", 11)
    assert _chosen(tree, machine)[0] == ["0", "14", "0", str(untested)]
    tested = _python(tmp_path / "bin/python3.12", 12)
    assert _chosen(tree, machine)[0] == ["1", "12", "0", str(tested)]


def test_no_python_is_an_error_that_says_what_to_do(tree, machine, tmp_path):
    _command(tmp_path / "bin/python3", "exit 1")
    chosen, done = _chosen(tree, machine)
    assert chosen == [] and done.returncode != 0
    assert "no working Python 3.11 or newer" in done.stderr and "XAI_JAX_PYTHON" in done.stderr


def test_override_is_used_and_a_wrong_one_is_refused_with_its_reason(tree, machine, tmp_path):
    _python(tmp_path / "bin/python3.13", 13)
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
    """Answers the probe; its `-m venv` makes a python that logs pip's arguments, slowly, and fails by broken.txt."""
    home = path.parent
    inner = f'[ "$2" != pip ] || {{ echo "$@" >> {home}/pip.log; sleep 0.2; [ ! -e {home}/broken.txt ]; }}'
    make = f"mkdir -p \"$3/bin\"; printf '%s\\n' '#!/bin/sh' '{inner}' > \"$3/bin/python\"; chmod +x \"$3/bin/python\""
    return _command(path, f'if [ "$2" = venv ]; then {make}; else echo "{minor} 0 {path}"; fi')


@pytest.fixture
def installable(tree, machine, tmp_path):
    """Runs setup.sh with a Python that only pretends to install."""
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


def test_environment_of_another_python_or_accelerator_is_made_again(installable, tmp_path):
    installable("imagenet", "cuda12")
    assert "making .venv again: it is for cuda12" in installable("imagenet", "cuda13").stdout
    (tmp_path / "bin/python3.13").unlink()
    _installer(tmp_path / "bin/python3.12", 12)
    assert "made by another Python" in installable("imagenet").stdout


def test_untested_python_installs_without_pins_and_says_so(installable, tmp_path):
    (tmp_path / "bin/python3.13").unlink()
    _installer(tmp_path / "bin/python3.14", 14)
    assert "Python 3.14 is untested" in installable("imagenet").stdout
    assert " -c " not in (tmp_path / "bin/pip.log").read_text()


EXPERIMENT = """
import pathlib, sys
workdir = pathlib.Path(sys.argv[2].split("=", 1)[1])
workdir.mkdir(parents=True)
(workdir / "argv.txt").write_text("\\n".join(sys.argv[1:]))
"""
GALLERY = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'index.html').write_text('gallery')"


@pytest.fixture
def project(tree):
    """A tree with experiments that work (alpha2001/one, beta2002/three), one that fails, and a gallery."""
    for name, code in (("alpha2001/one", EXPERIMENT), ("alpha2001/two", "raise SystemExit(3)")):
        _write_experiment(tree, name, code)
    _write_experiment(tree, "beta2002/three", EXPERIMENT)
    (tree / "configs/__init__.py").touch()
    (tree / "xai_jax").mkdir()
    (tree / "xai_jax/gallery.py").write_text(GALLERY)
    return tree


def _write_experiment(tree, name, code):
    for folder in ("configs", "experiments"):
        path = tree / folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(code)


@pytest.fixture
def reproduce(project):
    def run(*arguments):
        command = [sys.executable, "-I", str(project / "scripts/reproduce.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=60)

    return run


def test_plan_lists_every_experiment_and_runs_nothing(reproduce, project):
    done = reproduce("--plan")
    assert done.returncode == 0
    assert [line.strip() for line in done.stdout.splitlines()[1:4]] == [
        "alpha2001/one",
        "alpha2001/two",
        "beta2002/three",
    ]
    assert not (project / "results").exists()


def test_failing_experiment_is_reported_and_does_not_stop_the_rest(reproduce, project):
    done = reproduce("--tier", "smoke", "--overwrite")
    assert done.returncode == 1
    assert "alpha2001/two: FAILED (exit status 3)" in done.stdout
    assert done.stderr.strip().endswith("reproduce: 1 failed: alpha2001/two")
    assert (project / "results/beta2002/three/argv.txt").read_text().split() == [
        "--config=configs/beta2002/three.py:smoke",
        "--workdir=results/beta2002/three",
        "--overwrite",
    ]
    assert f"gallery: {project}/results/index.html" in done.stdout
    assert (project / "results/index.html").read_text() == "gallery"


def test_only_selects_a_paper_or_a_figure(reproduce, project, tmp_path):
    done = reproduce("--only", "beta2002", "--only", "alpha2001/one", "--results", str(tmp_path / "elsewhere"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.parent.name for path in tmp_path.glob("elsewhere/*/*/argv.txt")) == ["one", "three"]


def test_failing_gallery_is_a_failure(reproduce, project):
    (project / "xai_jax/gallery.py").write_text("raise SystemExit(1)")
    done = reproduce("--only", "beta2002")
    assert done.returncode == 1 and "1 failed: the gallery" in done.stderr


def test_no_experiments_is_an_error():
    spec = importlib.util.spec_from_file_location("reproduce", ROOT / "scripts/reproduce.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match="found none"):
        module.select([], [])


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_the_experiment_too(project, stop):
    code = "import os, time, pathlib; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    _write_experiment(project, "beta2002/three", code)
    command = [sys.executable, str(project / "scripts/reproduce.py"), "--only", "beta2002"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        pid = _wait_for(project / "pid")
        process.send_signal(stop)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "run the same command to continue" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


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
    assert options >= {"--tier", "--only", "--results"}
    assert done.returncode == 0 and all(option in done.stdout for option in options | {"--accelerator"})


@pytest.fixture
def without_images(tree, machine, tmp_path):
    """Runs fashion_mnist.sh where Python finds no images; apt-get does as it is told."""
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
def test_fashion_mnist_that_cannot_be_had_is_said_and_stops_nothing(without_images, tree, apt, unpack):
    done = without_images(apt, unpack)
    assert done.returncode == 0 and "could not fetch it" in done.stdout
    assert not (tree / ".venv/share").exists() and not list((tree / ".venv").glob("fashion*"))


def test_fake_machine_has_no_python_of_its_own(machine):
    """Guards the other tests: a real python on the fake machine's PATH would make them vacuous."""
    assert not shutil.which("python3", path=machine["PATH"])
