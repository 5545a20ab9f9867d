"""Memory after many calls with fresh closures, weights and shapes, beside that of JAX's own jit of fresh lambdas."""

import subprocess
import sys

import pytest

_CHILD = """
import functools, gc, sys
import jax, jax.numpy as jnp, numpy as np
from xai_jax.adapters import adapt
from xai_jax.core import network

def memory():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

def plain(weights, x):
    return jax.jit(lambda x: jax.nn.relu(x).mean((1, 2)) @ weights)(x)

def call(weights, x):
    net = lambda x, relu=jax.nn.relu, tap=network.keep: tap("logits", relu(x).mean((1, 2)) @ weights)
    network.layer_names(net, x)
    return network.call(net, x)

def adapted(weights, x):
    return network.call(adapt.from_function(lambda x: jax.nn.relu(x).mean((1, 2)) @ weights), x)

class Model:
    def __init__(self, weights):
        self.weights = weights

    def forward(self, x, relu=jax.nn.relu, tap=network.keep):
        return tap("logits", relu(x).mean((1, 2)) @ self.weights)

def method(weights, x):
    return network.call(Model(weights).forward, x)

def bound(weights, x):
    return network.call(functools.partial(lambda w, x: jax.nn.relu(x).mean((1, 2)) @ w, weights), x)

step = {"plain": plain, "call": call, "adapted": adapted, "method": method, "bound": bound}[sys.argv[1]]
for i in range(320):
    weights = jnp.asarray(np.full((3, 350_000), i, np.float32))
    jax.block_until_ready(step(weights, jnp.ones((1, 4 + i % 10, 4, 3))))
    if i == 19:
        start = memory()
print(memory() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("case", ["call", "adapted", "method", "bound"])
def test_memory_grows_no_faster_than_with_jit(case):
    assert grown(case) < grown("plain") + 20  # MB; 300 sets of weights are 1260 MB


def grown(case):
    run = subprocess.run([sys.executable, "-c", _CHILD, case], capture_output=True, text=True, check=True)
    return float(run.stdout)
