"""Flags of precision and determinism, and their record."""

import os
import subprocess
import sys

import jax
import pytest
from absl.testing import flagsaver

from experiments.lib import numerics
from tests.helpers.scripts import ROOT

ALL = """
import importlib, pathlib
for path in sorted(pathlib.Path("configs").glob("[!_]*/[!_]*.py")):
    importlib.import_module(f"experiments.{path.parent.name}.{path.stem}")
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
"""


@pytest.fixture(autouse=True)
def options(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")


def test_flags_are_in_effect_and_recorded():
    with flagsaver.as_parsed(precision="highest", deterministic="true"), numerics.chosen():
        assert jax.config.jax_default_matmul_precision == "highest"
        assert os.environ["XLA_FLAGS"].split() == ["--xla_cpu_enable_fast_math=false", *numerics.DETERMINISTIC]
        assert numerics.settings() == f"jax {jax.__version__} highest deterministic"
        found = numerics.record()
    assert set(found["precision"].values()) == {"highest"} and found["deterministic"]
    assert found["versions"]["jax"] == jax.__version__ and "xla_gpu_autotune_level=0" in found["xla_flags"]


def test_by_default_nothing_is_set_and_a_precision_of_the_user_is_kept():
    with flagsaver.as_parsed(precision="default", deterministic="false"), numerics.chosen():
        assert jax.config.jax_default_matmul_precision is None
        assert not numerics.record()["deterministic"]
        assert numerics.settings() == f"jax {jax.__version__}"
    with (
        flagsaver.as_parsed(precision="default", deterministic="false"),
        jax.default_matmul_precision("tensorfloat32"),
        numerics.chosen(),
    ):
        assert set(numerics.record()["precision"].values()) == {"tensorfloat32"}


def test_xla_takes_the_options():
    own = os.environ | {"XLA_FLAGS": " ".join(numerics.DETERMINISTIC)}
    subprocess.run([sys.executable, "-c", "import jax; jax.numpy.ones(2).sum()"], env=own, check=True)


def test_no_experiment_computes_while_it_is_imported():
    """XLA would have read its options before the flags of the command line are known."""
    done = subprocess.run([sys.executable, "-c", ALL], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
