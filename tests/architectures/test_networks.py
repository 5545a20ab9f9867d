"""Layers, sizes, rules and dropout of the networks, and foreign weights of VGG."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax import models, saliency, targets
from xai_jax.architectures import allcnn, caffenet, digits, googlenet, inception, vgg, zfnet
from xai_jax.core.network import capture, layer_names
from xai_jax.data import digits as data_digits
from xai_jax.weights import safetensors_file

SMALL = {
    "vgg": (vgg.VGG(stages=(1, 2), widths=(4, 5), hidden=7, classes=3), (2, 9, 8, 3)),
    "zfnet": (zfnet.ZFNet(widths=(4, 5, 6, 6, 5), hidden=7, classes=3), (2, 47, 50, 3)),
    "allcnn": (allcnn.AllCNNImageNet(classes=3), (2, 57, 57, 3)),
    "digits": (digits.DigitsNet(), (2, 8, 8, 1)),
    "caffenet": (caffenet.CaffeNet(widths=(4, 6, 8, 6, 4), hidden=7, classes=5), (2, 79, 79, 3)),
}


def built(name):
    """Module, variables and input drawn with NumPy: the module's own initialisation takes seconds to compile."""
    module, shape = SMALL[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype("f")
    abstract = jax.eval_shape(module.init, jax.random.key(0), x)
    return module, jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype("f"), abstract), jnp.asarray(x)


# Simonyan & Zisserman 2015, Table 2 gives 138 and 144 million; All-CNN: below 10 million.
@pytest.mark.parametrize(
    "name, parameters",
    [
        *(("vgg16", 138_357_544), ("vgg19", 143_667_240), ("zfnet", 62_357_608)),
        *(("allcnn_imagenet", 9_372_840), ("caffenet", 60_965_224)),
    ],
)
def test_numbers_of_parameters(name, parameters):
    variables = models.abstract(name)[1]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters


SIZES = {
    "zfnet": {"conv1": (110, 110, 96), "pool1": (55, 55, 96), "conv2": (26, 26, 256), "pool2": (13, 13, 256)}
    | {"conv5": (13, 13, 256), "pool5": (6, 6, 256)},
    "caffenet": {"conv1": (55, 55, 96), "pool1": (27, 27, 96), "conv2": (27, 27, 256), "norm2": (13, 13, 256)}
    | {"conv4": (13, 13, 384), "pool5": (6, 6, 256)},
    "allcnn_imagenet": {"relu12": (6, 6, 1000), "conv9": (6, 6, 384)},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_the_papers(name):
    module, variables, shape = models.abstract(name)
    found = layer_names(Partial(module.apply, variables), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    assert {layer: found[layer].shape[1:] for layer in SIZES[name]} == SIZES[name]


def test_the_width_of_allcnn_multiplies_the_channels_but_not_the_classes():
    x = jnp.zeros((1, 57, 57, 3))
    module = allcnn.AllCNNImageNet(classes=7, width=1 / 8)
    found = layer_names(Partial(module.apply, jax.eval_shape(module.init, jax.random.key(0), x)), x)
    channels = [found[f"conv{number}"].shape[-1] for number in range(1, 13)]
    assert channels == [12, 12, 12, 32, 32, 32, 48, 48, 48, 128, 128, 7]


@pytest.mark.parametrize("size", [32, 64, 224])
def test_vgg_works_at_several_sizes(size):
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(vgg.vgg19().init, jax.random.key(0), x)
    assert variables["params"]["fc6"]["kernel"].shape[0] == (size // 32) ** 2 * 512
    assert len(variables["params"]) == 19


NAMES = {
    "vgg": "conv1_1 relu1_1 pool1 conv2_1 relu2_1 conv2_2 relu2_2 pool2 fc6 relu6 fc7 relu7 fc8",
    "zfnet": "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
    "fc6 relu6 fc7 relu7 fc8",
    "allcnn": " ".join(f"conv{n} relu{n}" for n in range(1, 13)) + " logits",
    "digits": "conv1 relu1 pool1 conv2 relu2 logits",
}
NAMES["caffenet"] = NAMES["zfnet"]


@pytest.mark.parametrize("name", SMALL)
def test_names_in_forward_order_and_a_rule_at_every_relu(name):
    module, variables, x = built(name)
    net = Partial(module.apply, variables)
    assert " ".join(layer_names(net, x)) == NAMES[name]
    logits, taps = jax.jit(lambda net, x: capture(net, x, relu=jnp.abs))(net, x)
    for layer in taps:
        if layer.startswith("relu"):
            before = layer.replace("relu", "conv")
            np.testing.assert_array_equal(taps[layer], np.abs(taps.get(before, taps.get(layer.replace("relu", "fc")))))
    np.testing.assert_array_equal(logits, taps[NAMES[name].split()[-1]])


@pytest.mark.parametrize("name", ["vgg", "zfnet", "allcnn", "caffenet"])
def test_dropout_acts_in_training_only(name):
    module, variables, x = built(name)
    used = jax.jit(module.apply)(variables, x)  # would need a dropout key if it needed one

    @jax.jit
    def train(key):
        return module.apply(variables, x, train=True, rngs={"dropout": key})

    drawn = [train(jax.random.key(seed)) for seed in (0, 1)]
    assert not np.allclose(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], used)


@pytest.mark.parametrize("kind", [allcnn.AllCNNImageNet, zfnet.ZFNet, caffenet.CaffeNet])
def test_training_without_dropout_draws_nothing(kind):
    module, x = kind(classes=3, dropout=False), jax.ShapeDtypeStruct((2, 57, 57, 1), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    logits = jax.eval_shape(lambda v, x: module.apply(v, x, train=True), variables, x)  # no key for dropout
    assert logits.shape == (2, 3)


@pytest.mark.parametrize(
    "module, smallest",
    [
        (SMALL["vgg"][0], (4, 9)),
        (SMALL["zfnet"][0], (47, 90)),
        (SMALL["allcnn"][0], (57, 90)),
        (SMALL["caffenet"][0], (39, 58)),
        (googlenet.GoogLeNet(), (15, 15)),
        (inception.InceptionV3(), (75, 75)),
    ],
)
def test_too_small_images_are_refused_and_the_smallest_are_not(module, smallest):
    def shape(height, width):
        return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, height, width, 3)))

    shape(*smallest)
    for height, width in ((smallest[0] - 1, smallest[1]), (smallest[1], smallest[0] - 1)):
        with pytest.raises(ValueError, match="sides of"):
            shape(height, width)
    with pytest.raises(ValueError):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((*smallest, 3)))


