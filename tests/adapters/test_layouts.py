"""Images and activations are (N, H, W, C), whatever layout a model has within; one that expects another is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from xai_jax import adapt, network, saliency, targets

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 10, 2)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
HEAD = RNG.normal(size=(4, 3)).astype(np.float32)
LAYOUTS = {"NHWC": (1, 2), "NCHW": (2, 3)}


def convolution(x, layout, window=(1, 1)):
    return lax.conv_general_dilated(x, KERNEL, window, "VALID", dimension_numbers=(layout, "HWIO", layout))


def model(x, layout):
    axes = LAYOUTS[layout]
    pool = [2 if a in axes else 1 for a in range(4)]
    y = jax.nn.relu(convolution(x * 2, layout) + 1)
    y = lax.reduce_window(y, -jnp.inf, lax.max, pool, pool, "VALID")
    gate = jax.nn.sigmoid(y.mean(axes, keepdims=True))  # squeeze and excitation
    return jax.nn.relu(y * gate - 0.1).mean(axes) @ HEAD


LAST = adapt.from_function(lambda x: model(x, "NHWC"))


def keras_model(order):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input((2, 8, 10) if order == "channels_first" else (8, 10, 2)),
            layers.ZeroPadding2D(1, data_format=order),
            layers.Conv2D(4, 3, data_format=order),
            layers.BatchNormalization(axis=1 if order == "channels_first" else -1),
            layers.ReLU(),
            layers.AveragePooling2D(2, data_format=order),
            layers.GlobalAveragePooling2D(data_format=order),
            layers.Dense(3),
        ]
    )
    random = np.random.default_rng(1)
    made.set_weights([random.uniform(0.2, 1, w.shape) for w in made.weights])
    return keras, made


def haiku_network(order, x):
    hk = pytest.importorskip("haiku")

    def forward(x, training):
        y = hk.BatchNorm(True, True, 0.9, data_format=order)(hk.Conv2D(4, 3, data_format=order)(x), training)
        return hk.Linear(3)(jax.nn.relu(y).mean(LAYOUTS[order]))

    transformed = hk.transform_with_state(forward)
    params, state = transformed.init(jax.random.key(0), x, training=True)
    return adapt.from_haiku(transformed, params, state, training=False)


def same_maps(net, expected):
    """The same activations, Grad-CAM and occlusion."""
    layers, theirs = ({n.rpartition("/")[2]: n for n in network.layer_names(f, X)} for f in (net, expected))
    for name in ("conv1", "relu1", "pool1"):
        got, right = (network.capture(f, X)[1][k[name]] for f, k in ((net, layers), (expected, theirs)))
        np.testing.assert_allclose(got, right, atol=1e-5)
    target = targets.logit(1)
    got, right = (saliency.grad_cam(f, X, target, k["relu1"]) for f, k in ((net, layers), (expected, theirs)))
    np.testing.assert_allclose(got, right, atol=1e-5)
    got, right = (saliency.occlusion(f, X, target, 4, 2) for f in (net, expected))
    np.testing.assert_allclose(got, right, atol=1e-5)


def test_a_channels_first_model_that_transposes_its_images():
    same_maps(adapt.from_function(lambda x: model(jnp.moveaxis(x, -1, 1), "NCHW")), LAST)
    same_maps(adapt.from_function(lambda x: model(jnp.moveaxis(x, -1, 0)[None], "NCHW")[0], per_image=True), LAST)


def test_a_channels_first_keras_model_that_transposes_its_images():
    keras, first = keras_model("channels_first")
    inputs = keras.Input((8, 10, 2))
    whole = keras.Model(inputs, first(keras.layers.Permute((3, 1, 2))(inputs)))
    same_maps(adapt.from_keras(whole), adapt.from_keras(keras_model("channels_last")[1]))


def test_channels_where_equations_do_not_show_them():
    """After a reshape, such as ShuffleNet's channel shuffle, maps have the layout of the maps before."""

    def shuffled(x, layout):
        y = convolution(x, layout)
        split = (*y.shape[:1], 2, 2, *y.shape[2:]) if layout == "NCHW" else (*y.shape[:3], 2, 2)
        y = y.reshape(split).swapaxes(*((1, 2) if layout == "NCHW" else (3, 4))).reshape(y.shape)
        return jax.nn.relu(y).mean(LAYOUTS[layout]) @ HEAD

    last = adapt.from_function(lambda x: shuffled(x, "NHWC"))
    first = adapt.from_function(lambda x: shuffled(jnp.moveaxis(x, -1, 1), "NCHW"))
    got, right = (network.capture(net, X)[1]["relu1"] for net in (first, last))
    np.testing.assert_allclose(got, right, atol=1e-5)


def test_models_of_channels_first_images_are_refused():
    first = np.moveaxis(X, -1, 1)
    keras = adapt.from_keras(keras_model("channels_first")[1])
    pool = adapt.from_function(
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")[:, 0, 0]
    )
    nets = adapt.from_function(lambda x: model(x, "NCHW")), keras, haiku_network("NCHW", first), pool
    for net in nets:
        for use in (net, lambda x, net=net: saliency.gradient(net, x, targets.logit(0))):
            with pytest.raises(ValueError, match=r"Expected a model of images \(N, H, W, C\)") as error:
                use(first)
            assert len(str(error.value)) <= 600


def test_layouts_that_are_no_mistake():
    """Transposed on the way, mixed over positions, or without channels: accepted, with the same logits."""
    models = (
        lambda x: convolution(x.transpose(0, 2, 1, 3), "NHWC").mean((1, 2)) @ HEAD,
        lambda x: convolution(jnp.einsum("nhwc,hk->nkwc", x, np.ones((8, 8), np.float32)), "NHWC").mean((1, 2)) @ HEAD,
        lambda x: lax.map(lambda y: convolution(y.transpose(2, 0, 1)[None], "NCHW")[0], x).mean((2, 3)) @ HEAD,
        lambda x: convolution(x.mean(-1).reshape(2, 2, 4, 10), "NCHW").mean((2, 3)) @ HEAD,
        lambda x: x.reshape(2, 16, 10).mean(1)[:, :4] @ HEAD,
    )
    for f in models:
        np.testing.assert_allclose(adapt.from_function(f)(X), f(X), atol=1e-5)
