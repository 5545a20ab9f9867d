"""The compilation cache: the next process reads it, results are the same, damaged files are recompiled."""

import json
import os
import subprocess
import sys

import pytest

CHILD = """
import json, sys
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
print(json.dumps({"values": np.asarray(values).tobytes().hex(), "hits": hits}))
"""


@pytest.fixture
def run(tmp_path):
    def run(**more):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.getcwd()} | more
        child = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True)
        assert child.returncode == 0, child.stderr
        return json.loads(child.stdout)

    return run


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
