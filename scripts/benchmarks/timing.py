"""Timing for benchmark.py: two sides in turns, the share of the cores taken by others, and goals."""

import contextlib
import functools
import json
import math
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = ("contiguous", "channels last")  # of PyTorch's arrays
LEAST_SECONDS = 0.3  # of work in one timing
PAUSE = 0.03  # between timings: worker threads spin for a moment after their last work
TOLERANCE = 1e-4  # relative differences between the results of two sides
BUSY = 0.05  # share of the cores that others may take

Timed = Callable[[int], float]
"""Runs a number of loops and returns their total seconds."""


class Missing(Exception):
    """What a measurement needs is not installed."""


class Goal(NamedTuple):
    sign: str
    bound: float
    unit: str

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def __str__(self):
        return f"{self.sign} {self.bound:g}{self.unit}"


AS_FAST = Goal("<=", 1.1, "x")
BESIDE_TORCH = dict(zip(LAYOUTS, (Goal(">=", 1.2, "x"), Goal(">=", 1.0, "x")), strict=True))


class Result(NamedTuple):
    """Seconds per call of both sides, pair by pair; `busy` is the share of the cores that other processes took.

    A goal in "x" concerns a ratio, of throughputs for ">=" and of times for "<="; one in seconds concerns our time.
    """

    name: str
    goal: Goal
    ours: list[float]
    other: list[float]
    other_name: str
    busy: float
    notes: dict[str, Any]

    def value(self, ours: float, other: float) -> float:
        if self.goal.unit != "x":
            return ours
        return other / ours if self.goal.sign == ">=" else ours / other

    @property
    def values(self) -> list[float]:
        return [self.value(*pair) for pair in zip(self.ours, self.other or self.ours, strict=True)]

    @property
    def reached(self) -> bool | None:
        """None where other processes took too much of the machine for a verdict."""
        return None if self.busy > BUSY else self.goal.reached(statistics.median(self.values))

    @property
    def at_best(self) -> float:
        return self.value(min(self.ours), min(self.other or self.ours))


def loop(function: Callable[[], Any]) -> Timed:
    def timed(loops):
        start = time.perf_counter()
        for _ in range(loops):
            jax.block_until_ready(function())
        return time.perf_counter() - start

    return timed


def loops_for(timed: Timed) -> int:
    """How many loops make one timing long enough. The first run, which compiles, does not count."""
    timed(1)
    seconds = timed(1)
    return 1 if seconds >= LEAST_SECONDS else math.ceil(LEAST_SECONDS / min(seconds, timed(1)))


def take_turns(sides: Sequence[Timed], repeats: int) -> tuple[list[list[float]], float]:
    """Seconds per call of each side, and the share of the cores that other processes took while the first side ran."""
    loops = [loops_for(timed) for timed in sides]
    seconds, elapsed, foreign = [[] for _ in sides], 0.0, 0.0
    for _ in range(repeats):
        for i, timed in enumerate(sides):
            time.sleep(PAUSE)
            before = work_of_others()
            spent = timed(loops[i])
            seconds[i].append(spent / loops[i])
            if i == 0:
                elapsed, foreign = elapsed + spent, foreign + work_of_others() - before
    return seconds, max(0.0, foreign / (elapsed * cores()))


def once(function: Callable[[], Any]) -> tuple[float, float, float]:
    """Seconds of a single call, with compiling, of its work on all cores, and the share that other processes took."""
    before, work = work_of_others(), time.process_time()
    seconds = loop(function)(1)
    return seconds, time.process_time() - work, max(0.0, (work_of_others() - before) / (seconds * cores()))


def side_by_side(
    repeats: int,
    name: str,
    goal: Goal,
    sides: Sequence[Timed],
    other_name: str = "",
    notes: Mapping[str, Any] | None = None,
    scale: float = 1.0,
) -> Result:
    """Times our side and, where there is one, the other, of which each call counts for `scale` calls."""
    (ours, *rest), busy = take_turns(sides, repeats)
    other = [scale * seconds for seconds in rest[0]] if rest else []
    return Result(name, goal, ours, other, other_name, busy, dict(notes or {}))


def work_of_others(stat: Path = Path("/proc/stat")) -> float:
    """Seconds of work of all cores less those of this process and its children; 0 where they are not reported."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    ticks = user + nice + system + irq + softirq + steal
    ended = os.times()
    own = time.process_time() + ended.children_user + ended.children_system
    return (ticks - sum(map(_ticks, _children()))) / os.sysconf("SC_CLK_TCK") - own


def _children() -> list[str]:
    return [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def _ticks(pid: str) -> int:
    """Work of a running process; 0 if it has just ended."""
    try:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    except OSError:
        return 0


def peak_memory() -> int:
    """Largest resident memory of this process in bytes.

    Linux counts that of the parent in `ru_maxrss` of a child: the value is read from the process's own address space.
    """
    try:
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def child(module: str, *arguments: str, **environment: str) -> Any:
    """What a module of benchmarks prints, as JSON, in a process of its own; RuntimeError where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")} | environment
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def torch_side(given, versions: dict, script: str = "torch_maps.py") -> Iterator[tuple[Callable, Path]]:
    """A PyTorch process and a temporary directory: `(request, directory)`; notes the libraries' versions."""
    with torch_process(given.torch_python, script) as (request, found), tempfile.TemporaryDirectory() as directory:
        versions.update(found)
        yield request, Path(directory)


def layouts(request: Callable, directory: Path) -> Iterator[tuple[str, str]]:
    """Loads the network in each memory layout of PyTorch: (layout, what it appends to a measurement's name)."""
    for layout in LAYOUTS:
        request(do="load", folder=str(directory), threads=cores(), layout=layout)
        yield layout, f", {layout}" if layout != LAYOUTS[0] else ""


@contextlib.contextmanager
def torch_process(python: str | None, script: str) -> Iterator[tuple[Callable, dict]]:
    """Starts torch_maps.py, or a script with its protocol: `(request, versions)`; `request` returns the reply.

    None means this Python. Raises Missing if it has no torch or captum.
    """
    how = "Install them with `bash scripts/setup.sh bench`, or name a Python that has them: --torch-python PATH."
    python = python or sys.executable
    command = [python, str(Path(__file__).resolve().with_name(script))]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise Missing(f"Expected a Python with torch and captum, got {python} ({error.strerror}). {how}") from error
    try:
        versions = _read(process)
        if "error" in versions:
            raise Missing(f"Expected torch and captum in {python}, got: {versions['error']}. {how}")
        yield functools.partial(_request, process), versions
    finally:
        process.kill()
        process.communicate()


def _request(process, **request):
    with contextlib.suppress(BrokenPipeError):  # _read reports that it ended
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    reply = _read(process)
    if "error" in reply:
        raise RuntimeError(f"The PyTorch side failed at {request}:\n{reply['error']}")
    return reply


def _read(process):
    reply = process.stdout.readline()
    if not reply:
        return {"error": f"it ended with status {process.wait()} and without a reply"}
    return json.loads(reply)


def timed_by(request: Callable, method: str) -> Timed:
    """A method of the PyTorch side."""
    return lambda loops: request(do="time", method=method, loops=loops)["seconds"]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
