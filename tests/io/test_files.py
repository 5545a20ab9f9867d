"""Atomic writes and removal of temporary files."""

import os
import subprocess
import sys

import pytest

from experiments.lib import runner
from xai_jax.io import files
from xai_jax.training import checkpoints


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_temporary_files_of_killed_writers_are_removed_by_the_next_run(tmp_path):
    folder = tmp_path / "epochs"
    folder.mkdir()
    dies = "import os, sys; from xai_jax.io import files; os.replace = lambda *_: os._exit(9); "
    command = [sys.executable, "-c", dies + "files.write_atomically(sys.argv[1], b'new')", folder / "0001.safetensors"]
    assert subprocess.run(command).returncode == 9
    (left,) = folder.iterdir()
    (tmp_path / "other.part").write_bytes(b"not ours")
    for locked in (checkpoints.locked, runner._locked):
        left.write_bytes(b"new")
        with locked(tmp_path):
            assert not list(folder.iterdir()) and (tmp_path / "other.part").exists()
