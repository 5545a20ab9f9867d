"""The table of all experiments: `python -m experiments.lib.catalogue` writes docs/experiments.md."""

import importlib
from collections.abc import Iterable
from pathlib import Path

from experiments.lib.runner import Experiment
from xai_jax.io.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = """# Experiments

Made by `python -m experiments.lib.catalogue`. Minutes are those of the tier `default` on 2 cores that run two
experiments at once. Each row links the code; its configurations are in the file of the same name below `configs/`.

| experiment | figure or table | minutes | |
|---|---|---|---|
"""


def names(root: Path = ROOT) -> list[str]:
    """All "paper/figure" that have a configuration and an experiment."""
    found = (f"{path.parent.name}/{path.stem}" for path in sorted(root.glob("configs/[!_]*/[!_]*.py")))
    return [name for name in found if (root / "experiments" / f"{name}.py").exists()]


def load(name: str) -> Experiment:
    """The experiment of "paper/figure"."""
    return importlib.import_module(f"experiments.{name.replace('/', '.')}").EXPERIMENT


def page(experiments: Iterable[Experiment]) -> str:
    """The whole file, in the order of the gallery."""
    ordered = sorted(experiments, key=lambda experiment: (experiment.order, experiment.name))
    return INTRODUCTION + "".join(f"{row(experiment)}\n" for experiment in ordered)


def row(experiment: Experiment) -> str:
    """One line of the table."""
    minutes = "–" if experiment.minutes is None else f"{experiment.minutes:g}"
    link = f"[{experiment.name}](../experiments/{experiment.name}.py)"
    return f"| {link} | {experiment.figure} | {minutes} | {experiment.title} |"


def main() -> None:
    write_atomically(ROOT / "docs" / "experiments.md", page(map(load, names())).encode())


if __name__ == "__main__":
    main()
