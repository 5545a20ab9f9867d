"""ViT-B/16: names, sizes, refusal of backward rules for ReLUs, a twin in PyTorch. Golden: test_golden.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.architectures import golden
from tests.helpers import torch_networks
from xai_jax import deconvnet, saliency, targets
from xai_jax.architectures import vit
from xai_jax.core.network import capture, head, layer_names
from xai_jax.weights import safetensors_file

SHAPES = golden.load()["vit_b_16"]["shapes"]
SMALL = vit.ViT(size=48, width=64, depth=2, heads=4, hidden=96)


def small():
    """Shapes of torchvision's entries in a network as small as `SMALL`."""
    sizes = {768: 64, 3 * 768: 3 * 64, 3072: 96, 197: 10}
    shapes = {name: [sizes.get(n, n) for n in shape] for name, shape in SHAPES.items()}
    absent = {f"encoder_layer_{number}" for number in range(2, 12)}
    return {name: shape for name, shape in shapes.items() if absent.isdisjoint(name.split("."))}


def variables_of(module, state, x):
    return safetensors_file.fit(vit.from_torch(state), jax.eval_shape(module.init, jax.random.key(0), x))


@functools.cache
def built():
    """The small network, its state dictionary in PyTorch's layout, and images."""
    x, state = golden.normalised(golden.pixels(2, 48, 48)), torch_networks.entries(small())
    return Partial(SMALL.apply, variables_of(SMALL, state, x)), state, x


def test_names_in_forward_order_and_sizes():
    module, x = vit.vit_b_16(), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    found = layer_names(Partial(module.apply, jax.eval_shape(module.init, jax.random.key(0), x)), x)
    expected = ["conv_proj", "tokens"]
    for number in range(12):
        block = f"encoder_layer_{number}"
        expected += [*(f"{block}/{layer}" for layer in ("self_attention", "sum", "mlp")), block]
    assert list(found) == [*expected, "ln", "class_token", "logits"]
    shapes = {name: leaf.shape for name, leaf in found.items()}
    assert shapes["conv_proj"] == (1, 14, 14, 768) and shapes["encoder_layer_11"] == shapes["tokens"] == (1, 197, 768)
    assert shapes["class_token"] == (1, 768) and shapes["logits"] == (1, 1000)


def test_residual_sums_are_those_of_the_paper():
    net, _, x = built()
    _, taps = jax.jit(capture)(net, x)
    block = "encoder_layer_1"
    before, attended, mlp = taps["encoder_layer_0"], taps[f"{block}/self_attention"], taps[f"{block}/mlp"]
    np.testing.assert_allclose(taps[f"{block}/sum"], before + attended, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(taps[block], taps[f"{block}/sum"] + mlp, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(taps["class_token"], taps["ln"][:, 0])


def compare(module, shapes, pixels):
    """Float32 logits and input gradients with random weights, here and in PyTorch, to 1e-4 of the largest."""
    x, state = golden.normalised(pixels).astype("f"), torch_networks.entries(shapes)
    net = Partial(module.apply, variables_of(module, state, x))
    twin = functools.partial(torch_networks.vit, heads=module.heads)
    logits, gradient = torch_networks.logits_and_gradient(twin, state, x, 3)
    assert np.abs(gradient).max() > 0 and np.ptp(logits) > 0
    found = jax.jit(net)(x), saliency.gradient(net, x, targets.logit(3))
    for ours, theirs in zip(found, (logits, gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_equals_a_twin_in_pytorch():
    pytest.importorskip("torch")
    compare(SMALL, small(), golden.pixels(2, 48, 48))


@pytest.mark.slow
def test_the_whole_network_equals_a_twin_in_pytorch():
    pytest.importorskip("torch")
    compare(vit.vit_b_16(), SHAPES, golden.pixels(2, 224, 224))


def test_the_published_file_has_older_names_of_the_perceptrons():
    _, state, x = built()
    older = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): a for name, a in state.items()}
    assert older.keys() != state.keys()
    jax.tree.map(np.testing.assert_array_equal, variables_of(SMALL, older, x), variables_of(SMALL, state, x))


def test_rules_for_relus_are_refused_and_the_message_names_what_works():
    net, _, x = built()
    target, unit = targets.logit(3), targets.neuron("encoder_layer_1", 5, at="max")
    for call in (
        lambda: saliency.guided_backprop(net, x, target),
        lambda: saliency.deconvnet(net, x, target),
        lambda: deconvnet.project(net, x, unit),
    ):
        with pytest.raises(ValueError, match="Expected a network with ReLUs.*GELU.*saliency.gradient") as caught:
            call()
        assert len(str(caught.value)) <= 600
    for method in (saliency.gradient, saliency.input_x_gradient):
        maps = method(net, x, unit)
        assert maps.shape == x.shape and np.abs(maps).sum() > 0


def test_the_head_from_a_block_gives_the_logits():
    net, _, x = built()
    logits, taps = jax.jit(capture)(net, x)
    np.testing.assert_allclose(head(net, "encoder_layer_0", x)(taps["encoder_layer_0"]), logits, rtol=1e-4, atol=1e-5)


def test_images_of_another_size_and_entries_that_do_not_fit_are_refused():
    net, state, x = built()
    with pytest.raises(ValueError, match=r"images \(N, 48, 48, C\).*got shape \(2, 32, 48, 3\)"):
        net(x[:, :32])
    foreign = ["encoder.layers.encoder_layer_1.mlp.1.weight", "heads.pre_logits.bias", "class_token.extra"]
    with pytest.raises(ValueError) as caught:
        variables_of(SMALL, state | dict.fromkeys(foreign, np.ones(2, "f")), x)
    assert all(f"unexpected: {name} (2,)" in str(caught.value) for name in foreign)
