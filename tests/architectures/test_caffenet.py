"""CaffeNet and Caffe's AlexNet: grouped convolutions and foreign weights, against a twin in PyTorch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.weights.test_caffe_file import FORMATS, saved
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
ALEXNET = caffenet.AlexNet(widths=WIDTHS, hidden=7, classes=5)
ALEXNET_NAMES = NAMES.replace("pool1 norm1", "norm1 pool1").replace("pool2 norm2", "norm2 pool2")
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


def loaded(arrays, side=SIDE, module=SMALL):
    x = np.random.default_rng(1).normal(0, 50, (2, side, side, 3)).astype("f")
    expected = jax.eval_shape(module.init, jax.random.key(0), x)
    return Partial(module.apply, safetensors_file.fit(caffenet.from_torch(arrays), expected)), jnp.asarray(x)


def twin(torch, arrays, x, names):
    """Every activation and the gradient of the first class in PyTorch; like Caffe, it reads blue, green, red."""
    f, arrays = torch.nn.functional, {name: torch.tensor(array) for name, array in arrays.items()}
    x = torch.tensor(np.asarray(x)[..., ::-1].transpose(0, 3, 1, 2).copy(), requires_grad=True)
    y, seen = x, {}
    for name in names.split():
        kind, number = name[:-1], int(name[-1])
        weight, bias = arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias")
        match kind:
            case "conv":
                stride, padding, groups = {1: (4, 0, 1), 2: (1, 2, 2), 3: (1, 1, 1)}.get(number, (1, 1, 2))
                y = f.conv2d(y, weight, bias, stride, padding, groups=groups)
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


@pytest.mark.parametrize(
    "module, names, side, pooled", [(SMALL, NAMES, 79, 2), (SMALL, NAMES, 103, 3), (ALEXNET, ALEXNET_NAMES, 79, 2)]
)
def test_equals_a_twin_in_pytorch(module, names, side, pooled):
    torch = pytest.importorskip("torch")
    arrays = state(pooled)
    net, x = loaded(arrays, side, module)
    expected, gradient = twin(torch, arrays, x, names)
    taps = jax.jit(lambda net, x: capture(net, x)[1])(net, x)
    assert taps["pool5"].shape[1:3] == (pooled, pooled) and list(layer_names(net, x)) == names.split()
    for name in names.split():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(taps[name], expected[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name)
    found = saliency.gradient(net, x, targets.logit(0))
    np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


def test_groups_are_apart_on_cpu_and_grouped_on_accelerators():
    net, x = loaded(state())
    for platform, groups in (("cuda", 3), ("cpu", 0)):
        lowered = jax.export.export(jax.jit(lambda x: net(x)), platforms=(platform,))(x).mlir_module()
        assert lowered.count("feature_group_count = 2") == groups


def test_odd_widths_are_refused():
    for widths in ((4, 6, 7, 6, 4), (4, 6)):
        with pytest.raises(ValueError, match="five even widths"):
            caffenet.CaffeNet(widths=widths).init(jax.random.key(0), jnp.zeros((1, 67, 67, 3)))


@FORMATS
def test_files_of_caffe_are_read_by_name(tmp_path, form, monkeypatch):
    entry = registry._ENTRIES["caffenet"]
    entry = entry._replace(build=lambda: SMALL, input=dataclasses.replace(entry.input, size=SIDE))
    monkeypatch.setitem(registry._ENTRIES, "small", entry)
    found = models.read_variables("small", saved(tmp_path, form(state())))
    jax.tree.map(np.testing.assert_array_equal, found, loaded(state())[0].args[0])
