"""The compilation cache: the next process reads it, results are the same, damaged files are recompiled."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from experiments.lib import compilation_cache

CHILD = """
import json, os, sys
import jax
import jax.numpy as jnp
import numpy as np
from experiments.lib import compilation_cache

compilation_cache.LEAST_SECONDS = 0.0
compilation_cache.keep()
read = []
jax.monitoring.register_event_listener(lambda name, **_: read.append(name))

@jax.jit
def function(x):
    return jnp.tanh(x @ x.T).sum(0)

values = function(jnp.linspace(-1, 1, 12).reshape(3, 4))
hits = sum(name.endswith("compilation_cache/cache_hits") for name in read)
print(json.dumps({"values": np.asarray(values).tobytes().hex(), "hits": hits}), flush=True)
if sys.argv[1:]:
    os.kill(os.getpid(), int(sys.argv[1]))
"""
# Without any checksum, as zstd in JAX's use, and without its format: each changed bit reaches the program.
ZSTANDARD = """
class ZstdCompressor:
    def compress(self, content):
        return content

class ZstdDecompressor:
    def decompress(self, content):
        return content
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/zstandard.py").write_text(ZSTANDARD)

    def start(*arguments, **more):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        paths = os.pathsep.join((os.getcwd(), str(tmp_path / "packages")))
        environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths} | more
        command = [sys.executable, "-c", CHILD, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def finish(process, status=0):
    out, errors = process.communicate()
    assert process.returncode == status, errors
    return json.loads(out)


@pytest.fixture
def run(start):
    return lambda **more: finish(start(**more))


def test_the_second_process_reads_what_the_first_compiled(run, tmp_path):
    first, second = run(), run()
    assert first["hits"] == 0 and second["hits"] >= 1
    assert second["values"] == first["values"]
    files = list((tmp_path / "xai_jax" / "programs").glob("jit_function*-cache"))
    assert len(files) == 1
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    third = run()
    assert third["hits"] < second["hits"] and third["values"] == first["values"]


def test_a_directory_set_before_is_kept(run, tmp_path):
    run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    assert list((tmp_path / "mine").glob("*-cache")) and not (tmp_path / "xai_jax").exists()
    assert not list((tmp_path / "mine").glob("*.sha256"))


def test_programs_with_changed_bits_are_replaced(run, tmp_path):
    first, rng, folder = run(), np.random.default_rng(0), tmp_path / "xai_jax" / "programs"
    for flips in (1, 20):
        for file in folder.glob("*-cache"):
            content = np.frombuffer(file.read_bytes(), np.uint8).copy()
            content[rng.integers(len(content), size=flips)] ^= np.uint8(1) << rng.integers(8, dtype=np.uint8)
            file.write_bytes(content.tobytes())
        assert run() == first and first["hits"] == 0
    assert run()["hits"] >= 1


def test_programs_of_killed_and_of_simultaneous_runs_are_read(start, run):
    processes = [start(str(int(signal.SIGKILL))) for _ in range(2)]
    values = {finish(process, -signal.SIGKILL)["values"] for process in processes}
    last = run()
    assert last["hits"] >= 1 and {last["values"]} == values


def test_only_programs_with_their_own_checksum_stay(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}-cache").write_bytes(b"program")
        checksum = compilation_cache._checksum(tmp_path / f"{name}-cache")
        (tmp_path / f"{name}-cache.sha256").write_bytes(checksum)
    (tmp_path / "a-cache.sha256").unlink()
    (tmp_path / "b-cache").write_bytes(b"programs")
    for end in ("-cache", "-cache.sha256"):
        os.replace(tmp_path / f"c{end}", tmp_path / f"e{end}")
    (tmp_path / "f-cache.sha256").touch()
    os.mkfifo(tmp_path / "g-cache")
    os.mkfifo(tmp_path / "g-cache.sha256")
    (tmp_path / "notes").touch()
    assert compilation_cache.remove_damaged(tmp_path) == {"d-cache"}
    kept = ["d-cache", "d-cache.sha256", "notes"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_where_a_damaged_program_cannot_be_removed_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compilation_cache.jax.config, "update", lambda *_: pytest.fail("the cache is used"))
    monkeypatch.setattr(type(compilation_cache.jax.config), "jax_compilation_cache_dir", None, raising=False)
    (tmp_path / "xai_jax/programs/a-cache").mkdir(parents=True)
    with pytest.warns(UserWarning, match="Expected a cache of compiled programs, continue without: .*a-cache"):
        compilation_cache.keep()
