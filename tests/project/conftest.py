"""A copy of the scripts, and a machine without Pythons of its own."""

import shutil

import pytest

from tests.helpers.scripts import EXPERIMENT, MINUTES, ROOT, RUNNER, XAI_JAX, link, write_experiment


@pytest.fixture
def tree(tmp_path):
    """A copy of the scripts with two tested Pythons, 3.12 and 3.13, and without experiments."""
    root = tmp_path / "tree"
    (root / "scripts").mkdir(parents=True)
    for name in (
        "setup.sh",
        "reproduce.sh",
        "reproduce.py",
        "jobs.py",
        "lifetime.py",
        "inputs.py",
        "sources.py",
        "arguments.py",
    ):
        shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
    for minor in (12, 13):
        (root / f"scripts/constraints-3.{minor}.txt").touch()
    return root


@pytest.fixture
def machine(tmp_path):
    """Environment of a machine without other Pythons than those that a test writes to bin/ and pyenv/versions/."""
    tools = tmp_path / "tools"
    tools.mkdir()
    link(tools, "bash dirname sed sort awk head tail tr grep paste cat cksum")
    return {"PATH": f"{tmp_path}/bin:{tools}", "PYENV_ROOT": f"{tmp_path}/pyenv", "HOME": str(tmp_path)}


@pytest.fixture
def project(tree):
    """A tree with experiments that work (alpha2001/one, beta2002/three), one that fails, and a gallery."""
    failing = "import sys\nprint('first', *range(30), sep='\\n')\nprint('10%\\r20%\\rdone')\nsys.exit('the reason')"
    for name, minutes in MINUTES.items():
        working = EXPERIMENT.replace("NAME", name).replace("MINUTES", str(minutes))
        write_experiment(tree, name, failing if name == "alpha2001/two" else working)
    for folder in ("configs", "experiments"):
        (tree / folder / "__init__.py").touch()
    (tree / "experiments/lib").mkdir()
    (tree / "experiments/lib/runner.py").write_text(RUNNER)
    shutil.copy(ROOT / "experiments/lib/completion.py", tree / "experiments/lib")
    for name, code in XAI_JAX.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(code)
    return tree
