"""The twelve networks of Table 3 and Large All-CNN: parameters, sizes, names, rules, dropout, a PyTorch twin."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax import saliency, targets
from xai_jax.architectures import allcnn
from xai_jax.core.network import capture, layer_names

# Sides, channels and strides as Table 1 and the rules for deriving the others read; 0 is a pool, the head is common.
TABLE = {
    "A": {
        "base": "5x96 0 5x192 0",
        "strided": "5x96/2 5x192/2",
        "convpool": "5x96 3x96 0 5x192 3x192 0",
        "allcnn": "5x96 3x96/2 5x192 3x192/2",
    },
    "B": {
        "base": "5x96 1x96 0 5x192 1x192 0",
        "strided": "5x96 1x96/2 5x192 1x192/2",
        "convpool": "5x96 1x96 3x96 0 5x192 1x192 3x192 0",
        "allcnn": "5x96 1x96 3x96/2 5x192 1x192 3x192/2",
    },
    "C": {
        "base": "3x96 3x96 0 3x192 3x192 0",
        "strided": "3x96 3x96/2 3x192 3x192/2",
        "convpool": "3x96 3x96 3x96 0 3x192 3x192 3x192 0",
        "allcnn": "3x96 3x96 3x96/2 3x192 3x192 3x192/2",
    },
}
HEAD = " 3x192! 1x192 1x10"  # ! is unpadded
MODELS = [(base, variant) for base in TABLE for variant in TABLE[base]]


def listed(base, variant):
    """(side, channels, stride, padding) for each convolution, None for a pool, from the text above."""
    for word in (TABLE[base][variant] + HEAD).split():
        if word == "0":
            yield None
            continue
        side, _, rest = word.rstrip("!").partition("x")
        channels, _, stride = rest.partition("/")
        yield int(side), int(channels), int(stride or 1), 0 if word.endswith("!") else int(side) // 2


def names(base, variant):
    found = {"conv": 0, "pool": 0}
    for layer in listed(base, variant):
        kind = "conv" if layer else "pool"
        found[kind] += 1
        yield f"{kind}{found[kind]}"
        if layer:
            yield f"relu{found[kind]}"
    yield "logits"


def abstract(module, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), x), x


def activations(module, shape):
    variables, x = abstract(module, shape)
    return layer_names(Partial(module.apply, variables), x)


def built(module, shape, seed=0):
    """A network with weights drawn with NumPy, large enough to keep the signal alive, and an input."""
    rng = np.random.default_rng(seed)
    variables, _ = abstract(module, shape)
    draw = {4: lambda s: rng.normal(0, (2 / np.prod(s[:3])) ** 0.5, s), 1: lambda s: rng.normal(0.1, 0.1, s)}
    variables = jax.tree.map(lambda leaf: jnp.asarray(draw[leaf.ndim](leaf.shape), jnp.float32), variables)
    return variables, jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("base, variant", MODELS)
def test_names_and_sizes_down_to_the_average_over_six_by_six(base, variant):
    found = activations(allcnn.AllCNN(base, variant), (2, 32, 32, 3))
    assert list(found) == list(names(base, variant))
    sides = list(dict.fromkeys(shape.shape[1] for shape in found.values() if len(shape.shape) == 4))
    assert sides == ([16, 8, 6] if variant == "strided" and base == "A" else [32, 16, 8, 6])
    *_, last, logits = found.values()
    assert last.shape == (2, 6, 6, 10) and logits.shape == (2, 10)


@pytest.mark.parametrize("base, variant", MODELS)
def test_fashion_images_and_the_smallest_work(base, variant):
    module = allcnn.AllCNN(base, variant, width=0.25, classes=7)
    assert [shape.shape for shape in activations(module, (1, 28, 28, 1)).values()][-2:] == [(1, 5, 5, 7), (1, 7)]
    assert activations(module, (1, 12, 13, 1))["logits"].shape == (1, 7)
    with pytest.raises(ValueError, match="sides of 12"):
        activations(module, (1, 11, 32, 1))


def test_width_multiplies_the_channels():
    found = activations(allcnn.AllCNN("C", "base", width=0.125), (1, 32, 32, 3))
    assert [found[name].shape[-1] for name in ("conv1", "conv3", "conv6", "conv7")] == [12, 24, 24, 10]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"base": "D"}, "base of A, B, C"),
        ({"variant": "pooled"}, "variant of base, strided"),
        ({"width": 0}, "positive width"),
    ],
)
def test_unknown_models_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        activations(allcnn.AllCNN(**options), (1, 32, 32, 3))


@pytest.mark.parametrize("base, variant", [("A", "strided"), ("C", "allcnn")])
def test_a_rule_reaches_every_relu(base, variant):
    module = allcnn.AllCNN(base, variant, width=0.1)
    variables, x = built(module, (2, 16, 16, 3))
    _, taps = jax.jit(lambda v, x: capture(Partial(module.apply, v), x, relu=jnp.abs))(variables, x)
    rectified = [name for name in taps if name.startswith("relu")]
    assert len(rectified) == len(variables["params"])
    for name in rectified:
        np.testing.assert_array_equal(taps[name], np.abs(taps[name.replace("relu", "conv")]))
    np.testing.assert_allclose(taps["logits"], np.asarray(taps[rectified[-1]]).mean((1, 2)), rtol=1e-5)


def dropped(module, shape):
    """(share dropped, side of the map) of every dropout that is active in training."""
    found = []

    def record(call, arguments, options, context):
        module = context.module
        if isinstance(module, nn.Dropout) and module.rate and not module.deterministic:  # lint: keep
            found.append((module.rate, arguments[0].shape[1]))  # lint: keep
        return call(*arguments, **options)

    def train(variables, x):
        return module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})

    with nn.intercept_methods(record):
        jax.eval_shape(train, *abstract(module, shape))
    return found


@pytest.mark.parametrize("base, variant", MODELS)
def test_dropout_on_the_input_and_on_every_halved_map(base, variant):
    assert dropped(allcnn.AllCNN(base, variant), (1, 32, 32, 3)) == [(0.2, 32), (0.5, 16), (0.5, 8)]


def test_dropout_of_large_follows_the_convolutions_that_keep_the_size():
    stages = [(0.1, 61), (0.1, 60), (0.2, 29), (0.2, 28), (0.3, 13), (0.3, 12), (0.4, 5), (0.4, 4), (0.5, 1), (0.5, 1)]
    assert dropped(allcnn.LargeAllCNN(width=0.1), (1, 126, 126, 3)) == stages


def twin(torch, base, variant, variables, x):
    """Logits, a class whose last ReLU lives, and its input gradient, layer by layer in PyTorch."""
    x = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2), requires_grad=True)
    y, number = x, 0
    for layer in listed(base, variant):
        if layer is None:
            y = torch.nn.functional.max_pool2d(y, 3, 2, ceil_mode=True)
            continue
        number += 1
        kernel, bias = (np.asarray(variables["params"][f"conv{number}"][name]) for name in ("kernel", "bias"))
        kernel, bias = torch.tensor(kernel.transpose(3, 2, 0, 1).copy()), torch.tensor(bias)
        y = torch.relu(torch.nn.functional.conv2d(y, kernel, bias, stride=layer[2], padding=layer[3]))
    logits = y.mean((2, 3))
    alive = int(logits.min(0).values.argmax())
    logits[:, alive].sum().backward()
    return logits.detach().numpy(), alive, x.grad.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("base, variant", MODELS)
def test_equals_a_twin_in_pytorch(base, variant):
    torch = pytest.importorskip("torch")
    module = allcnn.AllCNN(base, variant, width=0.1)
    variables, x = built(module, (2, 16, 15, 3))
    logits, alive, gradient = twin(torch, base, variant, variables, x)
    assert logits[:, alive].all()
    np.testing.assert_allclose(jax.jit(module.apply)(variables, x), logits, rtol=1e-4, atol=1e-5)
    found = saliency.gradient(Partial(module.apply, variables), x, targets.logit(alive))
    np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-5 * np.abs(gradient).max())


def test_large_has_the_sizes_and_parameters_of_the_paper():
    module = allcnn.LargeAllCNN()
    found = activations(module, (1, 126, 126, 3))
    assert list(found) == [f"{kind}{n}" for n in range(1, 18) for kind in ("conv", "relu")] + ["conv18", "logits"]
    assert [found[f"relu{n}"].shape[1] for n in (3, 6, 9, 12, 15, 16, 17)] == [62, 30, 14, 6, 2, 1, 1]
    expected, inputs = 0, 3
    sides = [(2, width) for width in (320, 640, 960, 1280, 1600) for _ in range(3)] + [(2, 1920), (1, 1920), (1, 10)]
    for side, channels in sides:
        expected += side * side * inputs * channels + channels
        inputs = channels
    variables, _ = abstract(module, (1, 126, 126, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected
    assert round(expected / 1e6) == 77
    with pytest.raises(ValueError, match="sides of 126"):
        activations(module, (1, 125, 126, 3))


@pytest.mark.parametrize(
    "relu, expected", [(nn.relu, lambda x: np.where(x > 0, x, 0.25 * x)), (jnp.abs, lambda x: 0.75 * np.abs(x))]
)
def test_large_is_leaky_and_a_rule_reaches_both_gates(relu, expected):
    module = allcnn.LargeAllCNN(width=1 / 160, negative_slope=0.25)
    variables, x = built(module, (1, 126, 126, 3))
    _, taps = jax.jit(lambda v, x: capture(Partial(module.apply, v), x, relu=relu))(variables, x)
    for number in range(1, 18):
        before = np.asarray(taps[f"conv{number}"])
        assert (before < 0).any()
        np.testing.assert_allclose(taps[f"relu{number}"], expected(before), rtol=1e-5)
    np.testing.assert_allclose(taps["logits"], np.asarray(taps["conv18"])[:, 0, 0], rtol=1e-6)
