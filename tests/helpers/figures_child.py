"""Runs an experiment in one of several processes, and prints what the process writes in the working directory.

python -m tests.helpers.figures_child PAPER.FIGURE --config=... --workdir=WORKDIR [--distributed=HOST:PORT,COUNT,INDEX]
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")


def start(name, workdir, *flags):
    config = f"--config=configs/{name.replace('.', '/')}.py:smoke"
    command = [sys.executable, "-m", "tests.helpers.figures_child", name, config, f"--workdir={workdir}", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes)


def finish(process):
    """Names of the files and directories that the process has written, made, renamed and removed."""
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def main():
    name = sys.argv.pop(1)
    workdir = next(flag.partition("=")[2] for flag in sys.argv if flag.startswith("--workdir="))
    changed = []

    def audit(event, arguments):
        writes = event == "open" and isinstance(arguments[0], str | bytes | os.PathLike) and arguments[2] & WRITES
        paths = arguments[:1] if writes else arguments[:2] if event in CHANGES else ()
        names = [os.fsdecode(path) for path in paths if isinstance(path, str | bytes | os.PathLike)]
        changed.extend(path for path in names if path.startswith(workdir))

    sys.addaudithook(audit)
    sys.argv[0] = name
    module = importlib.import_module(f"experiments.{name}")
    try:
        importlib.import_module("experiments.lib.runner").main(module.EXPERIMENT)
    finally:
        print(json.dumps(sorted({os.path.relpath(path, workdir) for path in changed})), flush=True)


if __name__ == "__main__":
    main()
