"""Networks that close over their weights are released, and new weights do not retrace."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import saliency, targets
from xai_jax.adapters import adapt
from xai_jax.core import network
from xai_jax.io.fingerprints import fingerprint

X = jnp.ones((2, 4, 4, 3))
TRACES = []


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


def with_weights(weights, x, relu=jax.nn.relu, tap=network.keep):
    return tap("logits", relu(tap("conv1", x)).mean((1, 2)) @ weights)


def bound(weights):
    return functools.partial(with_weights, weights)


def keyword(weights):
    def net(x, relu=jax.nn.relu, tap=network.keep, *, weights=weights):
        return with_weights(weights, x, relu, tap)

    return net


class Layer:
    def __init__(self, weights):
        self.weights, self.name = weights, "logits"

    def __call__(self, x):
        return x @ self.weights


class Model:
    def __init__(self, weights, bias=0):
        self.layers, self.bias = [Layer(weights)], bias

    def __call__(self, x, relu=jax.nn.relu, tap=network.keep):
        x = relu(tap("conv1", x)).mean((1, 2))
        for layer in self.layers:
            x = tap(layer.name, layer(x) + self.bias)
        return x

    def forward(self, x, relu=jax.nn.relu, tap=network.keep):
        return self(x, relu, tap)


def method(weights):
    return Model(weights).forward


def around_an_object(weights):
    model = Model(weights)
    return lambda x, relu=jax.nn.relu, tap=network.keep: model(x, relu, tap)


KINDS = [closure, nested, adapted, bound, keyword, Model, method, around_an_object]
USES = {
    "call": lambda net: network.call(net, X),
    "names": lambda net: network.layer_names(net, X),
    "saliency": lambda net: saliency.gradient(net, X, targets.logit(0)),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("use", USES)
def test_weights_of_a_closure_are_released(make, use):
    weights = jnp.full((3, 5), 2.0)
    USES[use](make(weights))
    alive = weakref.ref(weights)
    del weights
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("make", KINDS)
def test_what_holds_weights_is_fingerprinted_by_them(make):
    one, same, other = (fingerprint(network.as_network(make(jnp.full((3, 5), v)))) for v in (1.0, 1.0, 2.0))
    assert one == same != other


def test_weights_of_an_object_that_are_replaced_are_used():
    model = Model(jnp.ones((3, 5)))
    np.testing.assert_allclose(network.call(model, X), 3)
    model.layers[0].weights = jnp.full((3, 5), 2.0)
    np.testing.assert_allclose(network.call(model, X), 6)
    model.bias = 1
    np.testing.assert_allclose(network.call(model, X), 7)


def test_an_object_with_attributes_of_its_own_making_stays_as_it_is():
    class Careful(Model):
        def __setattr__(self, name, value):
            assert not isinstance(value, jax.core.Tracer)
            vars(self)[name] = value

    model = Careful(jnp.ones((3, 5)))
    assert network.as_network(model).func is model
    np.testing.assert_allclose(network.call(model, X), 3)


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


def test_fresh_functions_without_contents_share_a_program():
    TRACES.clear()
    for function in [lambda x: TRACES.append(1) or x for _ in range(3)]:
        network.call(function, X)
    assert len(TRACES) == 1
