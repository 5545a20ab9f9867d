"""The table of experiments; a new figure takes two files and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.lib import catalogue

ROOT = Path(__file__).parents[2]
CONFIG = """
import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Seeded):
    size: int = 3


get_config = base.tiers(smoke=Config(), default=Config(size=6), paper=Config(size=9))
"""
EXPERIMENT = """
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from experiments.lib import dry_run, statistics
from experiments.lib.report import Claim, Panel, Report
from experiments.lib.runner import Experiment, main


def run(config, work):
    found = work.stage("sums", lambda: {"x": range(config.size)})
    figure = Figure()
    figure.subplots().plot(found["x"])
    claims = [Claim("It rises.", "Fig. 1", statistics.t_test(found["x"]), "it does")]
    return Report(claims=claims, panels=[Panel("line", figure, "A line.", "A line.")])


def plan(config):
    return [dry_run.Step("sums", jnp.sum, (jax.ShapeDtypeStruct((config.size,), jnp.float32),))]


EXPERIMENT = Experiment(
    "toy2030/line", title="A line", figure="Fig. 1", paper="Toy 2030", summary="A toy.", run=run, plan=plan, minutes=2.5
)

if __name__ == "__main__":
    main(EXPERIMENT)
"""


@pytest.mark.parametrize("name", catalogue.names())
def test_summaries_are_short(name):
    summary = catalogue.load(name).summary
    assert len(summary.split()) <= 60 and summary.endswith((".", "?"))


def test_the_table_of_experiments_is_up_to_date():
    expected = catalogue.page(map(catalogue.load, catalogue.names()))
    assert (ROOT / "docs/experiments.md").read_text() == expected, "run python -m experiments.lib.catalogue"


def test_a_new_figure_takes_two_files(tmp_path):
    for folder in ("configs", "experiments", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=lambda path, names: {"__pycache__"} & set(names))
    for path, text in (("configs/toy2030/line.py", CONFIG), ("experiments/toy2030/line.py", EXPERIMENT)):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text)

    def python(*arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}  # xai_jax from here, experiments from there
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert not done.returncode, done.stderr
        return done.stdout

    run = "-m", "experiments.toy2030.line", "--config=configs/toy2030/line.py:default"
    python(*run, "--workdir=results/toy2030/line")
    assert "sums" in python(*run, "--dry_run")
    (claim,) = json.loads((tmp_path / "results/toy2030/line/metrics.json").read_text())["claims"]
    assert claim["verdict"] == "supported"
    listed = [line for line in python("scripts/reproduce.py", "--list").splitlines() if "toy2030/line" in line]
    assert [line.split() for line in listed] == ["toy2030/line 2.5 min A line (Fig. 1)".split()]
    code = (
        "from experiments.lib import catalogue; print(catalogue.row(catalogue.load('toy2030/line')), catalogue.names())"
    )
    listed = python("-c", code)
    assert "| [toy2030/line](../experiments/toy2030/line.py) | Fig. 1 | 2.5 | A line |" in listed
    assert "'toy2030/line'" in listed
    python("-m", "xai_jax.gallery", "results")
    assert "A line" in (tmp_path / "results/index.html").read_text()
