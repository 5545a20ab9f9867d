"""A small ResNet in every library that `xai_jax.adapters.adapt` supports, and the outputs of its modules.

Each function returns a network, the outputs by name, as the library itself gives them, and the name of the first block.
The output of a block is its residual sum; the ReLU follows outside.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import adapt

X = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
STAGES = ((4, 1), (4, 1), (6, 2), (6, 1))  # channels and strides of the blocks


def flat(tree, path):
    """Outputs of Linen modules by path, as `capture_intermediates` nests them; those of further calls have numbers."""
    found = {}
    for key, value in tree.items():
        if key == "__call__":
            found |= {path if i == 0 else f"{path}#{i + 1}": each for i, each in enumerate(value)}
        else:
            found |= flat(value, f"{path}/{key}")
    return found


def linen_outputs(module, variables, x):
    """Outputs of all modules."""
    _, state = module.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
    return flat(state["intermediates"], type(module).__name__)


def linen():
    import flax.linen as nn

    class Block(nn.Module):
        channels: int
        strides: int

        @nn.compact
        def __call__(self, x):
            y = nn.Conv(self.channels, (3, 3), self.strides, use_bias=False)(x)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
            y = nn.BatchNorm(use_running_average=True)(nn.Conv(self.channels, (3, 3), use_bias=False)(y))
            if x.shape != y.shape:
                x = nn.Conv(self.channels, (1, 1), self.strides, name="shortcut")(x)
            return x + y

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3), use_bias=False)(x)))
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
            for channels, strides in STAGES:
                x = nn.relu(Block(channels, strides, name=None)(x))
            return nn.Dense(5)(x.mean((1, 2)))

    module = ResNet()
    variables = module.init(jax.random.key(0), X)
    return adapt.from_linen(module, variables), linen_outputs(module, variables, X), "ResNet/Block_0"


def nnx_model(nnx):
    rngs = nnx.Rngs(0)

    class Block(nnx.Module):
        def __init__(self, inputs, channels, strides):
            self.conv1 = nnx.Conv(inputs, channels, (3, 3), strides, use_bias=False, rngs=rngs)
            self.norm1, self.norm2 = nnx.BatchNorm(channels, rngs=rngs), nnx.BatchNorm(channels, rngs=rngs)
            self.conv2 = nnx.Conv(channels, channels, (3, 3), use_bias=False, rngs=rngs)
            self.shortcut = nnx.Conv(inputs, channels, (1, 1), strides, rngs=rngs) if inputs != channels else None

        def __call__(self, x):
            y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
            return (x if self.shortcut is None else self.shortcut(x)) + y

    class ResNet(nnx.Module):
        def __init__(self):
            self.conv1 = nnx.Conv(3, 4, (3, 3), rngs=rngs)
            inputs = 4, *(channels for channels, _ in STAGES)
            self.blocks = nnx.List([Block(i, *stage) for i, stage in zip(inputs, STAGES, strict=False)])
            self.head = nnx.Linear(6, 5, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.relu(self.conv1(x)), (3, 3), (2, 2), "SAME")
            for block in self.blocks:
                x = nnx.relu(block(x))
            return self.head(x.mean((1, 2)))

    return ResNet()


def nnx():
    from flax import nnx

    model = nnx_model(nnx)
    net = adapt.from_nnx(model)
    model.eval()
    outputs = {"ResNet/conv1": model.conv1(X)}
    x = nnx.max_pool(nnx.relu(outputs["ResNet/conv1"]), (3, 3), (2, 2), "SAME")
    for i, block in enumerate(model.blocks):
        outputs[f"ResNet/blocks/{i}/conv1"] = block.conv1(x)
        outputs[f"ResNet/blocks/{i}/norm1"] = block.norm1(block.conv1(x))
        outputs[f"ResNet/blocks/{i}"] = block(x)
        x = nnx.relu(block(x))
    outputs["ResNet/head"] = outputs["ResNet"] = model(X)
    return net, outputs, "ResNet/blocks/0"


def equinox_model(eqx):
    keys = iter(jax.random.split(jax.random.key(0), 30))

    class Block(eqx.Module):
        conv1: eqx.nn.Conv2d
        norm1: eqx.nn.BatchNorm
        conv2: eqx.nn.Conv2d
        shortcut: eqx.nn.Conv2d | None

        def __init__(self, inputs, channels, strides):
            self.conv1 = eqx.nn.Conv2d(inputs, channels, 3, strides, 1, key=next(keys))
            self.norm1 = eqx.nn.BatchNorm(channels, "batch", mode="ema")
            self.conv2 = eqx.nn.Conv2d(channels, channels, 3, 1, 1, key=next(keys))
            project = eqx.nn.Conv2d(inputs, channels, 1, strides, key=next(keys))
            self.shortcut = project if inputs != channels else None

        def __call__(self, x, state):
            y, state = self.norm1(self.conv1(x), state)
            return (x if self.shortcut is None else self.shortcut(x)) + self.conv2(jax.nn.relu(y)), state

    class ResNet(eqx.Module):
        conv1: eqx.nn.Conv2d
        pool: eqx.nn.MaxPool2d
        blocks: list
        head: eqx.nn.Linear

        def __init__(self):
            self.conv1, self.pool = eqx.nn.Conv2d(3, 4, 3, 1, 1, key=next(keys)), eqx.nn.MaxPool2d(3, 2, 1)
            inputs = 4, *(channels for channels, _ in STAGES)
            self.blocks = [Block(i, *stage) for i, stage in zip(inputs, STAGES, strict=False)]
            self.head = eqx.nn.Linear(6, 5, key=next(keys))

        def __call__(self, x, state):
            x = self.pool(jax.nn.relu(self.conv1(x)))
            for block in self.blocks:
                y, state = block(x, state)
                x = jax.nn.relu(y)
            return self.head(x.mean((1, 2))), state

    return eqx.nn.make_with_state(ResNet)()


def equinox():
    eqx = pytest.importorskip("equinox")
    model, state = equinox_model(eqx)
    train = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    state = jax.jit(train)(jnp.moveaxis(X, -1, 1), state)[1]
    net = adapt.from_equinox(model, state)
    model = eqx.nn.inference_mode(model)

    def by_hand(image):
        outputs = {"ResNet/conv1": model.conv1(image)}
        x = outputs["ResNet/pool"] = model.pool(jax.nn.relu(outputs["ResNet/conv1"]))
        for i, block in enumerate(model.blocks):
            outputs[f"ResNet/blocks/{i}/conv1"] = block.conv1(x)
            outputs[f"ResNet/blocks/{i}/norm1"] = block.norm1(block.conv1(x), state)[0]
            outputs[f"ResNet/blocks/{i}"] = block(x, state)[0]
            x = jax.nn.relu(block(x, state)[0])
        outputs["ResNet/head"] = outputs["ResNet"] = model(image, state)[0]
        return outputs

    outputs = jax.vmap(by_hand)(jnp.moveaxis(X, -1, 1))
    return net, {n: jnp.moveaxis(v, 1, -1) if v.ndim == 4 else v for n, v in outputs.items()}, "ResNet/blocks/0"


def haiku_outputs(hk, transformed, *given):
    """Outputs of all modules, by an interceptor."""
    outputs = {}

    def record(function, args, kwargs, context):
        result = function(*args, **kwargs)
        if context.method_name == "__call__":
            name = context.module.module_name.replace("/~", "")
            calls = sum(key.partition("#")[0] == name for key in outputs)
            outputs[f"{name}#{calls + 1}" if calls else name] = result
        return result

    with hk.intercept_methods(record):
        transformed.apply(*given)
    return outputs


def haiku():
    hk = pytest.importorskip("haiku")

    class Block(hk.Module):
        def __init__(self, channels, strides):
            super().__init__()
            self.conv, self.channels, self.strides = hk.Conv2D(channels, 3, strides), channels, strides

        def __call__(self, x, training):
            y = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(self.conv(x), training))
            y = hk.Conv2D(self.channels, 3)(y)
            return (hk.Conv2D(self.channels, 1, self.strides, name="shortcut")(x) if x.shape != y.shape else x) + y

    class ResNet(hk.Module):
        def __call__(self, x, training):
            x = hk.MaxPool((3, 3, 1), (2, 2, 1), "SAME")(jax.nn.relu(hk.Conv2D(4, 3)(x)))
            for stage in STAGES:
                x = jax.nn.relu(Block(*stage)(x, training))
            return hk.Linear(5)(x.mean((1, 2)))

    transformed = hk.transform_with_state(lambda x, training: ResNet()(x, training))
    params, state = transformed.init(jax.random.key(0), X, True)
    outputs = haiku_outputs(hk, transformed, params, state, None, X, False)
    return adapt.from_haiku(transformed, params, state, training=False), outputs, "res_net/block"


def keras():
    keras = pytest.importorskip("keras")
    layers = keras.layers

    def block(x, i, channels, strides):
        y = layers.Conv2D(channels, 3, strides, "same", name=f"block_{i}_conv1")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(channels, 3, padding="same")(y))
        x = layers.Conv2D(channels, 1, strides)(x) if x.shape != y.shape else x
        return layers.Add(name=f"block_{i}_add")([x, y])

    inputs = keras.Input((16, 16, 3))
    x = layers.MaxPool2D(3, 2, "same")(layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(inputs))
    for i, stage in enumerate(STAGES):
        x = layers.ReLU()(block(x, i, *stage))
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    return adapt.from_keras(model), keras_outputs(keras, model), "block_0_add"


def keras_outputs(keras, model):
    """Outputs of all layers."""
    layers = [layer for layer in model.layers if layer.weights or layer.name.startswith(("block", "max", "global"))]
    values = keras.Model(model.input, [layer.output for layer in layers])(X)
    return {layer.name: value for layer, value in zip(layers, values, strict=True)}


RESNETS = [linen, nnx, equinox, haiku, keras]
