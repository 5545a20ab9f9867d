"""Runs the experiments, one process each, and builds the gallery: `bash scripts/reproduce.sh --help`.

Uses the standard library only: its arguments are checked before anything is installed.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TIERS = ("smoke", "default", "paper")


class Experiment(NamedTuple):
    paper: str
    figure: str

    @property
    def name(self) -> str:
        return f"{self.paper}/{self.figure}"


def discover(root: Path) -> list[Experiment]:
    """All experiments that have a `configs/<paper>/<figure>.py`, by name."""
    paths = sorted(root.glob("configs/[!_]*/[!_]*.py"))
    return [Experiment(path.parent.name, path.stem) for path in paths]


def select(experiments: list[Experiment], only: list[str]) -> list[Experiment]:
    """The experiments that `only` names, by paper or paper/figure; all of them where it is empty.

    Raises ValueError for a name that matches nothing, and where there is no experiment at all.
    """
    if not experiments:
        raise ValueError("expected experiments in configs/<paper>/<figure>.py, found none; is the checkout complete?")
    names = [name.rstrip("/") for name in only]
    for name in names:
        if not any(name in (e.paper, e.name) for e in experiments):
            known = ", ".join(e.name for e in experiments)
            raise ValueError(f"--only: expected PAPER or PAPER/FIGURE of {known}; got {name!r}")
    return [e for e in experiments if not names or e.paper in names or e.name in names]


def command(experiment: Experiment, tier: str, results: str, overwrite: bool) -> list[str]:
    """The exact command of one experiment, to be run in the repository's root."""
    paper, figure = experiment
    options = ["--overwrite"] if overwrite else []
    return [
        *(sys.executable, "-m", f"experiments.{paper}.{figure}"),
        f"--config=configs/{paper}/{figure}.py:{tier}",
        f"--workdir={results}/{paper}/{figure}",
        *options,
    ]


def run(arguments: list[str], root: Path) -> int:
    """Exit status of a child process, which never outlives this one."""
    with subprocess.Popen(arguments, cwd=root) as child:
        try:
            return child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    child.kill()


def run_all(experiments: list[Experiment], arguments: argparse.Namespace, results: str, root: Path) -> list[str]:
    """Runs all experiments, prints a line for each, and returns the names of those that failed."""
    failed = []
    for number, experiment in enumerate(experiments, start=1):
        place = f"[{number}/{len(experiments)}] {experiment.name}"
        print(f"{place}: running", flush=True)
        started = time.monotonic()
        status = run(command(experiment, arguments.tier, results, arguments.overwrite), root)
        outcome = "done" if status == 0 else f"FAILED (exit status {status})"
        print(f"{place}: {outcome} in {time.monotonic() - started:.1f} s", flush=True)
        if status != 0:
            failed.append(experiment.name)
    return failed


def results_path(given: str | None, root: Path) -> str:
    """Relative to the root where it lies inside, so that the commands in the gallery work in any checkout."""
    path = Path(given).resolve() if given else root / "results"
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def print_plan(experiments: list[Experiment], tier: str, results: str) -> None:
    print(f"{len(experiments)} experiment(s), tier {tier}, results in {results}:")
    for experiment in experiments:
        print(f"  {experiment.name}")
    print("then the gallery.", flush=True)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reproduce", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--tier", choices=TIERS, default="default")
    parser.add_argument("--only", metavar="PAPER[/FIGURE]", action="append", default=[])
    parser.add_argument("--results", metavar="DIR")
    parser.add_argument("--overwrite", action="store_true", help="run finished experiments again")
    parser.add_argument("--plan", action="store_true", help="print what would run, and stop")
    return parser.parse_args(argv)


def main(argv: list[str], root: Path = ROOT) -> int:
    """Exit status: 0 all well, 1 something failed, 2 wrong arguments, 130 interrupted."""
    arguments = parse(argv)
    try:
        experiments = select(discover(root), arguments.only)
    except ValueError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    results = results_path(arguments.results, root)
    print_plan(experiments, arguments.tier, results)
    if arguments.plan:
        return 0
    # A polite kill takes the same way out as Ctrl-C: the child ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failed = run_all(experiments, arguments, results, root)
        if run([sys.executable, "-m", "xai_jax.gallery", results], root) == 0:
            print(f"gallery: {root / results / 'index.html'}")
        else:
            failed.append("the gallery")
    except KeyboardInterrupt:
        print("reproduce: interrupted; run the same command to continue", file=sys.stderr)
        return 130
    if failed:
        print(f"reproduce: {len(failed)} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
