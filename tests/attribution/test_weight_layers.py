"""Randomisation cascades from the logits down: layers in the order of the forward pass, each with all its weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from xai_jax import adapt, metrics, network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 8, 1)).astype(np.float32)
K1, K2 = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((3, 3, 1, 4), (3, 3, 4, 4)))
B1, B2, S1, S2 = (jnp.asarray(RNG.uniform(0.5, 1, 4), jnp.float32) for _ in range(4))
W, B = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32), jnp.arange(3, dtype=jnp.float32)


def conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def forward(k1, b1, s1, k2, b2, s2, w, b, x):
    x = jax.nn.relu((conv(x, k1) + b1) / jnp.sqrt(s1))
    return jax.nn.relu((conv(x, k2) + b2) / jnp.sqrt(s2)).mean((1, 2)) @ w + b


def linen():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(2):
                x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))
            return nn.Dense(3)(x.mean((1, 2)))

    return adapt.from_linen(Model(), Model().init(jax.random.key(0), X))


def nnx_network():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.z, self.y = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
            self.b, self.a = nnx.Conv(4, 4, (3, 3), rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
            self.c = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.c(self.a(nnx.relu(self.b(nnx.relu(self.y(self.z(x))))).mean((1, 2))))

    return adapt.from_nnx(Model(nnx.Rngs(0)))


def equinox():
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        z: eqx.nn.Conv2d
        y: eqx.nn.BatchNorm
        b: eqx.nn.Conv2d
        c: eqx.nn.Linear

        def __init__(self, key):
            self.z, self.b = eqx.nn.Conv2d(1, 4, 3, key=key), eqx.nn.Conv2d(4, 4, 3, key=key)
            self.y, self.c = eqx.nn.BatchNorm(4, "batch", mode="batch"), eqx.nn.Linear(4, 3, key=key)

        def __call__(self, x, state):
            x, state = self.y(self.z(x), state)
            return self.c(jax.nn.relu(self.b(jax.nn.relu(x))).mean((1, 2))), state

    return adapt.from_equinox(*eqx.nn.make_with_state(Model)(jax.random.key(0)))


def haiku():
    hk = pytest.importorskip("haiku")

    def forward(x, training):
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(hk.Conv2D(4, 3, name="z")(x), training))
        return hk.Linear(3)(jax.nn.relu(hk.Conv2D(4, 3, name="b")(x)).mean((1, 2)))

    transformed = hk.transform_with_state(forward)
    params, state = transformed.init(jax.random.key(0), X, training=True)
    return adapt.from_haiku(transformed, params, state, training=False)


def keras():
    keras = pytest.importorskip("keras")
    layers = keras.layers
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(4, 3, name="b"), layers.ReLU()], name="inner")
    return adapt.from_keras(
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(4, 3, activation="relu", name="z"),
                layers.BatchNormalization(name="y"),
                inner,
                layers.Dropout(0.5),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, name="c"),
            ]
        )
    )


def closure():
    weights = [(K1, B1, S1), (K2, B2, S2), (W, B)]
    return adapt.from_function(lambda x: forward(*[w for layer in weights for w in layer], x))


def by_kind(w, x):
    return forward(w["k"][0], w["b"][0], w["s"][0], w["k"][1], w["b"][1], w["s"][1], w["k"][2], w["b"][2], x)


KINDS = {"b": [B1, B2, B], "k": [K1, K2, W], "s": [S1, S2]}
FLAT = [K1, B1, S1, K2, B2, S2, W, B]


def cast(weights, x):
    """All weights are read, in the order of their names, before the first is applied."""
    return forward(*jax.tree.leaves(jax.tree.map(lambda w: w.astype(jnp.bfloat16).astype(jnp.float32), weights)), x)


@jax.jit
def compiled(weights, x):
    return by_kind(weights, x)


NETWORKS = {
    "linen": (linen, ["Dense_0", "BatchNorm_1", "Conv_1", "BatchNorm_0", "Conv_0"]),
    "nnx": (nnx_network, ["c", "b", "y", "z"]),
    "equinox": (equinox, ["c", "b", "z"]),
    "haiku": (haiku, ["linear", "b", "z"]),
    "keras": (keras, ["c", "inner/b", "y", "z"]),
    "flat": (lambda: adapt.from_function(forward, *FLAT), ["6", "3", "0"]),
    "kinds": (lambda: adapt.from_function(by_kind, KINDS), ["2", "1", "0"]),
    "cast": (lambda: adapt.from_function(cast, FLAT), ["6", "3", "0"]),
    "compiled": (lambda: adapt.from_function(compiled, KINDS), ["2", "1", "0"]),
    "closure": (closure, ["6", "3", "0"]),
}


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Equinox multiplies floats by integers
        yield


def random_network(name):
    """With weights that no permutation leaves as they are."""
    rng = np.random.default_rng(0)

    def drawn(leaf):
        is_weight = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(rng.uniform(0.5, 1, np.shape(leaf)), leaf.dtype) if is_weight else leaf

    return jax.tree.map(drawn, NETWORKS[name][0]())


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_from_the_logits_down(name):
    net = random_network(name)
    steps = metrics.randomise(net, X)
    assert list(steps) == NETWORKS[name][1]
    original, before = jax.tree.leaves(net), set()
    for step in steps.values():
        pairs = zip(jax.tree.leaves(step), original, strict=True)
        changed = {i for i, (a, b) in enumerate(pairs) if a is not b and not np.array_equal(a, b)}
        assert before < changed
        before = changed
    floating = {i for i, w in enumerate(original) if jnp.issubdtype(w.dtype, jnp.floating) and w.size > 1}
    unread = {i for i in floating if name == "haiku" and i not in before}  # averages before their correction
    assert before == floating - unread and len(unread) in (0, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_step_changes_its_layer_and_none_below(name):
    net = random_network(name)
    steps = list(metrics.randomise(net, X).values())
    (layer,) = (n for n in network.layer_names(net, X) if n.endswith("relu2"))
    value, top, last = (network.capture(n, X, [layer])[1][layer] for n in (net, steps[0], steps[-1]))
    np.testing.assert_array_equal(top, value)
    assert np.abs(last - value).max() > 1e-3


def test_quantised_weights_are_weights_and_indices_are_none():
    def f(kernel, order, weights, x):
        return conv(x, kernel.astype(jnp.float32))[..., order].mean((1, 2)) @ weights

    kernel, order = (10 * K1).astype(jnp.int8), jnp.arange(4)
    steps = metrics.randomise(adapt.from_function(f, kernel, order, W), X)
    assert list(steps) == ["2", "0"]
    randomised = jax.tree.leaves(steps["0"])
    assert not np.array_equal(randomised[0], kernel) and randomised[0].dtype == jnp.int8
    np.testing.assert_array_equal(np.sort(randomised[0], None), np.sort(kernel, None))
    np.testing.assert_array_equal(randomised[1], order)


def test_depth_splits_modules():
    tree = {"body": {"a": {"w": K1}, "b": {"w": K2, "bias": B2}}, "head": {"w": W}}

    def f(w, x):
        body = w["body"]
        return (conv(conv(x, body["a"]["w"]), body["b"]["w"]) + body["b"]["bias"]).mean((1, 2)) @ w["head"]["w"]

    net = adapt.from_function(f, tree)
    assert list(metrics.randomise(net, X)) == ["head", "body"]
    assert list(metrics.randomise(net, X, depth=2)) == ["head", "body/b", "body/a"]
