"""Networks that close over their weights are released, and new weights do not retrace."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import saliency, targets
from xai_jax.adapters import adapt
from xai_jax.core import network

X = jnp.ones((2, 4, 4, 3))


def closure(weights, traces=None):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        if traces is not None:
            traces.append(1)
        return tap("logits", relu(tap("conv1", x)).mean((1, 2)) @ weights)

    return net


def adapted(weights):
    return adapt.from_function(lambda x: jax.nn.relu(x).mean((1, 2)) @ weights)


def nested(weights):
    inner = closure(weights)
    return lambda x, relu=jax.nn.relu, tap=network.keep: inner(x, relu, tap)


USES = {
    "call": lambda net: network.call(net, X),
    "names": lambda net: network.layer_names(net, X),
    "saliency": lambda net: saliency.gradient(net, X, targets.logit(0)),
}


@pytest.mark.parametrize("make", [closure, nested, adapted])
@pytest.mark.parametrize("use", USES)
def test_weights_of_a_closure_are_released(make, use):
    weights = jnp.full((3, 5), 2.0)
    USES[use](make(weights))
    alive = weakref.ref(weights)
    del weights
    gc.collect()
    assert alive() is None


def test_new_weights_in_a_closure_do_not_retrace_and_are_used():
    traces = []
    for value in (1.0, 2.0, 3.0):
        result = network.call(closure(jnp.full((3, 5), value), traces), X)
        np.testing.assert_allclose(result, 3 * value)
    assert len(traces) == 1


def test_new_weights_of_a_linen_module_do_not_retrace():
    nn = pytest.importorskip("flax.linen")
    traces = []

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train=True):
            traces.append(1)
            return nn.Dense(2)(x.mean((1, 2)))

    module = Model()
    variables = module.init(jax.random.key(0), X)
    counts = []
    for factor in (1, 2, 3):
        scaled = jax.tree.map(lambda v, factor=factor: v * factor, variables)
        network.call(adapt.from_linen(module, scaled, train=False), X)
        counts.append(len(traces))
    assert counts[0] == counts[-1]


def test_closures_that_differ_in_a_number_differ():
    def make(power):
        return lambda x: x**power

    assert network.call(make(2), jnp.float32(3)) == 9
    assert network.call(make(3), jnp.float32(3)) == 27


def test_a_closure_may_use_numpy_on_its_arrays_of_numpy():
    variance = np.arange(1.0, 4.0, dtype=np.float32)
    net = lambda x: x / np.sqrt(variance) * int(variance[2])  # noqa: E731
    np.testing.assert_allclose(network.call(net, jnp.ones((1, 3))), 3 / np.sqrt(variance)[None], rtol=1e-6)
