"""reproduce.py interrupted, killed, started twice, and continued."""

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers.scripts import reproduce_command, wait_for_number, write_experiment
from tests.project.test_reproduce import finish

SLEEPING = "import os, time, pathlib; pathlib.Path('NAME').write_text(str(os.getpid())); time.sleep(60)"
# Holds its directory as the runner does; the first time it does not end.
ONCE_SLEEPING = """
import fcntl, os, pathlib, time
lock = open("workdir.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
path = pathlib.Path("NAME")
again = path.exists()
path.write_text(str(os.getpid()))
time.sleep(0 if again else 60)
"""
ELSEWHERE = """
import subprocess, sys
sys.platform = "freebsd14"
sys.path.insert(0, "scripts")
import reproduce
sys.exit(reproduce.main(sys.argv[1:]))
"""
FINISHING = """
import os, pathlib, time
print("what NAME prints")
pathlib.Path("order.txt").open("a").write("NAME ")
workdir = pathlib.Path("results/NAME")
workdir.mkdir(parents=True, exist_ok=True)
(workdir / "metrics.json").unlink(missing_ok=True)
if "NAME" == "alpha2001/two" and not pathlib.Path("two").exists():
    pathlib.Path("two").write_text(str(os.getpid()))
    time.sleep(60)
(workdir / "config.json").write_text(DESCRIPTION)
(workdir / "metrics.json").write_text('{"checksum": ""}')
"""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _started(project, *arguments, command=None):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ignored = [number for number in STOPS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:  # by shells in their background jobs, such as these tests may be
        signal.signal(number, signal.SIG_DFL)
    try:
        return subprocess.Popen(command or reproduce_command(project, *arguments), cwd=project, **pipes)
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _done(process):
    """The process once it has ended, with its output."""
    return subprocess.CompletedProcess(process.args, process.wait(30), *process.communicate(timeout=30))


@pytest.mark.parametrize("stop", STOPS)
def test_interruption_ends_all_experiments_too(project, stop):
    for name in ("one", "two"):
        write_experiment(project, f"alpha2001/{name}", SLEEPING.replace("NAME", name))
    process = _started(project, "--only", "alpha2001", "--jobs", "2")
    children = [wait_for_number(project / name) for name in ("one", "two")]
    process.send_signal(stop)
    done = _done(process)
    assert done.returncode == 130 and "run the same command to continue" in done.stderr
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.parametrize("system", [[], ["-c", ELSEWHERE]], ids=["here", "elsewhere"])
def test_experiments_end_with_a_killed_parent_and_the_same_command_at_once_continues(project, system):
    write_experiment(project, "alpha2001/one", ONCE_SLEEPING.replace("NAME", "one"))
    command = [sys.executable, "-S", "-E", *(system or ["scripts/reproduce.py"]), "--only", "alpha2001/one"]
    process = _started(project, command=command)
    child = wait_for_number(project / "one")
    process.kill()
    process.wait(30)
    done = _done(_started(project, command=command))
    assert done.returncode == 0, done.stderr
    assert wait_for_number(project / "one") != child
    process.communicate()


def test_a_second_reproduce_is_refused_and_leaves_the_logs_of_the_first(project):
    write_experiment(project, "alpha2001/one", f"print('begun', flush=True)\n{SLEEPING.replace('NAME', 'one')}")
    first = _started(project, "--only", "alpha2001/one")
    wait_for_number(project / "one")
    (project / "one").unlink()
    second = _started(project, "--only", "alpha2001/one")
    try:
        done = _done(second)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr == (
            "reproduce: expected results to be free, another reproduce works there; wait or choose another --results\n"
        )
        assert "begun" in (project / "results/logs/alpha2001_one.log").read_text() and not (project / "one").exists()
        assert _done(_started(project, "--plan")).returncode == 0
    finally:
        for process in (first, second):
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def finishing(project):
    """Experiments that leave the files of finished ones; the second of three does not end the first time."""
    for name in ("alpha2001/one", "alpha2001/two", "beta2002/three"):
        described = (finish(project, name) / "config.json").read_text()
        write_experiment(project, name, FINISHING.replace("NAME", name).replace("DESCRIPTION", repr(described)))
    return project


def _interrupt(project, *arguments, number=signal.SIGTERM):
    """Runs --overwrite until its second experiment; returns the experiments that started and forgets them."""
    process = _started(project, "--overwrite", "--jobs", "1", *arguments)
    wait_for_number(project / "two")
    process.send_signal(number)
    _done(process)
    return _order(project)


def _order(project):
    names = (project / "order.txt").read_text().split()
    (project / "order.txt").unlink()
    return names


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_overwrite_continues(finishing, number):
    assert _interrupt(finishing, "--only", "alpha2001", number=number) == ["alpha2001/one", "alpha2001/two"]
    again = "--only", "alpha2001", "--overwrite", "--jobs", "1"
    done = _done(_started(finishing, *again))
    assert _order(finishing) == ["alpha2001/two"]
    note = "continues the interrupted --overwrite; to run all experiments again, remove results/logs/overwriting"
    assert done.stdout.splitlines()[0] == note and "1 to run" in done.stdout
    done = _done(_started(finishing, *again))  # ended, so that it begins again
    assert _order(finishing) == ["alpha2001/one", "alpha2001/two"] and note not in done.stdout


@pytest.mark.parametrize("change", ["selection", "file", "configuration"])
def test_another_overwrite_begins_again(finishing, change):
    _interrupt(finishing, "--only", "alpha2001")
    if change == "file":
        (finishing / "results/logs/overwriting").unlink()
    elif change == "configuration":
        (finishing / "results/alpha2001/one/config.json").write_text("of another configuration")
    only = ["--only", "alpha2001/one" if change == "selection" else "alpha2001"]
    _done(_started(finishing, *only, "--overwrite", "--jobs", "1"))
    assert _order(finishing)[0] == "alpha2001/one"


def test_a_run_without_overwrite_completes_the_interrupted_experiment_and_ends_the_overwrite(finishing):
    _interrupt(finishing, "--only", "alpha2001")
    assert (finishing / "results/logs/overwriting").read_text().split() == ["default", "alpha2001/one", "alpha2001/two"]
    _done(_started(finishing, "--only", "alpha2001", "--jobs", "1"))
    assert _order(finishing) == ["alpha2001/two"] and not (finishing / "results/logs/overwriting").exists()
