"""Inception v3: sizes, names, rules at every rectification, pooling, foreign weights.

Golden outputs of torchvision's network are in test_golden.py, batch norm in test_googlenet.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax import saliency, targets
from xai_jax.architectures import inception
from xai_jax.core.network import head, layer_names
from xai_jax.weights import safetensors_file

MODULE = inception.InceptionV3(classes=5)


@functools.cache
def abstract(module=MODULE, side=299):
    x = jax.ShapeDtypeStruct((2, side, side, 3), "float32")
    return jax.eval_shape(module.init, jax.random.key(0), x), x


def drawn(tree):
    """Positive numbers, as variances must be; kernels scaled so that activations keep their size."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1, leaf.shape).astype("f")
        return rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape).astype("f")

    return jax.tree.map(draw, tree)


def test_numbers_of_parameters_are_the_published_ones():
    """27,161,264 with the auxiliary classifier, whose two convolutions and last layer are not here."""
    variables, _ = abstract(inception.InceptionV3())
    auxiliary = 768 * 128 + 2 * 128 + 5 * 5 * 128 * 768 + 2 * 768 + 768 * 1000 + 1000
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 27_161_264 - auxiliary


def test_names_in_forward_order_and_sizes():
    variables, x = abstract()
    found = layer_names(Partial(MODULE.apply, variables), x)
    sizes = {name: value.shape[1:] for name, value in found.items() if "/" not in name}
    assert sizes == {
        "conv2d_1a_3x3": (149, 149, 32),
        "conv2d_2a_3x3": (147, 147, 32),
        "conv2d_2b_3x3": (147, 147, 64),
        "pool1": (73, 73, 64),
        "conv2d_3b_1x1": (73, 73, 80),
        "conv2d_4a_3x3": (71, 71, 192),
        "pool2": (35, 35, 192),
        "mixed_5b": (35, 35, 256),
        "mixed_5c": (35, 35, 288),
        "mixed_5d": (35, 35, 288),
        **{f"mixed_6{letter}": (17, 17, 768) for letter in "abcde"},
        "mixed_7a": (8, 8, 1280),
        "mixed_7b": (8, 8, 2048),
        "mixed_7c": (8, 8, 2048),
        "pool3": (2048,),
        "logits": (5,),
    }
    assert list(sizes)[:3] + list(sizes)[-2:] == ["conv2d_1a_3x3", "conv2d_2a_3x3", "conv2d_2b_3x3", "pool3", "logits"]
    names = list(found)
    module = names[names.index("pool2") + 1 : names.index("mixed_5b") + 1]
    branches = "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool".split()
    assert module == [*(f"mixed_5b/{branch}" for branch in branches), "mixed_5b"]


def test_the_rule_reaches_every_rectification():
    variables, x = abstract()
    calls = []

    def counting(x):
        calls.append(x.shape)
        return jax.nn.relu(x)

    jax.eval_shape(lambda net, x: net(x, relu=counting), Partial(MODULE.apply, variables), x)
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 4]
    assert len(calls) == len(kernels) == 94
    assert sorted(shape[-1] for shape in calls) == sorted(kernel.shape[-1] for kernel in kernels)


def test_average_counts_the_zeros_around_the_map():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("f")
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = [[padded[:, i : i + 3, j : j + 3].sum((1, 2)) / 9 for j in range(5)] for i in range(4)]
    found = jax.jit(inception._average)(x)
    np.testing.assert_allclose(found, np.array(expected).transpose(2, 0, 1, 3), rtol=1e-5, atol=1e-6)


def test_smallest_images():
    with pytest.raises(ValueError, match="sides of 75"):
        jax.eval_shape(MODULE.init, jax.random.key(0), jnp.zeros((1, 75, 74, 3)))
    variables, x = abstract(side=75)
    assert layer_names(Partial(MODULE.apply, variables), x)["mixed_7c"].shape == (2, 1, 1, 2048)


def test_training_updates_all_statistics_and_draws_dropout():
    variables, x = abstract()

    def train(variables, x, key):
        return MODULE.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    logits, updated = jax.eval_shape(train, variables, x, jax.random.key(0))
    assert logits.shape == (2, 5)
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


def test_guided_backprop_of_the_head():
    """From mixed_7b on, since the whole network takes longer to compile."""
    variables, x = abstract(side=107)
    activation = np.random.default_rng(1).uniform(size=(2, 2, 2, 2048)).astype("f")
    h = head(Partial(MODULE.apply, drawn(variables)), "mixed_7b", x)
    attribution = jax.jit(lambda h, a: saliency.guided_backprop(h, a, targets.logit(1)))(h, activation)
    plain = jax.jit(lambda h, a: saliency.gradient(h, a, targets.logit(1)))(h, activation)
    assert attribution.shape == plain.shape == activation.shape
    assert np.abs(attribution).sum() > 0 and not np.allclose(attribution, plain)


@pytest.mark.slow
def test_gradients_reach_the_image_and_every_parameter():
    variables, x = abstract(side=107)
    net = Partial(MODULE.apply, drawn(variables))
    x = jnp.asarray(np.random.default_rng(1).normal(size=x.shape).astype("f"))
    net, x = jax.jit(jax.grad(lambda net, x: net(x)[:, 1].sum(), argnums=(0, 1)))(net, x)
    reached = safetensors_file.flatten(net.args[0]["params"]) | {"image": x}
    assert [name for name, gradient in reached.items() if not np.abs(gradient).sum() > 0] == []


def test_entries_that_do_not_fit_are_listed_and_auxiliary_ones_dropped():
    variables, _ = abstract()
    arrays = {
        "AuxLogits.conv0.conv.weight": np.zeros((2, 2, 1, 1)),
        "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), int),
        "Conv2d_1a_3x3.conv.weight": np.zeros((32, 3, 5, 5)),
        "inception3a.branch1.bn.weight": np.zeros(2),
        "Mixed_5b.branch1x1.bias": np.zeros(2),
    }
    own = inception.from_torch(arrays)
    assert set(own) == {"params/conv2d_1a_3x3/conv/kernel", *list(arrays)[3:]}
    with pytest.raises(ValueError) as caught:
        safetensors_file.fit(own, variables)
    assert "unexpected: Mixed_5b.branch1x1.bias" in str(caught.value)
    assert "shape: params/conv2d_1a_3x3/conv/kernel expected (3, 3, 3, 32), got (5, 5, 3, 32)" in str(caught.value)
