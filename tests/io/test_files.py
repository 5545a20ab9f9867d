"""Atomic writes and removal of temporary files."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from experiments.lib import manifest, runner
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
    dies = "import os, sys; from xai_jax.io import files; os.replace = lambda *_: os._exit(9); "
    for name, locked in (("epochs", checkpoints.locked), ("stages", runner._locked)):
        folder = tmp_path / name / name
        folder.mkdir(parents=True)
        path = folder / "0001.safetensors"
        manifest.add(folder.parent, f"{name}/{path.name}")
        command = [sys.executable, "-c", dies + "files.write_atomically(sys.argv[1], b'new')", path]
        assert subprocess.run(command).returncode == 9 and len(list(folder.iterdir())) == 1
        others = folder.parent / "other.part", folder.parent / "paper/figure/.arrays.npz.0.part"
        for other in others:
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(b"the user's, or of a run in a folder below")
        with locked(folder.parent):
            assert not list(folder.iterdir()) and all(other.exists() for other in others)


def test_writers_of_one_file_in_threads_all_leave_whole_files(tmp_path):
    path, contents = tmp_path / "file", [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda content: files.write_atomically(path, content), contents * 5))
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]


def test_symbolic_links_are_replaced_and_not_followed(tmp_path, monkeypatch):
    target, path = tmp_path / "target", tmp_path / "file"
    target.write_bytes(b"the user's")
    path.symlink_to(target)
    files.write_atomically(path, b"new")
    assert target.read_bytes() == b"the user's" and path.read_bytes() == b"new" and not path.is_symlink()
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "00")
    files.partial_path(path).symlink_to(target)
    with pytest.raises(FileExistsError):
        files.write_atomically(path, b"newer")
    assert target.read_bytes() == b"the user's" and path.read_bytes() == b"new"


def test_long_names_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 127)
    files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
