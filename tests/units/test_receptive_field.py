"""Receptive fields against the support of the true gradient, for every layer of every network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.tree_util import Partial

from tests.helpers import adapted_models
from xai_jax import models, network, pooling
from xai_jax.architectures import allcnn, caffenet, digits, efficientnet_lite, googlenet, inception, resnet, vgg, zfnet
from xai_jax.core import convolution
from xai_jax.models import cifar
from xai_jax.models.pretrained import fashion, photographs
from xai_jax.units.receptive_field import receptive_field

NARROW = {
    "digits": digits.DigitsNet(),
    "fashion_maxpool": fashion.build("fashion_maxpool"),
    "fashion_allcnn": fashion.build("fashion_allcnn"),
    "fashion_evaluation": fashion.build("fashion_evaluation"),
    **{name: photographs.build(name) for name in photographs.NAMES},
    "vgg16": vgg.VGG(widths=(8,) * 5, hidden=8, classes=8),
    "vgg16_hed": vgg.VGG(widths=(8,) * 5, classes=0),
    "vgg19": vgg.VGG((2, 2, 4, 4, 4), (8,) * 5, 8, 8),
    "zfnet": zfnet.ZFNet((8,) * 5, 8, 8),
    "caffenet": caffenet.CaffeNet((8,) * 5, 8, 8),
    "alexnet_caffe": caffenet.AlexNet((8,) * 5, 8, 8),
    "allcnn_imagenet": allcnn.AllCNNImageNet(8, 0.05),
    "efficientnet_lite0": efficientnet_lite.EfficientNetLite(0.2, 1.0, 8),
    "efficientnet_lite1": efficientnet_lite.EfficientNetLite(0.2, 1.1, 8),
    "efficientnet_lite2": efficientnet_lite.EfficientNetLite(0.2, 1.2, 8),
    "googlenet": googlenet.GoogLeNet(8),
    "inception_v3": inception.InceptionV3(8),
    "resnet18": resnet.resnet18(width=16, classes=8),
    "resnet50": resnet.resnet50(width=16, classes=8),
    "large_allcnn": allcnn.LargeAllCNN(0.02),
    **{name: functools.partial(build, width=0.1)() for name, build in cifar.NETWORKS.items()},
}
"""The networks of `models`, most of them with fewer channels."""

NAMES = tuple(name for name in models.names() if name != "vit_b_16")  # whose tokens are no maps


def network_of(module, shape):
    """The network with random weights, and the shape of its input, without the compilation of `init`."""
    x, rng = jax.ShapeDtypeStruct((1, *shape), jnp.float32), np.random.default_rng(0)

    def fill(leaf):
        if leaf.ndim < 2:  # biases, scales, means and variances
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])), jnp.float32)

    return Partial(module.apply, jax.tree.map(fill, jax.eval_shape(module.init, jax.random.key(0), x))), x


def identity(x):
    return x


@functools.partial(jax.jit, static_argnames="layers")
def gradients(net, x, units, key, layers):
    """Gradients of unit `units[n]` = (layer, row, column) of image n, with random weights for its channels.

    Rectification, which blocks signals at random, is disabled.
    """

    def total(x):
        _, kept = network.capture(net, x, layers, relu=identity)
        return sum(read(kept[layer], number) for number, layer in enumerate(layers))

    def read(maps, number):
        layer, row, column = (jnp.expand_dims(u, tuple(range(1, maps.ndim))) for u in units.T)
        chosen = layer == number
        if maps.ndim == 4:
            rows, columns = (lax.broadcasted_iota(jnp.int32, maps.shape, axis) for axis in (1, 2))
            chosen = chosen & (rows == row) & (columns == column)
        weights = jax.random.normal(jax.random.fold_in(key, number), maps.shape[-1:])
        scale = lax.stop_gradient(jnp.abs(maps).max() + 1e-30)
        return jnp.where(chosen, maps * weights / scale, 0).sum()

    return jax.grad(total)(x)


def support(net, x, units, layers, draws=8, chunk=64):
    """Bounding boxes (n, 4) of the pixels that have a gradient for one of several random images."""
    boxes = []
    for start in range(0, len(units), chunk):
        part = units[np.minimum(np.arange(start, start + min(chunk, len(units))), len(units) - 1)]
        reached = np.zeros((len(part), *x.shape[1:3]), bool)
        for draw in range(draws):
            key = jax.random.key(draw)
            images = jax.random.normal(jax.random.fold_in(key, 1), (len(part), *x.shape[1:]))
            gradient = gradients(net, images, part, key, layers)
            reached |= np.asarray((gradient != 0).any(-1))
        boxes += [box(mask) for mask in reached]
    return np.array(boxes[: len(units)])


def box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if len(rows) else (0, 0, 0, 0)


def some_units(shapes):
    """(layer, row, column): the corners of every layer and an interior unit."""
    rng, units = np.random.default_rng(0), []
    for number, shape in enumerate(shapes):
        h, w = shape[1:3] if len(shape) == 4 else (1, 1)
        for row, column in {(0, 0), (h - 1, w - 1), (h // 2, rng.integers(w)), (rng.integers(h), 0)}:
            units.append((number, row, column))
    return np.array(units, np.int32)


def check(net, x, **options):
    shapes = network.layer_names(net, x)
    units = some_units([s.shape for s in shapes.values()])
    expected = support(net, x, units, tuple(shapes), **options)
    for number, (layer, shape) in enumerate(shapes.items()):
        _, rows, columns = units[mine := units[:, 0] == number].T
        field = receptive_field(net, layer, x)
        np.testing.assert_array_equal(field.boxes(rows, columns), expected[mine], err_msg=layer)
        check_geometry(field, shape.shape, x.shape)


def check_geometry(field, shape, image):
    """Complete boxes start at offset + stride * unit and have length `size`; those at the border are clipped."""
    for axis, inside in enumerate((field.rows, field.columns)):
        assert len(inside) == (shape[1 + axis] if len(shape) == 4 else 1)
        start = field.offset[axis] + field.stride[axis] * np.arange(len(inside))
        low, high = np.maximum(start, 0), np.minimum(start + field.size[axis], image[1 + axis])
        complete = (start >= 0) & (start + field.size[axis] <= image[1 + axis])
        assert (inside[:, 0] >= low).all() and (inside[:, 1] <= high).all()
        np.testing.assert_array_equal(inside[complete], np.stack([low, high], -1)[complete])


# Sizes that pools and strides do not divide.
SMALL = {"digits": (8, 8, 1), "caffenet": (60, 43, 3), "zfnet": (64, 51, 3), "fashion_allcnn": (28, 25, 1)}


def slow_but(names, fast):
    return [pytest.param(name, marks=[] if name in fast else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("name", slow_but(SMALL, ("digits", "caffenet")))
def test_equal_the_support_of_the_gradient(name):
    check(*network_of(NARROW[name], SMALL[name]))


@pytest.mark.parametrize("make", slow_but(adapted_models.MODELS, [adapted_models.linen]))
def test_of_adapted_models_equal_the_support_of_the_gradient(make):
    check(make(), jax.ShapeDtypeStruct(adapted_models.X.shape, jnp.float32), draws=4)


X = jax.ShapeDtypeStruct((1, 12, 10, 2), jnp.float32)


def conv(x, window=3, stride=1, padding="SAME", **options):
    kernel = np.random.default_rng(0).normal(size=(window, window, 2, 2)).astype(np.float32)
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")} | options
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, **options)


def across(x):
    return jnp.transpose(x, (0, 3, 1, 2))


MAPS = {
    "strided": lambda x: conv(x, 3, 2, ((1, 0), (2, 1))),
    "dilated": lambda x: conv(x, rhs_dilation=(2, 3)),
    "transposed": lambda x: conv(x, 4, padding=((2, 2), (2, 2)), lhs_dilation=(2, 2)),
    "channels first": lambda x: jnp.moveaxis(conv(across(x), dimension_numbers=("NCHW", "HWIO", "NCHW")), 1, -1),
    "depthwise": lambda x: convolution.depthwise_convolution(x, jnp.ones((5, 5, 1, 2)), 2),
    "average": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 1, 1), "SAME"),
    "pooled blocks": lambda x: x.reshape(len(x), 6, 2, 5, 2, 2).mean((2, 4)),
    "reflecting border": lambda x: conv(jnp.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), "reflect"), padding="VALID"),
    "border of zeros": lambda x: conv(jnp.concatenate([jnp.zeros_like(x[:, :2]), x], 1), padding="VALID"),
    "parts": lambda x: jnp.concatenate(jnp.split(conv(x), 2, axis=1)[::-1], axis=1),
    "cropped": lambda x: conv(x[:, 2:-1, 1::2]),
    "sliced": lambda x: conv(lax.dynamic_slice_in_dim(x, 3, 6, axis=1)),
    "flipped": lambda x: conv(x[:, ::-1], 2, 2, "VALID"),
    "one row everywhere": lambda x: conv(jnp.broadcast_to(x[:, 5:6], x.shape)),
    "side by side": lambda x: jnp.concatenate([conv(x, 5), conv(x, 1)], axis=-1),
    "product": lambda x: jnp.einsum("nhwc,wv->nhvc", conv(x), np.ones((10, 4), np.float32)),
    "squeezed": lambda x: conv(x)[:, :, None].squeeze(2),
    "mapped": jax.vmap(lambda x: conv(x[None])[0]),
    "rematerialised": jax.checkpoint(conv),
    "scan carry": lambda x: lax.scan(lambda x, scale: (conv(x) * scale, x), x, jnp.ones(3))[0],
    "scan outputs": lambda x: lax.scan(lambda x, scale: (conv(x) * scale, conv(x)), x, jnp.ones(3))[1].sum(0),
    "cond": lambda x: lax.cond(jnp.ones(()) > 0, conv, lambda x: conv(x, 1), x),
    "squeeze and excitation": lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)),
}


POOLS = {
    "pool": lambda x: pooling.max_pool(x, 3, 2, ((1, 1), (0, 1))),
    "large pool": lambda x: pooling.max_pool(x, 9, 4, ((1, 2), (0, 3))),
}


def as_network(operations):
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("logits", sum(tap(name, f(x)).sum((1, 2, 3))[:, None] for name, f in operations.items()))

    return network.as_network(net)


@pytest.mark.parametrize("operations, draws", [(MAPS, 2), (POOLS, 80)])
def test_every_unit_behind_an_operation(operations, draws):
    """Pools need many random images, since each passes the signal to one pixel of its window."""
    net = as_network(operations)
    shapes = network.layer_names(net, X)
    units = [(i, *at) for i, name in enumerate(operations) for at in np.ndindex(shapes[name].shape[1:3])]
    units = np.array(units, np.int32)
    expected = support(net, X, units, tuple(operations), draws, chunk=500)
    for number, name in enumerate(operations):
        _, rows, columns = units[mine := units[:, 0] == number].T
        found = receptive_field(net, name, X).boxes(rows, columns)
        np.testing.assert_array_equal(found, expected[mine], err_msg=name)


def test_global_and_empty_receptive_fields():
    excited = receptive_field(as_network(MAPS), "squeeze and excitation", X)
    assert excited[:3] == ((12, 10), (0, 0), (0, 0)) and excited.rows.tolist() == [[0, 12]] * 12
    constant = receptive_field(as_network({"ones": lambda x: jnp.ones((len(x), 3, 2, 4))}), "ones", X)
    assert constant[:3] == ((0, 0), (0, 0), (0, 0)) and constant.boxes([0, 2], [1, 1]).tolist() == [[0] * 4] * 2


def test_flipped_maps_have_negative_stride():
    field = receptive_field(as_network({"flipped": lambda x: conv(x[:, ::-1])}), "flipped", X)
    assert field[:3] == ((3, 3), (-1, 1), (10, -1)) and field.rows.tolist()[:2] == [[10, 12], [9, 12]]


def test_unknown_operations_are_named_for_later_layers():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        x = tap("before", conv(x))
        x = tap("behind", conv(jax.jit(lambda x: jnp.sort(x, axis=1))(x)))
        return tap("logits", jnp.concatenate([x, x], 1).sum((1, 2)))

    assert receptive_field(net, "before", X).size == (3, 3)
    for layer in ("behind", "logits"):
        with pytest.raises(NotImplementedError, match=f"layer '{layer}', got 'sort'"):
            receptive_field(net, layer, X)


def test_unknown_layers_and_invalid_images_raise():
    net, x = network_of(NARROW["digits"], (8, 8, 1))
    with pytest.raises(ValueError, match="Did you mean 'conv2'"):
        receptive_field(net, "conv3", x)
    with pytest.raises(ValueError, match="network can read"):
        receptive_field(net, "conv2", jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))


LARGE = {
    **{name: models.abstract(name)[2] for name in NAMES if name != "digits"},
    "googlenet": (101, 118, 3),
    "inception_v3": (101, 118, 3),
    "large_allcnn": (130, 126, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_equal_the_support_of_the_gradient_at_full_size(name):
    check(*network_of(NARROW[name], LARGE[name]), draws=2, chunk=16)


@pytest.mark.parametrize("name", slow_but(NAMES, ("vgg16", "zfnet", "caffenet", "all_cnn_c")))
def test_full_networks_equal_the_narrow_networks(name):
    module, variables, shape = models.abstract(name)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    net, narrow = (Partial(m.apply, jax.eval_shape(m.init, jax.random.key(0), x)) for m in (module, NARROW[name]))
    layers = network.layer_names(net, x)
    assert list(layers) == list(network.layer_names(narrow, x))
    for layer in layers:
        for ours, theirs in zip(receptive_field(net, layer, x), receptive_field(narrow, layer, x), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_vgg16():
    """VGG-16 by the sum over its layers: sizes 6, 16, 44, 100 and 212 at its pools."""
    module, variables, shape = models.abstract("vgg16")
    net, x = Partial(module.apply, variables), jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    for layer, size, stride, offset in (("pool1", 6, 2, -2), ("pool3", 44, 8, -18), ("pool5", 212, 32, -90)):
        field = receptive_field(net, layer, x)
        assert (field.size, field.stride, field.offset) == ((size,) * 2, (stride,) * 2, (offset,) * 2)
    np.testing.assert_array_equal(
        receptive_field(net, "pool5", x).boxes([0, 3], [6, 3]), [[0, 102, 122, 224], [6, 6, 218, 218]]
    )
    last = receptive_field(net, "fc8", x)
    assert last[:3] == ((404, 404), (0, 0), (-90, -90)) and last.boxes([0], [0]).tolist() == [[0, 0, 224, 224]]
