"""The whole paper tier by one command: artificial data, random weights of the right shapes, few images and steps."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.helpers import paper_inputs
from tests.helpers.scripts import ROOT

OVERRIDES = ROOT / "tests/helpers/paper_overrides.toml"
# Programs run once or twice here, so that compiling them well does not pay.
FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.mark.slow
def test_the_paper_tier_runs_through_in_the_order_of_its_needs(tmp_path):
    """PAPER_TIER=DIRECTORY keeps inputs and results there, and continues with them."""
    kept = os.environ.get("PAPER_TIER")
    root = tmp_path if kept is None else type(tmp_path)(kept)
    inputs = paper_inputs.write(root / "inputs", OVERRIDES.read_text())
    done, results = reproduce(root, inputs, "--jobs", "1"), root / "results"
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    names = re.findall(r"^\[ *\d+/\d+\] (\S+) +(?:done|finished before)", done.stdout, re.MULTILINE)
    assert len(names) == len(set(names)) == len(list(ROOT.glob("configs/[!_]*/[!_]*.py")))
    for name in names:
        metrics = json.loads((results / name / "metrics.json").read_text())
        assert metrics["tier"] == "paper" and metrics["numbers"] and metrics["figures"], name
    for maker, user in (
        ("zeiler2014/imagenet", "zeiler2014/evolution"),
        ("springenberg2015/imagenet", "springenberg2015/comparison"),
    ):
        assert names.index(maker) <= names.index(user)
    command = json.loads((results / "zeiler2014/occlusion/metrics.json").read_text())["command"]
    assert f"--config.weights={results}/zeiler2014/imagenet/training/zfnet-0/weights.safetensors" in command
    plan = reproduce(root, inputs, "--plan")
    assert f"{len(names)} experiment(s), tier paper, results in {results}; 0 to run" in plan.stdout


def reproduce(root, inputs, *arguments):
    """The command of reproduce.sh behind its installation."""
    command = [sys.executable, "scripts/reproduce.py", "--tier", "paper", "--inputs", str(inputs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    where = ["--results", str(root / "results")]
    return subprocess.run(
        [*command, *where, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=4 * 3600
    )
