"""Max-pooling and switches against the slow oracle, XLA and PyTorch, for many windows, strides and paddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.helpers import oracle
from xai_jax import pooling

GEOMETRIES = [
    (2, 2, oracle.ZERO),
    (3, 2, oracle.ZERO),
    (3, 2, ((1, 1), (1, 1))),
    (3, 1, ((1, 1), (1, 1))),
    (2, 3, oracle.ZERO),
    (3, 2, ((0, 1), (0, 1))),
    (5, 3, ((2, 0), (1, 2))),
    (9, 9, oracle.ZERO),
    (9, 4, ((1, 2), (0, 3))),
]


def images(seed=0, shape=(2, 11, 12, 3), ties=False):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return np.round(x) if ties else x


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_values_and_gradient_equal_the_oracle(geometry, ties):
    x = images(1, ties=ties)
    value, pull = jax.vjp(lambda x: pooling.max_pool(x, *geometry), x)
    signal = images(2, value.shape)
    np.testing.assert_array_equal(value, oracle.pool_forward(x, *geometry))
    np.testing.assert_allclose(pull(jnp.asarray(signal))[0], oracle.pool_backward(x, signal, *geometry), atol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_switches_are_the_positions_of_the_maxima(geometry):
    x = images(3, ties=True)
    values, switches = pooling.max_pool_with_switches(x, *geometry)
    np.testing.assert_array_equal(values, pooling.max_pool(x, *geometry))
    np.testing.assert_array_equal(pooling.pool_at(x, switches), values)
    row, column = switches.positions()
    batch = np.arange(x.shape[0])[:, None, None, None]
    np.testing.assert_array_equal(x[batch, row, column, np.arange(x.shape[3])], values)
    signal = images(4, values.shape)
    np.testing.assert_allclose(pooling.unpool(signal, switches), oracle.pool_backward(x, signal, *geometry), atol=1e-6)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("window, strides", [((2, 3), (2, 1)), ((3, 3), (2, 2))])
def test_named_paddings_equal_xla(window, strides, padding):
    x = jnp.asarray(images(5))

    def xla(x):
        lowest = jnp.array(-jnp.inf, x.dtype)
        return lax.reduce_window(x, lowest, lax.max, (1, *window, 1), (1, *strides, 1), padding)

    got, pull = jax.vjp(lambda x: pooling.max_pool(x, window, strides, padding), x)
    expected, xla_pull = jax.vjp(xla, x)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(pull(got)[0], xla_pull(got)[0], atol=1e-6)


def test_equals_torch_with_ties():
    torch = pytest.importorskip("torch")
    x = images(6, ties=True)
    leaf = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    out = torch.nn.functional.max_pool2d(leaf, 3, 2, 1)
    out.sum().backward()
    gradient = jax.grad(lambda x: pooling.max_pool(x, 3, 2, ((1, 1), (1, 1))).sum())(jnp.asarray(x))
    np.testing.assert_allclose(gradient, leaf.grad.numpy().transpose(0, 2, 3, 1), atol=1e-6)


def test_unpool_is_the_transpose_of_pool_at():
    x, (_, switches) = images(9), pooling.max_pool_with_switches(images(10), 3, 2)
    y = images(11, switches.index.shape)
    np.testing.assert_allclose(
        (pooling.pool_at(x, switches) * y).sum(), (x * pooling.unpool(y, switches)).sum(), rtol=1e-4
    )


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_any_geometry(window, stride, data):
    pads = tuple((data.draw(st.integers(0, window - 1)), data.draw(st.integers(0, window - 1))) for _ in range(2))
    x = images(12, (1, data.draw(st.integers(window, 9)), data.draw(st.integers(window, 9)), 2), ties=True)
    value, pull = jax.vjp(lambda x: pooling.max_pool(x, window, stride, pads), x)
    np.testing.assert_array_equal(value, oracle.pool_forward(x, window, stride, pads))
    np.testing.assert_allclose(
        pull(value)[0], oracle.pool_backward(x, np.asarray(value), window, stride, pads), atol=1e-6
    )


def test_under_jit_vmap_and_grad():
    x = images(13, (3, 2, 6, 6, 2))
    pool = jax.jit(jax.vmap(lambda x: pooling.max_pool(x, 3, 2)))
    np.testing.assert_array_equal(pool(x), np.stack([pooling.max_pool(i, 3, 2) for i in x]))
    gradient = jax.grad(lambda x: pool(x).sum())(jnp.asarray(x))
    alone = jax.grad(lambda x: pooling.max_pool(x, 3, 2).sum())(jnp.asarray(x[1]))
    np.testing.assert_array_equal(gradient[1], alone)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: pooling.max_pool(x[0], 2), "Expected maps"),
        (lambda x: pooling.max_pool(x, 0), "positive integers"),
        (lambda x: pooling.max_pool(x, 99), "at least as large as the window"),
        (lambda x: pooling.max_pool(x, 2, padding="FULL"), "'SAME'"),
        (lambda x: pooling.max_pool(x, 2, padding=((2, 0), (0, 0))), "less than the window"),
        (lambda x: pooling.unpool(x, pooling.max_pool_with_switches(x, 2)[1]), "switches' shape"),
        (lambda x: pooling.pool_at(x[:, :5], pooling.max_pool_with_switches(x, 2)[1]), "Expected a map"),
    ],
)
def test_invalid_geometry_raises(call, words):
    with pytest.raises(ValueError, match=words):
        call(images())


def test_switches_of_one_map_serve_all_and_those_of_others_are_refused():
    x = jnp.arange(96.0).reshape(2, 4, 4, 3)
    _, switches = pooling.max_pool_with_switches(x[:1], 2)
    np.testing.assert_array_equal(pooling.pool_at(-x, switches), -pooling.max_pool(x, 2))
    _, many = pooling.max_pool_with_switches(jnp.concatenate([x, x]), 2)
    with pytest.raises(ValueError, match="switches of one map or of 2, got those of 4"):
        pooling.pool_at(x, many)
