"""Parallel child processes with output in log files and one status line each on the terminal."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, NamedTuple

import lifetime

POLL_SECONDS = 0.1
GRACE_SECONDS = 10  # between SIGTERM and SIGKILL
DEVICE_FILES = Path("/dev")
ACCELERATED = ("jax_cuda12_plugin", "jax_cuda13_plugin", "libtpu")  # JAX's packages for accelerators


class Job(NamedTuple):
    """A command with its name, the label of its status line, its log file, and the expected minutes (None: unknown).

    `look` is printed when it is done: what to look at in its figure. Jobs that are named in `after` run before it. A
    job that `lacks` something is skipped.
    """

    name: str
    label: str
    command: list[str]
    log: Path
    minutes: float | None = None
    look: str = ""
    after: tuple[str, ...] = ()
    lacks: str = ""


class Skipped(NamedTuple):
    """A job that could not run."""

    job: Job
    reason: str


class Share(NamedTuple):
    """What one of several children uses: cores, and GPUs as in CUDA_VISIBLE_DEVICES; both empty for no restriction."""

    cores: frozenset[int] = frozenset()
    gpus: str = ""


class Child(NamedTuple):
    """A running or finished job, its share and its watcher; `started` is in seconds of the monotonic clock."""

    job: Job
    process: subprocess.Popen
    started: float
    share: Share
    watcher: subprocess.Popen | None


Failure = Child | Skipped


def accelerated() -> bool:
    """Whether JAX is installed for an accelerator."""
    return any(importlib.util.find_spec(name) for name in ACCELERATED)


def usual() -> int:
    """Default number of parallel experiments: two, since one rarely keeps two cores busy.

    One on an accelerator, whose memory the first experiment allocates.
    """
    return 1 if accelerated() else 2


def run_all(
    jobs: list[Job],
    at_once: int,
    root: Path,
    stop: threading.Event,
    lock: IO[str],
    succeeded: Callable[[], None] = lambda: None,
) -> list[Failure]:
    """Runs all jobs in `root` and returns those that failed or were skipped.

    A job starts when those that it needs have ended, and is skipped where one of them failed. `succeeded` is called
    whenever some have succeeded, while others run. Raises KeyboardInterrupt once `stop` is set.
    No child outlives the call, or this process, however it ends. Children have `lock` open, which so outlasts them all.
    """
    at_once = max(1, min(at_once, len(jobs)))  # a single job has all cores
    waiting, running, failed, drawn, free = list(jobs), [], [], 0, shares(at_once)
    try:
        while (waiting or running) and not stop.is_set():
            while skipped := without_needs(waiting, failed):
                waiting = [job for job in waiting if job not in [each.job for each in skipped]]
                failed += skipped
                drawn = draw(skipped, running, drawn)
            while len(running) < at_once and (job := ready(waiting, running)):
                waiting.remove(job)
                running.append(start(job, root, free.pop(), lock))
            stop.wait(POLL_SECONDS)
            ended = [child for child in running if child.process.poll() is not None]
            running = [child for child in running if child not in ended]
            for child in ended:
                lifetime.unwatch(child.watcher)
            failed += [child for child in ended if child.process.returncode != 0]
            free += [child.share for child in ended]
            drawn = draw(ended, running, drawn)
            if any(child.process.returncode == 0 for child in ended):
                succeeded()
    finally:
        end(running)
    if stop.is_set():
        raise KeyboardInterrupt
    return failed


def in_order(left: Iterable[Job]) -> list[Job]:
    """The tour, then the others, each from the longest on, which balances the load at the end.

    Of the tour the shortest comes first, so that there is soon something to look at.
    """
    found = sorted(left, key=lambda job: (not job.look, -(job.minutes or 0)))
    first = min((job for job in found if job.look), key=lambda job: job.minutes or 0, default=None)
    return sorted(found, key=lambda job: job is not first)


def without_needs(waiting: list[Job], failed: list[Failure]) -> list[Skipped]:
    """The jobs that lack something, or need a job that failed."""
    lost = {each.job.name for each in failed}
    reasons = [(job, job.lacks, ", ".join(sorted(lost.intersection(job.after)))) for job in waiting]
    return [
        Skipped(job, f"missing {lacks}" if lacks else f"it needs {names}, which did not succeed")
        for job, lacks, names in reasons
        if lacks or names
    ]


def ready(waiting: list[Job], running: list[Child]) -> Job | None:
    """The first job whose needs have ended."""
    unfinished = {job.name for job in waiting} | {child.job.name for child in running}
    return next((job for job in waiting if not unfinished.intersection(job.after)), None)


def stop_on_signals() -> threading.Event:
    """An event set by signals that end processes; a flag cannot be lost between two children, as an exception can."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def gpus() -> list[str]:
    """NVIDIA's GPUs that this process may use, by number or name; none without JAX's package for them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not any(importlib.util.find_spec(name) for name in ACCELERATED if "cuda" in name):
        return []
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(number) for number in range(len(list(DEVICE_FILES.glob("nvidia[0-9]*"))))]


def shares(at_once: int) -> list[Share]:
    """Disjoint cores, which raises the throughput by a fifth, and disjoint GPUs for each of `at_once` children.

    Cores without restriction with fewer of them than children, and where the system does not report them. Children
    share GPUs if they are more.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores, found = cores if len(cores) >= at_once else [], gpus() if at_once > 1 else []
    own = [found[n::at_once] or [found[n % len(found)]] if found else [] for n in range(at_once)]
    return [Share(frozenset(cores[n::at_once]), ",".join(own[n])) for n in range(at_once)]


