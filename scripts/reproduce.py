"""Runs the experiments, one process each, and builds the gallery: `bash scripts/reproduce.sh --help`.

Uses the standard library only, so that arguments are checked before anything is installed.
"""

import argparse
import ast
import contextlib
import difflib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

import inputs
import jobs
import lifetime
from arguments import parse

ROOT = Path(__file__).resolve().parent.parent
GALLERY = "the gallery"
LOCK, OVERWRITING = "logs/.lock", "logs/overwriting"  # in the directory of results


class Experiment(NamedTuple):
    """`minutes` of the default tier on 2 cores shared with another experiment, None if not measured.

    Those of the tour say what to `look` at; those of the paper tier have what they `need`.
    """

    paper: str
    figure: str
    minutes: float | None = None
    look: str = ""
    need: inputs.Needed = inputs.Needed()

    @property
    def name(self) -> str:
        return f"{self.paper}/{self.figure}"


def discover(root: Path) -> list[Experiment]:
    """All experiments with a `configs/<paper>/<figure>.py`, by name; ValueError if one has no code."""
    names = sorted(f"{path.parent.name}/{path.stem}" for path in root.glob("configs/[!_]*/[!_]*.py"))
    for name in names:
        if not (root / f"experiments/{name}.py").is_file():
            raise ValueError(f"expected experiments/{name}.py beside configs/{name}.py, found none; was it renamed?")
    known = [(name, constants(name, root)) for name in names]
    return [Experiment(*name.split("/"), texts.get("minutes"), texts.get("look", "")) for name, texts in known]


def tour(experiments: list[Experiment], arguments: argparse.Namespace) -> list[Experiment]:
    """The experiments that run if none are named: one figure of each method on a CPU, else all."""
    everything = arguments.only or arguments.all or arguments.tier != "default" or jobs.accelerated()
    return [e for e in experiments if everything or e.look] or experiments


def select(experiments: list[Experiment], only: list[str]) -> list[Experiment]:
    """The experiments that `only` names, by paper or paper/figure; all of them where it is empty.

    Raises ValueError for a name that matches nothing, and where there is no experiment at all.
    """
    if not experiments:
        raise ValueError("expected experiments in configs/<paper>/<figure>.py, found none; is the checkout complete?")
    names = [name.rstrip("/") for name in only]
    for name in names:
        if not any(name in (e.paper, e.name) for e in experiments):
            known = [*dict.fromkeys(e.paper for e in experiments), *(e.name for e in experiments)]
            near = difflib.get_close_matches(name[:80], known, n=1, cutoff=0)[0]
            raise ValueError(
                f"--only: expected PAPER or PAPER/FIGURE, got {name[:80]!r}; did you mean {near}? --list shows all"
            )
    return [e for e in experiments if not names or e.paper in names or e.name in names]


def with_needs(experiments: list[Experiment], arguments: argparse.Namespace, root: Path) -> list[Experiment]:
    """The experiments of the paper tier with what they need, each behind those that make it; others as they are.

    Raises ValueError for a wrong inputs file.
    """
    if arguments.tier != "paper":
        if arguments.inputs:
            raise ValueError(f"--inputs: expected --tier paper with it, got --tier {arguments.tier}")
        return experiments
    known, results = inputs.load(root), results_path(arguments.results, root)
    given = inputs.read(arguments.inputs, known)
    os.environ["TFDS_DATA_DIR"] = str(given.tfds)  # for the experiments
    needs = {e.name: inputs.needed(e.name, known, given, results, root) for e in experiments}
    found = [experiment._replace(need=needs[experiment.name]) for experiment in experiments]
    return sorted(found, key=lambda e: inputs.depth(e.name, needs))


def command(experiment: Experiment, tier: str, results: str, options: Iterable[str] = ()) -> list[str]:
    """The command of one experiment, relative to the repository's root."""
    paper, figure = experiment.paper, experiment.figure
    return [
        *(sys.executable, "-m", f"experiments.{paper}.{figure}"),
        f"--config=configs/{paper}/{figure}.py:{tier}",
        f"--workdir={results}/{paper}/{figure}",
        *experiment.need.flags,
        *options,
    ]


