"""The plan of every experiment in every tier: shapes fit, and all steps lower for accelerators."""

import importlib
import sys
from functools import cache
from pathlib import Path

import jax
import pytest

from experiments.lib import runner

ROOT = Path(__file__).parents[2]
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in ROOT.glob("configs/[!_]*/[!_]*.py"))


@cache
def plan(name, tier):
    module = name.replace("/", ".")
    config = importlib.import_module(f"configs.{module}").get_config(tier)
    return importlib.import_module(f"experiments.{module}").EXPERIMENT.plan(config)


@pytest.mark.parametrize("tier", ["smoke", pytest.param("default", marks=pytest.mark.slow), "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_fit(name, tier):
    steps = plan(name, tier)
    assert len({step.name for step in steps}) == len(steps) > 0
    for step in steps:
        assert isinstance(step.repeats, int) and step.repeats > 0, step.name
        found = jax.tree.leaves(jax.eval_shape(jax.jit(step.function), *step.arguments))
        assert found and all(0 not in leaf.shape for leaf in found), step.name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_paper_plans_lower_for_accelerators(name):
    for step in plan(name, "paper"):
        exported = jax.export.export(jax.jit(step.function), platforms=("cuda", "tpu"))(*step.arguments)
        assert exported.platforms == ("cuda", "tpu") and exported.mlir_module_serialized


def test_shapes_that_do_not_fit_are_found_out():
    module, config = "experiments.springenberg2015.comparison", "configs.springenberg2015.comparison"
    experiment: runner.Experiment = importlib.import_module(module).EXPERIMENT
    wrong = importlib.import_module(config).get_config("smoke")
    wrong.layers = ("no such layer",)
    with pytest.raises(ValueError, match="no such layer"):
        for step in experiment.plan(wrong):
            jax.eval_shape(step.function, *step.arguments)
    assert module in sys.modules
