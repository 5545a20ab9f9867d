"""GoogLeNet: sizes, names, pooling and batch norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.architectures.test_branches import abstract, drawn
from xai_jax.architectures import googlenet
from xai_jax.core.network import layer_names

MODULE = googlenet.GoogLeNet(classes=5)
MODULES = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
BRANCHES = ["branch1", "branch2_reduce", "branch2", "branch3_reduce", "branch3", "branch4"]


def test_names_in_forward_order_and_sizes_of_the_paper():
    variables, x = abstract(MODULE, 224)
    found = layer_names(Partial(MODULE.apply, variables), x)
    expected = "conv1 relu1 pool1 conv2 relu2 conv3 relu3 pool2".split()
    for name in MODULES:
        expected += [*(f"inception{name}/{branch}" for branch in BRANCHES), f"inception{name}"]
        expected += {"3b": ["pool3"], "4e": ["pool4"]}.get(name, [])
    assert list(found) == [*expected, "pool5", "logits"]
    sizes = {name: value.shape[1:] for name, value in found.items()}
    # Table 1 of the paper, column "output size".
    assert sizes["conv1"] == (112, 112, 64) and sizes["pool1"] == (56, 56, 64)
    assert sizes["conv3"] == (56, 56, 192) and sizes["pool2"] == (28, 28, 192)
    assert sizes["inception3a"] == (28, 28, 256) and sizes["inception3b"] == (28, 28, 480)
    channels = [sizes[f"inception4{letter}"] for letter in "abcde"]
    assert channels == [(14, 14, c) for c in (512, 512, 512, 528, 832)]
    assert sizes["inception5a"] == (7, 7, 832) and sizes["inception5b"] == (7, 7, 1024)
    assert sizes["pool5"] == (1024,)


@pytest.mark.parametrize("height, width", [(224, 224), (101, 118), (15, 15), (15, 40)])
def test_pools_keep_the_last_window(height, width):
    """Against torchvision's rule: ceil((n - side) / 2) + 1 windows, the last of which may be incomplete."""
    x = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
    taps = layer_names(Partial(MODULE.apply, abstract(MODULE, 224)[0]), x)
    expected = [-(-n // 2) for n in (height, width)]
    for name, side in [("pool1", 3), ("pool2", 3), ("pool3", 3), ("pool4", 2)]:
        expected = [-(-(n - side) // 2) + 1 for n in expected]
        assert list(taps[name].shape[1:3]) == expected


def test_halving_pool_keeps_the_last_window():
    x = np.random.default_rng(0).normal(size=(2, 7, 4, 3)).astype("f")
    expected = [[x[:, i : i + 2, j : j + 2].max((1, 2)) for j in (0, 2)] for i in (0, 2, 4, 6)]
    np.testing.assert_array_equal(googlenet._halve(jnp.asarray(x)), np.array(expected).transpose(2, 0, 1, 3))


def test_convolution_with_batch_norm_by_hand():
    """Used: with the stored statistics. In training: with the batch's, which move the stored ones by a tenth."""
    rng = np.random.default_rng(0)
    module, x = googlenet.Convolution(4, (1, 1)), rng.normal(size=(5, 3, 2, 6)).astype("f")
    variables = drawn(jax.eval_shape(module.init, jax.random.key(0), x))
    norm, stored = variables["params"]["norm"], variables["batch_stats"]["norm"]
    y = x @ variables["params"]["conv"]["kernel"][0, 0]

    def normalise(mean, var):
        return (y - mean) / np.sqrt(var + 0.001) * norm["scale"] + norm["bias"]

    np.testing.assert_allclose(jax.jit(module.apply)(variables, x), normalise(stored["mean"], stored["var"]), rtol=1e-4)
    trained, updated = jax.jit(lambda v, x: module.apply(v, x, True, mutable=["batch_stats"]))(variables, x)
    batch = {"mean": y.mean((0, 1, 2)), "var": y.var((0, 1, 2))}
    np.testing.assert_allclose(trained, normalise(batch["mean"], batch["var"]), rtol=1e-3, atol=1e-4)
    for name, value in updated["batch_stats"]["norm"].items():
        np.testing.assert_allclose(value, 0.9 * stored[name] + 0.1 * batch[name], rtol=1e-5)
