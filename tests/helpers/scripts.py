"""Commands that stand for Pythons, and bash with an environment of its own, for tests of the shell scripts."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/bin:/bin"
MINUTES = {"alpha2001/one": 2, "alpha2001/two": 0.5, "beta2002/three": 40}


EXPERIMENT = """
import pathlib, sys
from experiments.lib import runner  # not there in this tree's plan: the plan reads modules and imports none
EXPERIMENT = runner.Experiment(title="Title of NAME", figure="Fig. 3", minutes=MINUTES)
pathlib.Path("order.txt").open("a").write("NAME ")
config, workdir = (flag.split("=", 1)[1] for flag in sys.argv[1:3])
workdir = pathlib.Path(workdir)
workdir.mkdir(parents=True, exist_ok=True)
(workdir / "argv.txt").write_text("\\n".join(sys.argv[1:]))
print("what the experiment prints")
"""
CONFIG = """
import dataclasses
@dataclasses.dataclass
class Config:
    steps: int = 3
get_config = lambda tier: Config()
"""
RUNNER = "class Experiment:\n    def __init__(self, **texts): pass"
# A gallery, and what experiments.lib.completion imports.
XAI_JAX = {
    "xai_jax/gallery/__init__.py": "",
    "xai_jax/gallery/__main__.py": """
import pathlib, sys
(pathlib.Path(sys.argv[1]) / "index.html").write_text("gallery")
""",
    "xai_jax/gallery/results.py": "damages = lambda folder, metrics: []",
    "xai_jax/io/checksums.py": "CHECKSUM = 'checksum'",
    "xai_jax/io/files.py": "from pathlib import Path as user_path",
    "xai_jax/weights/shards.py": "",
}


def command(path, body):
    """Writes a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def python_command(path, minor, micro=0):
    """A command that replies to setup.sh's probe as Python 3.<minor>.<micro> does."""
    return command(path, f'echo "{minor} {micro} {path}"')


def link(folder, names):
    """Links commands of the system into a folder."""
    for name in names.split():
        (folder / name).symlink_to(shutil.which(name, path=SYSTEM_PATH))


def bash(arguments, environment):
    """Runs bash with nothing but this environment."""
    program = shutil.which("bash", path=SYSTEM_PATH)
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def write_experiment(tree, name, code, config=CONFIG):
    """Writes the module and the configuration of an experiment."""
    for folder, text in (("configs", config), ("experiments", code)):
        path = tree / folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)


def reproduce_command(project, *arguments):
    """The command of reproduce.py, without site-packages: the standard library has to suffice."""
    return [sys.executable, "-S", "-E", str(project / "scripts/reproduce.py"), *arguments]


def wait_for_number(path):
    """The number in a file that another process writes."""
    for _ in range(1500):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise TimeoutError(f"{path} did not appear in 30 s")