def finished(experiments: list[Experiment], tier: str, results: str, root: Path) -> set[str]:
    """Names of the experiments with complete results, checked by one process for all.

    None where that process fails: each experiment then checks by itself.
    """
    named = [word for experiment in experiments for word in (experiment.name, *experiment.need.flags)]
    check = [sys.executable, "-m", "experiments.lib.completion", results, tier, *named]
    done = subprocess.run(check, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return set(done.stdout.split()) if done.returncode == 0 else set()


def expected(experiments: Iterable[Experiment]) -> str:
    """Expected time of all experiments together, two at once, as far as it is known."""
    minutes = [e.minutes or 0 for e in experiments]
    return f"about {max(sum(minutes) / 2, *minutes, 0):.0f} minutes on 2 cores"


def constants(name: str, root: Path) -> dict[str, Any]:
    """Constants of `EXPERIMENT`, such as title, figure and minutes, parsed without importing the module."""
    tree = ast.parse((root / f"experiments/{name}.py").read_text())
    return {
        keyword.arg: keyword.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "EXPERIMENT"
        for keyword in node.value.keywords
        if isinstance(keyword.value, ast.Constant)
    }


def print_list(experiments: list[Experiment], root: Path) -> None:
    """Prints the experiments by paper, with the minutes of the default tier, and totals."""
    width = max(len(experiment.name) for experiment in experiments)
    for paper, group in groupby(experiments, key=lambda experiment: experiment.paper):
        group = list(group)
        print(f"{paper}: {len(group)} experiment(s), {expected(group)}")
        for experiment in group:
            minutes = "?" if experiment.minutes is None else f"{experiment.minutes:g}"
            known = constants(experiment.name, root)
            title, figure = known.get("title", ""), known.get("figure", "")
            print(f"  {experiment.name:{width}} {minutes:>5} min  {title} ({figure})")
    if toured := [e for e in experiments if e.look]:
        print(f"tour: {', '.join(e.name for e in toured)}: {expected(toured)}")
    print(f"all: {len(experiments)} experiment(s), {expected(experiments)}, at the tier default")


def overwritten(experiments: list[Experiment], tier: str, results: str, root: Path) -> set[str]:
    """Names of the experiments that finished since an interrupted overwrite of the same selection began."""
    marker = root / results / OVERWRITING
    if not lifetime.overwriting(marker, selection(experiments, tier)):
        return set()
    print(f"continues the interrupted --overwrite; to run all experiments again, remove {results}/{OVERWRITING}")
    done = finished(experiments, tier, results, root)
    return lifetime.newer({name: root / results / name / "metrics.json" for name in done}, marker)


def selection(experiments: list[Experiment], tier: str) -> str:
    """The content of the file that an overwrite leaves while it is unfinished."""
    return "".join(f"{line}\n" for line in (tier, *(experiment.name for experiment in experiments)))


def print_plan(experiments: list[Experiment], done: set[str], tier: str, results: str) -> None:
    """Prints what will run with its expected time, and at the paper tier what is ready and how to get the rest."""
    left = [experiment for experiment in experiments if experiment.name not in done]
    time = f", {expected(left)}" if tier == "default" else ""
    print(f"{len(experiments)} experiment(s), tier {tier}, results in {results}; {len(left)} to run{time}:")
    names, width = {e.name for e in left}, max((len(e.name) for e in left), default=0)
    for experiment in left:
        print(f"  {experiment.name:{width}}  {experiment.need.state(names) if tier == 'paper' else ''}".rstrip())
    print("then the gallery.", flush=True)
    for line in inputs.remedies([experiment.need for experiment in left], names):
        print(line, flush=True)


def results_path(given: str | None, root: Path) -> str:
    """The results directory, relative to the root if inside it: commands in the gallery then work in any checkout."""
    path = Path(given).resolve() if given else root / "results"
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def claim(results: str, root: Path) -> IO[str] | None:
    """The lock of the results directory, which is made; None, after a message, where that is impossible."""
    try:
        lock = lifetime.alone(root / results / LOCK)
        reason = f"expected {results} to be free, another reproduce works there; wait or choose another --results"
    except OSError as error:
        lock, reason = None, f"--results: expected a directory that can be made, got {results[:200]}: {error.strerror}"
    if lock is None:
        print(f"reproduce: {reason}", file=sys.stderr)
    return lock


def planned(
    experiments: list[Experiment], done: set[str], arguments: argparse.Namespace, results: str, root: Path
) -> list[jobs.Job]:
    """A job for each experiment, numbered in its status line."""
    names = {experiment.name for experiment in experiments}
    width, count, logs = max(map(len, names)), len(experiments), root / results / "logs"
    options = [f"--{name}" for name in ("overwrite", "deterministic") if getattr(arguments, name)]
    return [
        jobs.Job(
            e.name,
            f"[{number:{len(str(count))}}/{count}] {e.name:{width}}",
            command(e, arguments.tier, results, options),
            logs / f"{e.paper}_{e.figure}.log",
            e.minutes if arguments.tier == "default" else None,
            e.look,
            e.need.makers,
            ", ".join(item.key for item in e.need.missing(names - done)),
        )
        for number, e in enumerate(experiments, start=1)
    ]


@contextlib.contextmanager
def marked(marker: Path, selected: str, overwrite: bool) -> Iterator[None]:
    """Leaves `marker`, with the time of its first writing, if an overwrite does not end, and removes it at the end."""
    if overwrite and not lifetime.overwriting(marker, selected):
        marker.write_text(selected)
    yield
    if lifetime.overwriting(marker, selected):
        marker.unlink()


def run(
    plan: list[jobs.Job], done: set[str], at_once: int | None, results: str, root: Path, lock: IO[str]
) -> list[jobs.Failure]:
    """Runs the unfinished jobs, then the gallery, regardless of failures; returns the failed and the skipped ones.

    The gallery grows meanwhile. Raises KeyboardInterrupt when interrupted.
    """
    stop = jobs.stop_on_signals()
    for job in plan:
        if job.name in done:
            print(f"{job.label}  finished before", flush=True)
    left = jobs.in_order(job for job in plan if job.name not in done)
    command = [sys.executable, "-m", "xai_jax.gallery", results]
    failed = jobs.run_all(left, at_once or jobs.usual(), root, stop, lock, jobs.growing(command, root / results, root))
    gallery = jobs.Job(GALLERY, GALLERY, command, root / results / "logs/gallery.log")
    return failed + jobs.run_all([gallery], 1, root, stop, lock)


def conclude(failed: list[jobs.Failure], page: Path) -> int:
    """Reports failures with their logs and the location of the gallery; returns the exit status."""
    names = [child.job.name for child in failed]
    if GALLERY not in names:
        print(f"gallery: {page}", flush=True)
    for child in failed:
        print(f"\n{jobs.report(child)}", file=sys.stderr)
    if failed:
        what = "failed or skipped" if any(isinstance(each, jobs.Skipped) for each in failed) else "failed"
        print(f"reproduce: {len(failed)} {what}: {', '.join(names)}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str], root: Path = ROOT) -> int:
    """Exit status: 0 success, 1 something failed, 2 wrong arguments, 130 interrupted."""
    arguments = parse(argv)
    try:
        known = with_needs(select(discover(root), arguments.only), arguments, root)
    except ValueError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    if arguments.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--list | head` closes the pipe early
        print_list(known, root)
        return 0
    experiments = tour(known, arguments)
    results = results_path(arguments.results, root)
    try:
        lock = None if arguments.plan else claim(results, root)
        if lock is None and not arguments.plan:
            return 1
        done = (overwritten if arguments.overwrite else finished)(experiments, arguments.tier, results, root)
        print_plan(experiments, done, arguments.tier, results)
        if arguments.plan:
            return 0
        with marked(root / results / OVERWRITING, selection(experiments, arguments.tier), arguments.overwrite):
            plan = planned(experiments, done, arguments, results, root)
            failed = run(plan, done, arguments.jobs, results, root, lock)
    except KeyboardInterrupt:
        print("reproduce: interrupted; run the same command to continue", file=sys.stderr)
        return 130
    return conclude(failed, root / results / "index.html")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
