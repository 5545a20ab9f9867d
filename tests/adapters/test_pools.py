"""A captured average pool is the average over its windows, in every library and layout, and can be edited as one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from xai_jax import adapt, network

X = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)


def averages(x, size, padded):
    """The slow definition, for windows that step by their size; SAME padding is not counted."""
    after = [-n % size if padded else 0 for n in x.shape[1:3]]
    before = [n // 2 for n in after]
    rows, columns = ((n + a) // size for n, a in zip(x.shape[1:3], after, strict=True))
    result = np.empty((len(x), rows, columns, x.shape[3]), np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = (max(0, k * size - b) for k, b in zip((i, j), before, strict=True))
            window = x[:, top : (i + 1) * size - before[0], left : (j + 1) * size - before[1]]
            result[:, i, j] = window.mean((1, 2))
    return result


def window_sum(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def equinox_pool():
    eqx = pytest.importorskip("equinox")
    return adapt.from_equinox(eqx.nn.Lambda(lambda x: eqx.nn.AvgPool2d(2, 2)(x).mean((1, 2))))


def keras_pool(order="channels_last", **options):
    keras = pytest.importorskip("keras")
    layers, x = keras.layers, keras.Input((7, 5, 3))
    first = order == "channels_first"
    y = layers.AveragePooling2D(2, data_format=order, **options)(layers.Permute((3, 1, 2))(x) if first else x)
    return adapt.from_keras(keras.Model(x, layers.GlobalAveragePooling2D(data_format=order)(y)))


def haiku_pool(padding):
    hk = pytest.importorskip("haiku")
    return adapt.from_function(lambda x: hk.avg_pool(x, (2, 2, 1), (2, 2, 1), padding).mean((1, 2)))


def of(pool):
    return adapt.from_function(lambda x: pool(x).mean((1, 2)))


def first(pool):
    """With the channels before the rows within the model."""
    return adapt.from_function(lambda x: pool(jnp.moveaxis(x, -1, 1)).mean((2, 3)))


POOLS = {
    "flax": (lambda: of(lambda x: nn.avg_pool(x, (2, 2), (2, 2))), False),
    "flax same": (lambda: of(lambda x: nn.avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False)), True),
    "haiku": (lambda: haiku_pool("VALID"), False),
    "haiku same": (lambda: haiku_pool("SAME"), True),
    "equinox": (equinox_pool, False),
    "keras": (keras_pool, False),
    "keras same": (lambda: keras_pool(padding="same"), True),
    "keras channels first": (lambda: keras_pool("channels_first"), False),
    "product": (lambda: of(lambda x: window_sum(x) * 0.25), False),
    "jit": (lambda: of(jax.jit(lambda x: window_sum(x) / 4)), False),
    "reshaped": (lambda: of(lambda x: window_sum(x[:, None].squeeze(1)).astype(jnp.float32) / 4), False),
    "vmap": (lambda: of(jax.vmap(lambda x: window_sum(x[None])[0] / 4)), False),
    "per image": (
        lambda: adapt.from_function(lambda x: (window_sum(x[None]) / 4)[0].mean((0, 1)), per_image=True),
        False,
    ),
    "channels first": (
        lambda: first(lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4),
        False,
    ),
}


@pytest.mark.parametrize("name", POOLS)
def test_average_pools(name):
    make, padded = POOLS[name]
    with jax.numpy_dtype_promotion("standard"):  # Flax divides floats by integers
        net = make()
        logits, kept = network.capture(net, X)
        ((layer, value),) = ((n, v) for n, v in kept.items() if n.endswith("pool1"))
        expected = averages(X, 2, padded)
        np.testing.assert_allclose(value, expected, atol=1e-5)
        np.testing.assert_allclose(logits, expected.mean((1, 2)), atol=1e-5)
        new = network.replace(net, layer, 2 * value + 1)(X)
        np.testing.assert_allclose(new, 2 * logits + 1, atol=1e-5)


def used_twice(x):
    total = window_sum(x)
    return total / 4 + 2 * total


@pytest.mark.parametrize("pool", [window_sum, used_twice, lambda x: 3 * window_sum(x)])
def test_sums_over_windows_stay_sums(pool):
    np.testing.assert_array_equal(network.capture(of(pool), X)[1]["pool1"], window_sum(X))


def test_response_normalisation_keeps_its_channels():
    def normalised(x):
        square = lax.reduce_window(x * x, 0.0, lax.add, (1, 1, 1, 3), (1, 1, 1, 1), "SAME")
        return x / (1 + square * 0.1)

    np.testing.assert_array_equal(network.capture(of(normalised), X)[1]["pool1"].shape, X.shape)
