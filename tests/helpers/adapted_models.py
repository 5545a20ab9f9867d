"""One small network in every library that `xai_jax.adapters.adapt` supports, with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from xai_jax import adapt, network, pooling, rules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 10, 10, 2)).astype(np.float32)
K1, B1 = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32) / 4, RNG.normal(size=4).astype(np.float32)
K2, B2 = RNG.normal(size=(3, 3, 4, 5)).astype(np.float32) / 5, RNG.normal(size=5).astype(np.float32)
W, B = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)


def conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def explicit(x, relu=jax.nn.relu, tap=network.keep):
    """The Network of which all models below are copies."""
    x = tap("relu1", relu(tap("conv1", conv(x, K1) + B1)))
    x = tap("pool1", pooling.max_pool(x, 2))
    x = tap("relu2", rules.relu6(tap("conv2", conv(x, K2) + B2), relu))
    return tap("dense1", x.mean((1, 2)) @ W + B)


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def plain(x, relu=jax.nn.relu, relu6=jax.nn.relu6):
    return relu6(conv(pool(relu(conv(x, K1) + B1)), K2) + B2).mean((1, 2)) @ W + B


def plain_adapted():
    return adapt.from_function(plain)


def linen():
    import flax.linen as nn

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
            x = nn.relu6(nn.Dropout(0.5, deterministic=not train)(nn.Conv(5, (3, 3), padding="VALID")(x)))
            return nn.Dense(3)(x.mean((1, 2)))

    params = {"Conv_0": {"kernel": K1, "bias": B1}, "Conv_1": {"kernel": K2, "bias": B2}}
    return adapt.from_linen(Model(), {"params": params | {"Dense_0": {"kernel": W, "bias": B}}}, train=False)


def nnx():
    from flax import nnx

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Conv(2, 4, (3, 3), padding="VALID", rngs=rngs)
            self.b = nnx.Conv(4, 5, (3, 3), padding="VALID", rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.c = nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.relu(self.a(x)), (2, 2), (2, 2))
            return self.c(self.drop(jax.nn.relu6(self.b(x))).mean((1, 2)))

    model = Model(nnx.Rngs(0))
    for layer, kernel, bias in ((model.a, K1, B1), (model.b, K2, B2), (model.c, W, B)):
        layer.kernel[...], layer.bias[...] = jnp.asarray(kernel), jnp.asarray(bias)
    model.eval()
    return adapt.from_nnx(model)


def equinox():
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        a: eqx.nn.Conv2d
        b: eqx.nn.Conv2d
        c: eqx.nn.Linear
        pool: eqx.nn.MaxPool2d
        drop: eqx.nn.Dropout

        def __call__(self, x):
            x = jax.nn.relu6(self.b(self.pool(jax.nn.relu(self.a(x)))))
            return self.c(self.drop(x.mean((1, 2))))

    key = jax.random.key(0)
    parts = eqx.nn.Conv2d(2, 4, 3, key=key), eqx.nn.Conv2d(4, 5, 3, key=key), eqx.nn.Linear(5, 3, key=key)
    model = Model(*parts, eqx.nn.MaxPool2d(2, 2), eqx.nn.Dropout())
    new = K1.transpose(3, 2, 0, 1), B1[:, None, None], K2.transpose(3, 2, 0, 1), B2[:, None, None], W.T, B
    where = lambda m: (m.a.weight, m.a.bias, m.b.weight, m.b.bias, m.c.weight, m.c.bias)  # noqa: E731
    return adapt.from_equinox(eqx.tree_at(where, model, tuple(map(jnp.asarray, new))))


def haiku():
    hk = pytest.importorskip("haiku")

    def forward(x):
        x = hk.max_pool(jax.nn.relu(hk.Conv2D(4, 3, padding="VALID")(x)), (2, 2, 1), (2, 2, 1), "VALID")
        return hk.Linear(3)(jax.nn.relu6(hk.Conv2D(5, 3, padding="VALID")(x)).mean((1, 2)))

    params = {"conv2_d": {"w": K1, "b": B1}, "conv2_d_1": {"w": K2, "b": B2}, "linear": {"w": W, "b": B}}
    return adapt.from_haiku(hk.transform(forward), params)


def keras(ending=()):
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras is not on the JAX backend")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((10, 10, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPool2D(2),
            layers.Conv2D(5, 3, activation="relu6"),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
            *(getattr(layers, name)() for name in ending),
        ]
    )
    model.set_weights([K1, B1, K2, B2, W, B])
    return adapt.from_keras(model)


MODELS = [plain_adapted, linen, nnx, equinox, haiku, keras]
