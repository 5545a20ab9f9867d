"""setup.sh and data.sh: choice of Python, installation, interruptions, and missing packages."""

import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.scripts import ROOT, bash, command, link, python_command


def _chosen(tree, machine):
    done = bash(["-c", f"source {tree}/scripts/setup.sh; choose_python"], machine)
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
        refuse = lambda path: command(path, "echo 'command not found' >&2; exit 127")  # noqa: E731
        refuse(path) if version == "refuses" else python_command(path, *version.split("."))
    *numbers, path = _chosen(tree, machine)[0]
    assert [*numbers, *{*Path(path).parts} & {*chosen.split()}] == chosen.split()


def test_no_or_a_wrong_python_is_an_error_with_its_reason(tree, machine, tmp_path):
    command(tmp_path / "bin/python3", "exit 1")
    chosen, done = _chosen(tree, machine)
    assert chosen == [] and done.returncode != 0
    assert "no working Python 3.11 or newer" in done.stderr and "XAI_JAX_PYTHON" in done.stderr
    machine["XAI_JAX_PYTHON"] = str(python_command(tmp_path / "mine/python", 12, 4))
    assert _chosen(tree, machine)[0] == ["1", "12", "4", machine["XAI_JAX_PYTHON"]]
    machine["XAI_JAX_PYTHON"] = str(command(tmp_path / "old/python", "echo 'expected 3.11, got 3.9.1' >&2; exit 1"))
    chosen, done = _chosen(tree, machine)
    assert chosen == [] and "cannot be used: expected 3.11, got 3.9.1" in done.stderr


@pytest.mark.parametrize("extras", ["imagnet", "cuda12 tpu"])
def test_setup_refuses_wrong_extras_before_it_makes_anything(tree, machine, tmp_path, extras):
    python_command(tmp_path / "bin/python3.13", 13)
    done = bash([f"{tree}/scripts/setup.sh", *extras.split()], machine)
    assert done.returncode == 2 and extras in done.stderr
    assert not (tree / ".venv").exists()


def _installer(path, minor=13):
    """Replies to the probe; its `-m venv` creates a python that logs pip's arguments and fails if broken.txt exists."""
    home = path.parent
    inner = f'[ "$2" != pip ] || {{ echo "$@" >> {home}/pip.log; sleep 0.2; [ ! -e {home}/broken.txt ]; }}'
    make = f"mkdir -p \"$3/bin\"; printf '%s\\n' '#!/bin/sh' '{inner}' > \"$3/bin/python\"; chmod +x \"$3/bin/python\""
    return command(path, f'if [ "$2" = venv ]; then {make}; else echo "{minor} 0 {path}"; fi')


DEBIAN_FOLDERS = ("datasets/fashion-mnist", "gcompris-qt/rcc", "tuxpaint/stamps")
UNPACKED = [f"{folder}/{name}" for folder, name in zip(DEBIAN_FOLDERS, ("a.gz", "erase.rcc", "a.png"), strict=True)]


@pytest.fixture
def installable(tree, machine, tmp_path):
    """Runs setup.sh with a fake installer."""
    link(tmp_path / "tools", "mkdir chmod rm mv sleep flock")
    (tree / "setup.py").write_text("first")
    _installer(tmp_path / "bin/python3.13")
    return lambda *extras: bash([f"{tree}/scripts/setup.sh", *extras], machine)


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


@pytest.fixture
def without_images(tree, machine, tmp_path):
    """Runs data.sh where Python finds no images, with a given apt-get."""
    shutil.copy(ROOT / "scripts/data.sh", tree / "scripts")
    link(tmp_path / "tools", "mktemp rm mkdir mv id touch find")
    found = " && ".join(f'[ -e "{tree}/.venv/share/{name}" ]' for name in UNPACKED)
    command(tree / ".venv/bin/python", found)

    def run(apt, unpack="true"):
        command(tmp_path / "bin/apt-get", apt)
        files = [
            f"$3/usr/share/{folder}/{name}" for folder in DEBIAN_FOLDERS for name in ("a.gz", "erase.rcc", "a.png")
        ]
        made = " && ".join(f'mkdir -p "{name.rpartition("/")[0]}" && touch "{name}"' for name in files)
        command(tmp_path / "bin/dpkg-deb", f"{made} && {unpack}")
        return bash([f"{tree}/scripts/data.sh"], machine)

    return run


def test_images_are_unpacked_once_and_nothing_but_images(without_images, tree):
    done = without_images('touch "$3_1_all.deb"')
    assert done.returncode == 0 and done.stdout.count("fetching") == 3 and not done.stderr
    share = tree / ".venv/share"
    assert {str(path.relative_to(share)) for path in share.rglob("*.*")} == set(UNPACKED)
    again = without_images("exit 1")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.parametrize("apt, unpack", [("echo no network >&2; exit 1", "true"), ('touch "$3_1_all.deb"', "false")])
def test_unavailable_images_are_reported_and_stop_nothing(without_images, tree, apt, unpack):
    done = without_images(apt, unpack)
    assert done.returncode == 0 and done.stdout.count("could not fetch") == 3
    assert not (tree / ".venv/share").exists() and not list((tree / ".venv").glob("data*"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_downloads_end_and_leave_nothing(without_images, tree, machine, tmp_path, sent):
    running = tmp_path / "running"
    without_images("exit 1")
    command(tmp_path / "bin/apt-get", f'echo $$ >> "{running}"; exec sleep 60')
    link(tmp_path / "tools", "sleep flock")
    # A test run in the background ignores SIGINT, and its children with it. `preexec_fn` would fork, which JAX forbids.
    heard = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp('bash', sys.argv[1:])"
    command_line = [sys.executable, "-c", heard, "bash", f"{tree}/scripts/data.sh"]
    process = subprocess.Popen(command_line, env=machine, start_new_session=True)
    wait_until(lambda: running.exists() and len(running.read_text().split()) == 3)
    process.send_signal(sent)
    assert process.wait(10) != 0
    wait_until(lambda: not any(Path("/proc", each, "cmdline").exists() for each in running.read_text().split()))
    assert not list((tree / ".venv").glob("data*"))


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_images_without_an_environment_take_one_line(without_images, tree):
    shutil.rmtree(tree / ".venv")
    done = without_images('touch "$3_1_all.deb"')
    assert done.returncode == 1 and done.stdout == "" and not (tree / ".venv").exists()
    assert done.stderr == f"data: expected {tree}/.venv, found none: run bash scripts/setup.sh first\n"


def test_fake_machine_has_no_python_of_its_own(machine):
    """Guards the other tests: a real python on the fake machine's PATH would make them vacuous."""
    assert not shutil.which("python3", path=machine["PATH"])
