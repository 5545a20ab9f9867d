"""CaffeNet: sizes, grouped convolutions, foreign weights, against twins in PyTorch and in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.weights.test_caffe_file import ARRAYS, FORMATS, old_format, saved
from xai_jax import models, saliency, targets
from xai_jax.architectures import caffenet
from xai_jax.core.network import capture, layer_names
from xai_jax.models import registry
from xai_jax.weights import safetensors_file

NAMES = (
    "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 fc6 relu6 fc7 relu7 fc8"
)
WIDTHS = (4, 6, 8, 6, 4)
SMALL = caffenet.CaffeNet(widths=WIDTHS, hidden=7, classes=5)
SIDE = 79  # pool5 is 2x2, and two of the three pools have an incomplete last window


def state(side=2, seed=0):
    """Weights in Caffe's layout from a seed; fc6 reads maps of side x side."""
    rng = np.random.default_rng(seed)
    geometry = {"conv1": (4, 3, 11, 11), "conv2": (6, 2, 5, 5), "conv3": (8, 6, 3, 3), "conv4": (6, 4, 3, 3)}
    geometry |= {"conv5": (4, 3, 3, 3), "fc6": (7, 4 * side * side), "fc7": (7, 7), "fc8": (5, 7)}
    arrays = {}
    for name, shape in geometry.items():
        arrays[f"{name}.weight"] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype("f")
        arrays[f"{name}.bias"] = rng.normal(0.1, 0.1, shape[0]).astype("f")
    return arrays


def loaded(arrays, side=SIDE):
    x = np.random.default_rng(1).normal(0, 50, (2, side, side, 3)).astype("f")
    expected = jax.eval_shape(SMALL.init, jax.random.key(0), x)
    return Partial(SMALL.apply, safetensors_file.fit(caffenet.from_torch(arrays), expected)), jnp.asarray(x)


def test_sizes_names_and_parameters_of_the_reference_network():
    module, variables, shape = models.abstract("caffenet")
    assert shape == (227, 227, 3)
    found = layer_names(Partial(module.apply, variables), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    assert " ".join(found) == NAMES
    sizes = {name: value.shape[1:] for name, value in found.items()}
    assert sizes["conv1"] == (55, 55, 96) and sizes["pool1"] == (27, 27, 96)
    assert sizes["conv2"] == (27, 27, 256) and sizes["norm2"] == (13, 13, 256)
    assert sizes["conv4"] == (13, 13, 384) and sizes["pool5"] == (6, 6, 256)
    expected = 11 * 11 * 3 * 96 + 5 * 5 * 48 * 256 + 3 * 3 * (256 * 384 + 192 * 384 + 192 * 256)
    expected += 9216 * 4096 + 4096 * 4096 + 4096 * 1000 + 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected == 60_965_224


def normalised(x):
    """Local response normalisation channel by channel, in Caffe's form: alpha is divided by the 5 channels."""
    result = np.empty_like(x)
    for c in range(x.shape[-1]):
        energy = (x[..., max(c - 2, 0) : c + 3].astype(float) ** 2).sum(-1)
        result[..., c] = x[..., c] / (1 + 1e-4 / 5 * energy) ** 0.75
    return result


def test_norms_are_those_of_caffe():
    net, x = loaded(state())
    taps = jax.jit(lambda net, x: capture(net, x)[1])(net, x)
    for number in (1, 2):
        pooled = np.asarray(taps[f"pool{number}"])
        np.testing.assert_allclose(taps[f"norm{number}"], normalised(pooled), rtol=1e-5)
        assert not np.allclose(taps[f"norm{number}"], pooled, rtol=1e-3)


def twin(torch, arrays, x):
    """Every activation and the gradient of the first class in PyTorch; like Caffe, it reads blue, green, red."""
    f, arrays = torch.nn.functional, {name: torch.tensor(array) for name, array in arrays.items()}
    x = torch.tensor(np.asarray(x)[..., ::-1].transpose(0, 3, 1, 2).copy(), requires_grad=True)
    y, seen = x, {}
    for name in NAMES.split():
        kind, number = name[:-1], int(name[-1])
        weight, bias = arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias")
        match kind:
            case "conv":
                y = f.conv2d(
                    y, weight, bias, *{1: (4, 0), 2: (1, 2)}.get(number, (1, 1)), 1, (1, 2, 1, 2, 2)[number - 1]
                )
            case "relu":
                y = torch.relu(y)
            case "pool":
                y = f.max_pool2d(y, 3, 2, ceil_mode=True)
            case "norm":
                y = f.local_response_norm(y, 5, alpha=1e-4, beta=0.75, k=1.0)
            case "fc":
                y = f.linear(y.flatten(1), weight, bias)
        seen[name] = y
    y[:, 0].sum().backward()
    maps = {k: v.detach().numpy() for k, v in seen.items()}
    maps = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in maps.items()}
    return maps, x.grad.numpy().transpose(0, 2, 3, 1)[..., ::-1]


