"""A fork adds an architecture with one file and one line, those of docs/extending.md: loaded from a file, explained."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from xai_jax.weights import safetensors_file

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text()
SECTION = PAGE[PAGE.index("## An architecture of a fork") :]
EXPLAIN = """
import numpy as np
from xai_jax import models, network, saliency, targets
import xai_jax
model = models.load("tiny", "tiny.safetensors", classes=["a", "b"])
x = model.preprocess([np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)])
guided, plain = (method(model.net, x, targets.logit(1)) for method in (saliency.guided_backprop, saliency.gradient))
assert guided.shape == (1, 32, 32, 3) and np.abs(guided).max() > 0 and not np.allclose(guided, plain)
print(xai_jax.__file__, "tiny" in models.names(), model.classes, *network.layer_names(model.net, x))
"""


def fork(folder):
    """A copy of the package, most of it by links, with the page's file and line."""
    package = folder / "xai_jax"
    package.mkdir(parents=True)
    for path in (ROOT / "xai_jax").iterdir():
        if path.name not in ("architectures", "models", "__pycache__"):
            (package / path.name).symlink_to(path)
    for name in ("architectures", "models"):
        shutil.copytree(ROOT / "xai_jax" / name, package / name, ignore=shutil.ignore_patterns("*.safetensors"))
    (file,) = re.findall(r"The file, `(\S+)`", SECTION)
    (line,) = re.findall(r"```text\n(.*?\n)```", SECTION, re.DOTALL)
    (folder / file).write_text(re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)[1])
    entries = package / "models/entries.py"
    entries.write_text(entries.read_text().replace("ENTRIES = {\n", f"ENTRIES = {{\n{line}"))
    assert line.count("\n") == 1


def test_one_file_and_one_line_are_enough(tmp_path):
    fork(tmp_path)
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (8, 3, 3, 3), "conv1.bias": (8,), "fc.weight": (2, 8), "fc.bias": (2,)}
    state = {name: rng.normal(0, 0.3, shape).astype("f") for name, shape in shapes.items()}
    safetensors_file.write(tmp_path / "tiny.safetensors", state)
    done = subprocess.run([sys.executable, "-c", EXPLAIN], cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    where = tmp_path / "xai_jax/__init__.py"
    assert done.stdout.split(maxsplit=1) == [str(where), "True ('a', 'b') conv1 relu1 logits\n"]
