"""Child processes, some at once: what they print goes to log files, and the terminal shows one line for each."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

PAUSE = 0.1  # seconds between looks at the children
PATIENCE = 10  # seconds that a child has to end when it is asked to


class Job(NamedTuple):
    """What to run, under which name, where its output goes, and how many minutes it should take (None: not known)."""

    name: str
    place: str
    command: list[str]
    log: Path
    minutes: float | None = None


class Child(NamedTuple):
    """A job that runs, or has run, on some cores; `started` is a time of the monotonic clock."""

    job: Job
    process: subprocess.Popen
    started: float
    cores: frozenset[int]


def run_all(jobs: list[Job], at_once: int, root: Path, stop: threading.Event) -> list[Child]:
    """Runs all jobs in `root` and returns those that failed; raises KeyboardInterrupt once `stop` is set.

    However this ends, no child is left.
    """
    at_once = max(1, min(at_once, len(jobs)))  # so that a single one has all cores
    waiting, running, failed, drawn, free = deque(jobs), [], [], 0, shares(at_once)
    try:
        while (waiting or running) and not stop.is_set():
            while waiting and len(running) < at_once:
                running.append(start(waiting.popleft(), root, free.pop()))
            stop.wait(PAUSE)
            ended = [child for child in running if child.process.poll() is not None]
            running = [child for child in running if child not in ended]
            failed += [child for child in ended if child.process.returncode != 0]
            free += [child.cores for child in ended]
            drawn = draw(ended, running, drawn)
    finally:
        end(running)
    if stop.is_set():
        raise KeyboardInterrupt
    return failed


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and a polite kill set; a flag, so that none of them can fall between two children."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def shares(at_once: int) -> list[frozenset[int]]:
    """The cores of each of so many children: on cores of their own they do a fifth more than when they take turns.

    Empty, for any cores, where there are fewer cores than children, and where the system does not say.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [frozenset(cores[n::at_once] if len(cores) >= at_once else ()) for n in range(at_once)]


def start(job: Job, root: Path, cores: frozenset[int]) -> Child:
    """Starts one child, on these cores where there are any; its log begins with the command."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "wb") as log:
        log.write(f"$ {' '.join(job.command)}\n".encode())
        log.flush()
        output = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        child = Child(job, subprocess.Popen(job.command, cwd=root, **output), time.monotonic(), cores)
    if cores:  # at once: JAX counts cores when it is imported
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(child.process.pid, cores)
    return child


def end(children: list[Child]) -> None:
    """Asks the children to end, and kills those that do not."""
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + PATIENCE
    for child in children:
        try:
            child.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def draw(ended: list[Child], running: list[Child], drawn: int) -> int:
    """Prints the lines of children that ended and, on a terminal only, below them those that run.

    `drawn` lines of running children are there from before and are written over; returns how many there are now.
    """
    terminal = sys.stdout.isatty()
    lines = [line(child) for child in ended + (running if terminal else [])]
    if terminal:
        width = shutil.get_terminal_size().columns - 1
        lines = [f"{text[:width]}\x1b[K" for text in lines]
        print("\x1b[F" * drawn, end="")
    print("".join(f"{text}\n" for text in lines), end="", flush=True)
    return len(running) if terminal else 0


def line(child: Child) -> str:
    """`[ 3/45] kim2018/captions  running  1:05, expected 5:00`."""
    state = {None: "running", 0: "done"}.get(child.process.returncode, "FAILED")
    minutes = child.job.minutes
    expected = f", expected {clock(60 * minutes)}" if minutes is not None else ""
    return f"{child.job.place}  {state:<8} {clock(time.monotonic() - child.started):>6}{expected}"


def clock(seconds: float) -> str:
    """Minutes and seconds, 3:07."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def report(child: Child, lines: int = 12) -> str:
    """How a child failed, with the end of its log; of a progress bar only the last state."""
    text = child.job.log.read_bytes().decode(errors="replace")
    printed = [part.rstrip().rsplit("\r", 1)[-1] for part in text.split("\n")]
    last = [part for part in printed if part][-lines:]
    number = child.process.returncode
    how = f"exit status {number}" if number > 0 else f"killed by signal {-number}"
    shown = "".join(f"    {part}\n" for part in last)
    return f"{child.job.name}: {how}; the end of {child.job.log}:\n{shown}"