@pytest.mark.parametrize("side, pooled", [(79, 2), (103, 3)])
def test_equals_a_twin_in_pytorch(side, pooled):
    torch = pytest.importorskip("torch")
    arrays = state(pooled)
    net, x = loaded(arrays, side)
    expected, gradient = twin(torch, arrays, x)
    taps = jax.jit(lambda net, x: capture(net, x)[1])(net, x)
    assert taps["pool5"].shape[1:3] == (pooled, pooled)
    for name in NAMES.split():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(taps[name], expected[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name)
    found = saliency.gradient(net, x, targets.logit(0))
    np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


def test_convolutions_in_groups_see_their_own_half():
    net, x = loaded(state())
    taps = jax.jit(lambda net, x: capture(net, x)[1])(net, x)
    kernel, bias = (np.asarray(net.args[0]["params"]["conv2"][name]) for name in ("kernel", "bias"))
    patch = np.asarray(taps["norm1"])[:, 1:6, 0:5]
    for group, channels in enumerate((slice(0, 3), slice(3, 6))):
        half = patch[..., 2 * group : 2 * group + 2]
        expected = np.einsum("nhwc,hwco->no", half, kernel[..., channels]) + bias[channels]
        np.testing.assert_allclose(taps["conv2"][:, 3, 2, channels], expected, rtol=1e-4, atol=1e-3)


def test_groups_are_apart_on_cpu_and_grouped_on_accelerators():
    net, x = loaded(state())

    def lowered(platform):
        return jax.export.export(jax.jit(lambda x: net(x)), platforms=(platform,))(x).mlir_module()

    assert lowered("cuda").count("feature_group_count = 2") == 3
    assert lowered("cpu").count("feature_group_count = 2") == 0


def test_colours_of_the_first_filters_are_reversed():
    arrays = state()
    kernel = caffenet.from_torch(arrays)["params/conv1/kernel"]
    np.testing.assert_array_equal(kernel[2, 3, 0], arrays["conv1.weight"][:, 2, 2, 3])
    np.testing.assert_array_equal(kernel[2, 3, 2], arrays["conv1.weight"][:, 0, 2, 3])


def test_weights_that_do_not_fit_are_listed():
    arrays = state(3) | {"conv6.weight": np.ones((1, 1, 1, 1), "f")}
    del arrays["conv5.bias"]
    with pytest.raises(ValueError) as caught:
        loaded(arrays)
    for problem in ("unexpected: conv6.weight", "shape: params/fc6/kernel", "missing: params/conv5/bias"):
        assert problem in str(caught.value)


def test_too_small_images_and_odd_widths_are_refused():
    def build(module, side):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, side, side + 20, 3)))

    build(SMALL, 39)
    with pytest.raises(ValueError, match="sides of 39"):
        build(SMALL, 38)
    for widths in ((4, 6, 7, 6, 4), (4, 6)):
        with pytest.raises(ValueError, match="five even widths"):
            build(caffenet.CaffeNet(widths=widths), 67)


def convolved(x, kernel, bias, stride, pad, groups):
    """Caffe's convolution of one image (C, H, W) with filters (O, C / groups, S, S), window by window."""
    x = np.pad(x.astype(float), ((0, 0), (pad, pad), (pad, pad)))
    side = kernel.shape[-1]
    parts = []
    for inputs, filters in zip(np.split(x, groups), np.split(kernel, groups), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(inputs, (side, side), (1, 2))[:, ::stride, ::stride]
        parts.append(np.einsum("chwij,ocij->ohw", windows, filters))
    return np.concatenate(parts) + bias[:, None, None]


def pooled(x):
    """3x3 windows at stride 2; the last one may be incomplete."""
    starts = range(0, x.shape[1] - 1, 2)
    return np.stack([np.stack([x[:, i : i + 3, j : j + 3].max((1, 2)) for j in starts], -1) for i in starts], 1)


def caffe(arrays, image):
    """Logits of one RGB image (H, W, 3), in Caffe's order of axes and of colours, in NumPy."""
    x = image[..., ::-1].transpose(2, 0, 1)
    for number, geometry in enumerate(((4, 0, 1), (1, 2, 2), (1, 1, 1), (1, 1, 2), (1, 1, 2)), 1):
        x = np.maximum(convolved(x, arrays[f"conv{number}.weight"], arrays[f"conv{number}.bias"], *geometry), 0)
        x = pooled(x) if number in (1, 2, 5) else x
        x = normalised(x.transpose(1, 2, 0)).transpose(2, 0, 1) if number in (1, 2) else x
    x = x.ravel()
    for number in (6, 7, 8):
        x = arrays[f"fc{number}.weight"] @ x + arrays[f"fc{number}.bias"]
        x = np.maximum(x, 0) if number < 8 else x
    return x


@FORMATS
def test_caffenet_computes_what_caffe_does(tmp_path, form, monkeypatch):
    entry = registry._ENTRIES["caffenet"]
    entry = entry._replace(build=lambda: SMALL, input=dataclasses.replace(entry.input, size=SIDE))
    monkeypatch.setitem(registry._ENTRIES, "small", entry)
    arrays = state(seed=1)
    variables = models.read_variables("small", saved(tmp_path, form(arrays)))
    images = np.random.default_rng(2).normal(0, 50, (2, SIDE, SIDE, 3)).astype("f")
    logits = jax.jit(SMALL.apply)(variables, jnp.asarray(images))
    expected = np.stack([caffe(arrays, image) for image in images])
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_entries_that_do_not_fit_caffenet_are_listed(tmp_path):
    path = saved(tmp_path, old_format(ARRAYS))
    with pytest.raises(ValueError, match="does not fit caffenet(.|\n)*missing: params/conv2/kernel"):
        models.read_variables("caffenet", path)
