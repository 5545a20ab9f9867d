"""Networks in which an image's logits depend on the rest of the batch are refused, whichever library hides it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from xai_jax import adapt, saliency, targets

X = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
KEY = jax.random.key(0)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x).mean((1, 2)))


def linen(train):
    variables = Linen().init(KEY, X, train=False)
    options = {"train": train, "rngs": {"dropout": KEY}, "mutable": ["batch_stats"]}
    return adapt.from_function(lambda v, x: Linen().apply(v, x, **options)[0], variables)


def linen_dropout(train):
    module = nn.Sequential([nn.Dropout(0.5, deterministic=not train), lambda x: x.mean((1, 2))])
    return adapt.from_linen(module, {}, rngs={"dropout": KEY})


def nnx_network(train):
    class Model(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(x, use_running_average=not train).mean((1, 2)) @ W

    return adapt.from_nnx(Model())


def haiku(train):
    hk = pytest.importorskip("haiku")
    transformed = hk.transform_with_state(
        lambda x, is_training: hk.BatchNorm(True, True, 0.9)(x, is_training).mean((1, 2))
    )
    params, state = transformed.init(KEY, X, True)
    return adapt.from_haiku(transformed, params, state, is_training=train)


def keras(train):
    """A layer that decides for itself, whatever `training` the model is called with."""
    keras = pytest.importorskip("keras")

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)

        def call(self, x):
            return keras.ops.mean(self.dropout(self.norm(x, training=train), training=train), (1, 2))

    model = Model()
    model(np.zeros((1, 8, 8, 2), np.float32))  # builds it
    return adapt.from_keras(model)


def loop(train):
    def body(x, _):
        return x - (x.mean((0, 1, 2)) if train else x.mean((1, 2), keepdims=True)), None

    return adapt.from_function(lambda x: lax.scan(body, x, None, length=2)[0].std((1, 2)) @ W)


def whole_batch(train):
    axes = (0, 1, 2, 3) if train else (1, 2, 3)
    return adapt.from_function(lambda x: (x / abs(x).max(axes, keepdims=True)).mean((1, 2)) @ W)


def noise(train):
    def f(x):
        return (x + jax.random.normal(KEY, x.shape if train else x.shape[1:])).mean((1, 2)) @ W

    return adapt.from_function(f)


NETWORKS = {
    "linen": linen,
    "linen dropout": linen_dropout,
    "nnx": nnx_network,
    "haiku": haiku,
    "keras": keras,
    "loop": loop,
    "whole batch": whole_batch,
    "noise": noise,
}


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Haiku multiplies floats by integers
        yield


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_independent_or_refused(name, n):
    net = NETWORKS[name](False)
    gradient = saliency.gradient(net, X[:n], targets.logit(0))
    np.testing.assert_allclose(gradient[:1], saliency.gradient(net, X[:1], targets.logit(0)), atol=1e-6)
    with pytest.raises(ValueError, match="do not depend on the rest of the batch"):
        NETWORKS[name](True)(X[:n])
    with pytest.raises(ValueError, match="pass train=False"):
        saliency.gradient(NETWORKS[name](True), X[:n], targets.logit(0))


def test_networks_of_a_single_image():
    net = adapt.from_function(lambda x: (jax.nn.relu(x) @ W).mean((0, 1, 2))[None])
    alone = saliency.guided_backprop(net, X[:1], targets.logit(0))
    each = adapt.from_function(lambda x: (jax.nn.relu(x) @ W).mean((1, 2)))
    np.testing.assert_allclose(alone, saliency.guided_backprop(each, X[:1], targets.logit(0)), atol=1e-6)
    with pytest.raises(ValueError, match=r"logits \(4, K\)"):
        saliency.gradient(net, X, targets.logit(0))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_coincidences_are_no_dependence(n):
    """Axes of the size of the batch, sums that reach no logit, random weights, a fixed number of images."""
    x = np.concatenate([X, X])[:n]
    models = (
        lambda x: x.transpose(1, 0, 2, 3).sum(0).mean(1) @ W,
        lambda x: (x.mean(), x.mean((1, 2)) @ W)[1],
        lambda x: x.mean((1, 2)) @ jax.random.normal(KEY, (2, 3)),
        lambda x: x.mean((1, 2)) @ (W[:, None] * np.ones((2, n, 3), np.float32)).sum(1),
        lambda x: x.reshape(n, 8, 16).sum(1)[:, :2] @ W,
        lambda x: jnp.stack([x[i].sum((0, 1)) for i in range(n)]) @ W,
    )
    for model in models:
        np.testing.assert_allclose(adapt.from_function(model)(x), model(x), rtol=1e-5)