@pytest.mark.parametrize("name", ["caffenet", "convpool_cnn_c", "efficientnet_lite0"])
def test_guided_backprop_lowers_for_accelerators(name):
    module, variables, shape = models.abstract(name)

    def guided(variables, x):
        return saliency.guided_backprop(Partial(module.apply, variables), x, targets.logit(1))

    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    exported = jax.export.export(jax.jit(guided), platforms=("cuda", "tpu"))(variables, x)
    assert exported.platforms == ("cuda", "tpu") and exported.out_avals[0].shape == x.shape


def test_vgg_refuses_stages_without_widths():
    with pytest.raises(ValueError, match="one width for each stage"):
        vgg.VGG(stages=(1, 1), widths=(4,)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_contrast_normalisation_channel_by_channel():
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 7)).astype("f") * 100
    expected = np.empty_like(x)
    for c in range(7):
        energy = (x[..., max(c - 2, 0) : c + 3].astype(float) ** 2).sum(-1)
        expected[..., c] = x[..., c] / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(zfnet.contrast_normalise(jnp.asarray(x)), expected, rtol=1e-5)


@pytest.mark.parametrize("size", range(3, 12))
def test_complete_pool_keeps_the_last_window(size):
    x = np.random.default_rng(size).normal(size=(1, size, size, 1)).astype("f")
    starts = range(0, size - 1, 2) if size % 2 else range(0, size - 2 + 1, 2)
    expected = [[x[0, i : i + 3, j : j + 3, 0].max() for j in starts] for i in starts]
    np.testing.assert_array_equal(zfnet.complete_pool(jnp.asarray(x))[0, ..., 0], expected)


def test_vgg_starts_with_he_initialisation_except_in_its_last_layer(monkeypatch):
    he, found = vgg._he, []

    def record(key, shape, *options):
        found.append(shape)
        return he(key, shape, *options)

    monkeypatch.setattr(vgg, "_he", record)
    module, x = vgg.VGG(classes=7), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    assert found == [leaf["kernel"].shape for layer, leaf in shapes.items() if layer != "fc8"]


def torch_like_vgg(side):
    rng = np.random.default_rng(0)
    shapes = {"features.0": (4, 3, 3, 3), "features.3": (5, 4, 3, 3), "features.5": (5, 5, 3, 3)}
    shapes |= {"classifier.0": (7, 5 * side * side), "classifier.3": (7, 7), "classifier.6": (3, 7)}
    kernels = {f"{name}.weight": rng.normal(size=shape).astype("f") for name, shape in shapes.items()}
    return kernels | {f"{name}.bias": rng.normal(size=shape[0]).astype("f") for name, shape in shapes.items()}


def test_vgg_weights_of_pytorch_keep_their_meaning():
    state = torch_like_vgg(2)
    module, _, _ = built("vgg")
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("f")
    variables = safetensors_file.fit(vgg.from_torch(state), jax.eval_shape(module.init, jax.random.key(0), x))
    taps = jax.jit(lambda net, x: capture(net, x)[1])(Partial(module.apply, variables), x)
    flat = np.asarray(taps["pool2"]).transpose(0, 3, 1, 2).reshape(2, -1)  # channels first, as PyTorch flattens
    expected = flat @ state["classifier.0.weight"].T + state["classifier.0.bias"]
    np.testing.assert_allclose(taps["fc6"], expected, rtol=1e-4, atol=1e-4)
    patch, kernel = x[:, 3:6, 4:7], state["features.0.weight"].transpose(0, 2, 3, 1)
    expected = np.einsum("nhwc,ohwc->no", patch, kernel) + state["features.0.bias"]
    np.testing.assert_allclose(taps["conv1_1"][:, 4, 5], expected, rtol=1e-4, atol=1e-4)


def test_vgg_weights_that_do_not_fit_are_listed():
    module, variables, _ = built("vgg")
    state = torch_like_vgg(3) | {"features.1.running_mean": np.ones(4)}
    with pytest.raises(ValueError) as caught:
        safetensors_file.fit(vgg.from_torch(state), variables)
    assert "unexpected: features.1.running_mean" in str(caught.value)
    assert "shape: params/fc6/kernel" in str(caught.value)


def test_digits_are_trained_once_and_well():
    model = models.load("digits")
    assert models.load("digits").variables is model.variables
    training, test, _, labels = data_digits.arrays()
    assert len(test) == pytest.approx(0.2 * (len(test) + len(training)), abs=1)
    assert (np.asarray(model.net(test)).argmax(1) == labels).mean() >= 0.97
