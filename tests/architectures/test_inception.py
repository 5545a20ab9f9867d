"""Inception v3: sizes, names and pooling."""

import jax
import numpy as np
from jax.tree_util import Partial

from tests.architectures.test_branches import abstract
from xai_jax.architectures import inception
from xai_jax.core.network import layer_names

MODULE = inception.InceptionV3(classes=5)


def test_names_in_forward_order_and_sizes():
    variables, x = abstract(MODULE, 299)
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


def test_average_counts_the_zeros_around_the_map():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("f")
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = [[padded[:, i : i + 3, j : j + 3].sum((1, 2)) / 9 for j in range(5)] for i in range(4)]
    found = jax.jit(inception._average)(x)
    np.testing.assert_allclose(found, np.array(expected).transpose(2, 0, 1, 3), rtol=1e-5, atol=1e-6)


def test_smallest_images():
    variables, x = abstract(MODULE, 75)
    assert layer_names(Partial(MODULE.apply, variables), x)["mixed_7c"].shape == (2, 1, 1, 2048)
