"""A small vision transformer in every library that `xai_jax.adapters.adapt` supports, and the outputs of its modules.

Each function returns a network, the outputs by name, as the library itself gives them, and the name of the last block.
"""

import jax
import jax.numpy as jnp
import pytest

from tests.helpers.resnets import X, haiku_outputs, keras_outputs, linen_outputs
from xai_jax import adapt

WIDTH, HEADS, DEPTH = 8, 2, 3


def linen():
    import flax.linen as nn

    class EncoderBlock(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(x))
            return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))

    class ViT(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(WIDTH, (4, 4), (4, 4), "VALID")(x).reshape(len(x), -1, WIDTH)
            token = self.param("token", nn.initializers.normal(), (1, 1, WIDTH))
            x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, WIDTH)), x], 1)
            x = x + self.param("positions", nn.initializers.normal(), (1, x.shape[1], WIDTH))
            for i in range(DEPTH):
                x = EncoderBlock(name=f"encoderblock_{i}")(x)
            return nn.Dense(5)(nn.LayerNorm()(x)[:, 0])

    module = ViT()
    variables = module.init(jax.random.key(0), X)
    net = adapt.from_linen(module, variables)
    return net, linen_outputs(module, variables, X), f"ViT/encoderblock_{DEPTH - 1}"


def nnx_model(nnx):
    rngs = nnx.Rngs(0)

    class Block(nnx.Module):
        def __init__(self):
            self.norm1, self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
            layers = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.gelu, nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)
            self.mlp = nnx.Sequential(*layers)

        def __call__(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class ViT(nnx.Module):
        def __init__(self):
            self.patches = nnx.Conv(3, WIDTH, (4, 4), 4, padding="VALID", rngs=rngs)
            self.token = nnx.Param(jax.random.normal(rngs(), (1, 1, WIDTH)))
            self.positions = nnx.Param(jax.random.normal(rngs(), (1, 17, WIDTH)))
            self.blocks = nnx.List([Block() for _ in range(DEPTH)])
            self.norm, self.head = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, 5, rngs=rngs)

        def embed(self, x):
            x = self.patches(x).reshape(len(x), -1, WIDTH)
            token = jnp.broadcast_to(self.token[...], (len(x), 1, WIDTH))
            return jnp.concatenate([token, x], 1) + self.positions[...]

        def __call__(self, x):
            x = self.embed(x)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x)[:, 0])

    return ViT()


def nnx():
    from flax import nnx

    model = nnx_model(nnx)
    outputs, x = {"ViT/patches": model.patches(X)}, model.embed(X)
    for i, block in enumerate(model.blocks):
        outputs[f"ViT/blocks/{i}/attention"] = attended = block.attention(block.norm1(x))
        outputs[f"ViT/blocks/{i}/mlp"] = block.mlp(block.norm2(x + attended))
        x = outputs[f"ViT/blocks/{i}"] = block(x)
    outputs["ViT/norm"], outputs["ViT"] = model.norm(x), model(X)
    return adapt.from_nnx(model), outputs, f"ViT/blocks/{DEPTH - 1}"


def equinox_block(eqx, keys):
    class Block(eqx.Module):
        norm1: eqx.nn.LayerNorm
        attention: eqx.nn.MultiheadAttention
        norm2: eqx.nn.LayerNorm
        mlp: eqx.nn.MLP

        def __init__(self):
            self.norm1, self.norm2 = eqx.nn.LayerNorm(WIDTH), eqx.nn.LayerNorm(WIDTH)
            self.attention = eqx.nn.MultiheadAttention(HEADS, WIDTH, key=next(keys))
            self.mlp = eqx.nn.MLP(WIDTH, WIDTH, 4 * WIDTH, 1, jax.nn.gelu, key=next(keys))

        def __call__(self, x):
            y = jax.vmap(self.norm1)(x)
            x = x + self.attention(y, y, y)
            return x + jax.vmap(self.mlp)(jax.vmap(self.norm2)(x))

    return Block()


