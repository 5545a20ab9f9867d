"""ResNet-18 and ResNet-50: names, sizes, backward rules, training mode, a twin in PyTorch. Golden: test_golden.py."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.architectures import golden
from tests.helpers import float64, torch_networks
from xai_jax.architectures import resnet
from xai_jax.core.network import capture, layer_names
from xai_jax.weights import safetensors_file

SHAPES = {name: golden.load()[name]["shapes"] for name in ("resnet18", "resnet50")}
FULL = {"resnet18": resnet.resnet18(), "resnet50": resnet.resnet50()}
# With an eighth of the channels and fewer blocks.
NARROW = {"resnet18": resnet.ResNet((2, 1, 1, 1), width=8), "resnet50": resnet.ResNet((2, 1, 1, 1), True, width=8)}
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
NAMES = pytest.mark.parametrize("name", FULL)


def narrow(name, factor=8):
    """Shapes of torchvision's entries in a network as `NARROW`."""

    def divide(shape):
        channels = [n if n in (1000, 3) else n // factor for n in shape[:2]]
        return [*channels, *shape[2:]]

    kept = re.compile(r"(?!layer)|layer\d\.0\.|layer1\.1\.")
    return {entry: divide(shape) for entry, shape in SHAPES[name].items() if kept.match(entry)}


def variables_of(module, state, x):
    return safetensors_file.fit(resnet.from_torch(state), jax.eval_shape(module.init, jax.random.key(0), x))


def names_in_order(name):
    expected = ["conv1", "relu1", "pool1"]
    for stage, depth in enumerate(BLOCKS[name], 1):
        for number in range(depth):
            layers = ["conv1", "relu1", "conv2"] + ["relu2", "conv3"] * (name == "resnet50")
            changes = number == 0 and (stage > 1 or name == "resnet50")
            layers += ["downsample"] * changes + ["sum"]
            expected += [*(f"layer{stage}_{number}/{layer}" for layer in layers), f"layer{stage}_{number}"]
    return [*expected, "pool2", "logits"]


@NAMES
def test_names_in_forward_order_and_sizes_of_the_paper(name):
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    found = layer_names(Partial(FULL[name].apply, jax.eval_shape(FULL[name].init, jax.random.key(0), x)), x)
    assert list(found) == names_in_order(name)
    # Table 1 of the paper, column "output size"; four times as many channels at the end of a bottleneck.
    ends = [f"layer{stage}_{depth - 1}" for stage, depth in enumerate(BLOCKS[name], 1)]
    widths = [64 * 2**stage * (4 if name == "resnet50" else 1) for stage in range(4)]
    sizes = [found[layer].shape[1:] for layer in ("conv1", "pool1", *ends)]
    assert sizes == [(112, 112, 64), (56, 56, 64), *((56 // 2**n, 56 // 2**n, c) for n, c in enumerate(widths))]
    assert sum("relu" in layer or f"{layer}/sum" in found for layer in found) == (17 if name == "resnet18" else 49)
    assert found["pool2"].shape == (1, widths[-1]) and found["logits"].shape == (1, 1000)


@NAMES
def test_a_rule_reaches_every_rectification_and_sums_are_those_of_the_block(name):
    x = golden.normalised(golden.pixels(1, 33, 20))
    net = Partial(NARROW[name].apply, variables_of(NARROW[name], torch_networks.entries(narrow(name)), x))
    _, taps = jax.jit(lambda net, x: capture(net, x, relu=jnp.abs))(net, x)
    rectified = {layer: layer.replace("relu", "conv") for layer in taps if "relu" in layer}
    blocks = {layer.removesuffix("/sum"): layer for layer in taps if layer.endswith("/sum")}
    assert (len(rectified), len(blocks)) == (1 + 5 * (2 if name == "resnet50" else 1), 5)
    for after, before in (rectified | blocks).items():
        np.testing.assert_array_equal(taps[after], np.abs(taps[before]))
    last = "conv3" if name == "resnet50" else "conv2"
    identity = taps["layer1_0"] + taps[f"layer1_1/{last}"]
    np.testing.assert_allclose(taps["layer1_1/sum"], identity, rtol=1e-5, atol=1e-5)
    shortcut = taps["layer2_0/downsample"] + taps[f"layer2_0/{last}"]
    np.testing.assert_allclose(taps["layer2_0/sum"], shortcut, rtol=1e-5, atol=1e-5)


def compare(module, shapes, pixels):
    """Float32 logits and float64 gradients with random weights, here and in PyTorch, to 1e-4 of the largest."""
    x, state = golden.normalised(pixels), torch_networks.entries(shapes)
    net = Partial(module.apply, variables_of(module, state, x))
    logits, gradient = torch_networks.logits_and_gradient(torch_networks.resnet, state, x, 3)
    assert np.abs(gradient).max() > 0 and np.ptp(logits) > 0
    found = jax.jit(net)(x), float64.gradient(net, x, 3)
    for ours, theirs in zip(found, (logits, gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@jax.jit
def gradient_and_relu_inputs(net, x):
    """Input gradient of logit 3, in float32, and the inputs of all ReLUs in forward order."""

    def total(x):
        kept = []
        return net(x, relu=lambda z: (kept.append(z), jax.nn.relu(z))[1])[:, 3].sum(), kept

    return jax.grad(total, has_aux=True)(x)


def compare_float32(module, shapes, pixels):
    """Float32 gradients to 1e-4 of the largest, where PyTorch's ReLUs pass the signal at the same units as ours.

    The two differ at few units, whose input is zero up to rounding; see `tests.helpers.float64`.
    """
    import torch

    x, state = golden.normalised(pixels).astype("f"), torch_networks.entries(shapes)
    found, inputs = gradient_and_relu_inputs(Partial(module.apply, variables_of(module, state, x)), x)
    ours = iter([torch.tensor(np.asarray(z).transpose(0, 3, 1, 2)) for z in inputs])
    differ = []

    def relu(theirs):
        own = next(ours)
        differ.append(theirs[(theirs > 0) != (own > 0)].abs() / theirs.abs().max())
        return theirs * (own > 0)

    twin = functools.partial(torch_networks.resnet, relu=relu)
    _, expected = torch_networks.logits_and_gradient(twin, state, x, 3, "f4")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    differ, count = torch.cat(differ).detach().numpy(), sum(z.size for z in inputs)
    assert len(differ) <= 1e-5 * count and (differ < 1e-5).all()


@pytest.mark.parametrize("check", [compare, compare_float32])
@NAMES
def test_equals_a_twin_in_pytorch(name, check):
    pytest.importorskip("torch")
    check(NARROW[name], narrow(name), golden.pixels(2, 45, 38))


@pytest.mark.slow
@pytest.mark.parametrize("check", [compare, compare_float32])
@NAMES
def test_the_whole_network_equals_a_twin_in_pytorch(name, check):
    pytest.importorskip("torch")
    check(FULL[name], SHAPES[name], golden.pixels(2, 224, 224))


@NAMES
def test_training_updates_all_statistics(name):
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(FULL[name].init, jax.random.key(0), x)
    train = jax.eval_shape(lambda v, x: FULL[name].apply(v, x, train=True, mutable=["batch_stats"]), variables, x)
    assert train[0].shape == (2, 1000)
    assert jax.tree.structure(train[1]["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


def test_entries_that_do_not_fit_are_listed():
    state = torch_networks.entries(narrow("resnet18")) | {"layer5.0.conv1.weight": np.ones((2, 2, 1, 1), "f")}
    state["layer1.0.conv1.weight"] = np.ones((8, 8, 5, 5), "f")
    with pytest.raises(ValueError) as caught:
        variables_of(NARROW["resnet18"], state, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    assert "unexpected: params/layer5_0/conv1/conv/kernel" in str(caught.value)
    assert "shape: params/layer1_0/conv1/conv/kernel expected (3, 3, 8, 8), got (5, 5, 8, 8)" in str(caught.value)
    with pytest.raises(ValueError, match=r"images \(N, H, W, C\)"):
        FULL["resnet18"].init(jax.random.key(0), np.ones((8, 8, 3), "f"))