def start(job: Job, root: Path, share: Share, lock: IO[str]) -> Child:
    """Starts a child, restricted to its share; its log begins with the command."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "wb") as log:
        log.write(f"$ {' '.join(job.command)}\n".encode())
        log.flush()
        output = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        life = {"preexec_fn": lifetime.killed_with_parent(), "pass_fds": (lock.fileno(),)}
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": share.gpus} if share.gpus else {})
        process = subprocess.Popen(job.command, cwd=root, env=environment, **output, **life)
    child = Child(job, process, time.monotonic(), share, lifetime.watch(process.pid))
    if share.cores:  # before JAX is imported, which counts the cores
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(child.process.pid, share.cores)
    return child


def end(children: list[Child]) -> None:
    """Terminates the children, and kills those that do not end within the grace period."""
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for child in children:
        try:
            child.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        lifetime.unwatch(child.watcher)


def draw(ended: list[Failure], running: list[Child], drawn: int) -> int:
    """Prints a line for each child that ended and, on a terminal only, for each that is running.

    Overwrites the `drawn` lines of running children from before; returns their new number.
    """
    terminal = sys.stdout.isatty()
    lines = [text for child in ended + (running if terminal else []) for text in (line(child), *looks(child))]
    if terminal:
        width = shutil.get_terminal_size().columns - 1
        lines = [f"{text[:width]}\x1b[K" for text in lines]
        print("\x1b[F" * drawn, end="")
    print("".join(f"{text}\n" for text in lines), end="", flush=True)
    return len(running) if terminal else 0


def line(child: Failure) -> str:
    """`[ 3/45] kim2018/captions  running  1:05, expected 5:00`."""
    if isinstance(child, Skipped):
        return f"{child.job.label}  skipped: {child.reason}"
    state = {None: "running", 0: "done"}.get(child.process.returncode, "FAILED")
    minutes = child.job.minutes
    expected = f", expected {clock(60 * minutes)}" if minutes is not None else ""
    return f"{child.job.label}  {state:<8} {clock(time.monotonic() - child.started):>6}{expected}"


def looks(child: Failure) -> list[str]:
    """What to look at, once it is there."""
    if isinstance(child, Skipped):
        return []
    return [f"      look: {child.job.look}"] if child.job.look and child.process.returncode == 0 else []


def clock(seconds: float) -> str:
    """Minutes and seconds, 3:07."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def report(child: Failure, lines: int = 12) -> str:
    """Exit status of a failed child with the end of its log, and only the last state of progress bars."""
    if isinstance(child, Skipped):
        return f"{child.job.name}: skipped: {child.reason}"
    text = child.job.log.read_bytes().decode(errors="replace")
    printed = [part.rstrip().rsplit("\r", 1)[-1] for part in text.split("\n")]
    last = [part for part in printed if part][-lines:]
    number = child.process.returncode
    how = f"exit status {number}" if number > 0 else f"killed by signal {-number}"
    shown = "".join(f"    {part}\n" for part in last)
    return f"{child.job.name}: {how}; the end of {child.job.log}:\n{shown}"


def growing(command: list[str], results: Path, root: Path) -> Callable[[], None]:
    """Builds the gallery of what there is, and opens it once where a person watches; the last build reports faults."""
    shown = []

    def build() -> None:
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run(command, cwd=root, **silent).returncode == 0 and not shown:
            shown.append(results / "index.html")
            print(f"      gallery, which grows: {shown[0]}", flush=True)
            if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
                webbrowser.open(shown[0].as_uri())

    return build