def equinox_model(eqx):
    keys = iter(jax.random.split(jax.random.key(0), 30))

    class ViT(eqx.Module):
        patches: eqx.nn.Conv2d
        token: jax.Array
        positions: jax.Array
        blocks: tuple
        norm: eqx.nn.LayerNorm
        head: eqx.nn.Linear

        def __init__(self):
            self.patches = eqx.nn.Conv2d(3, WIDTH, 4, 4, key=next(keys))
            normal = jax.random.normal
            self.token, self.positions = normal(next(keys), (1, WIDTH)), normal(next(keys), (17, WIDTH))
            self.blocks = tuple(equinox_block(eqx, keys) for _ in range(DEPTH))
            self.norm, self.head = eqx.nn.LayerNorm(WIDTH), eqx.nn.Linear(WIDTH, 5, key=next(keys))

        def embed(self, x):
            return jnp.concatenate([self.token, self.patches(x).reshape(WIDTH, -1).T]) + self.positions

        def __call__(self, x):
            x = self.embed(x)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x[0]))

    return ViT()


def equinox():
    eqx = pytest.importorskip("equinox")
    model = equinox_model(eqx)

    def by_hand(image):
        outputs, x = {"ViT/patches": jnp.moveaxis(model.patches(image), 0, -1)}, model.embed(image)
        for i, block in enumerate(model.blocks):
            y = outputs[f"ViT/blocks/{i}/norm1"] = jax.vmap(block.norm1)(x)
            outputs[f"ViT/blocks/{i}/attention"] = block.attention(y, y, y)
            x = outputs[f"ViT/blocks/{i}"] = block(x)
        outputs["ViT/norm"], outputs["ViT"] = model.norm(x[0]), model(image)
        return outputs

    outputs = jax.vmap(by_hand)(jnp.moveaxis(X, -1, 1))
    return adapt.from_equinox(model), outputs, f"ViT/blocks/{DEPTH - 1}"


def haiku():
    hk = pytest.importorskip("haiku")
    start = hk.initializers.VarianceScaling(1.0)

    class Block(hk.Module):
        def __call__(self, x):
            y = hk.LayerNorm(-1, True, True)(x)
            x = x + hk.MultiHeadAttention(HEADS, WIDTH // HEADS, w_init=start, model_size=WIDTH)(y, y, y)
            y = jax.nn.gelu(hk.Linear(4 * WIDTH)(hk.LayerNorm(-1, True, True)(x)))
            return x + hk.Linear(WIDTH)(y)

    def forward(x):
        x = hk.Conv2D(WIDTH, 4, 4, padding="VALID")(x).reshape(len(x), -1, WIDTH)
        token = jnp.broadcast_to(hk.get_parameter("token", (1, 1, WIDTH), init=start), (len(x), 1, WIDTH))
        x = jnp.concatenate([token, x], 1) + hk.get_parameter("positions", (1, 17, WIDTH), init=start)
        for i in range(DEPTH):
            x = Block(name=f"encoderblock_{i}")(x)
        return hk.Linear(5)(hk.LayerNorm(-1, True, True)(x)[:, 0])

    transformed = hk.transform(forward)
    params = transformed.init(jax.random.key(0), X)
    outputs = haiku_outputs(hk, transformed, params, None, X)
    return adapt.from_haiku(transformed, params), outputs, f"encoderblock_{DEPTH - 1}"


def keras():
    keras = pytest.importorskip("keras")
    layers = keras.layers

    class Embedding(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight((1, 1, WIDTH), name="token")
            self.positions = self.add_weight((1, 17, WIDTH), name="positions")

        def call(self, x):
            x = keras.ops.reshape(x, (-1, 16, WIDTH))
            token = keras.ops.broadcast_to(self.token, (keras.ops.shape(x)[0], 1, WIDTH))
            return keras.ops.concatenate([token, x], 1) + self.positions

    class Block(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.norm1, self.norm2 = layers.LayerNormalization(), layers.LayerNormalization()
            self.attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
            self.mlp = keras.Sequential([layers.Dense(4 * WIDTH, activation="gelu"), layers.Dense(WIDTH)])

        def call(self, x):
            y = self.norm1(x)
            x = x + self.attention(y, y)
            return x + self.mlp(self.norm2(x))

    inputs = keras.Input((16, 16, 3))
    x = Embedding(name="embedding")(layers.Conv2D(WIDTH, 4, 4)(inputs))
    for i in range(DEPTH):
        x = Block(name=f"encoderblock_{i}")(x)
    model = keras.Model(inputs, layers.Dense(5)(layers.LayerNormalization()(x)[:, 0]))
    return adapt.from_keras(model), keras_outputs(keras, model), f"encoderblock_{DEPTH - 1}"


VITS = [linen, nnx, equinox, haiku, keras]
