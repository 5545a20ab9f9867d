"""GoogLeNet: sizes, names, rules at every rectification, batch norm in training, foreign weights.

Golden outputs of torchvision's network are in test_golden.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax import saliency, targets
from xai_jax.architectures import googlenet
from xai_jax.core.network import head, layer_names
from xai_jax.weights import safetensors_file

MODULE = googlenet.GoogLeNet(classes=5)
MODULES = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
BRANCHES = ["branch1", "branch2_reduce", "branch2", "branch3_reduce", "branch3", "branch4"]


@functools.cache
def abstract(module=MODULE, side=224):
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
    variables, _ = abstract(googlenet.GoogLeNet())
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 6_624_904


def test_names_in_forward_order_and_sizes_of_the_paper():
    variables, x = abstract()
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


def test_the_rule_reaches_every_rectification():
    variables, x = abstract()
    calls = []

    def counting(x):
        calls.append(x.shape)
        return jax.nn.relu(x)

    jax.eval_shape(lambda net, x: net(x, relu=counting), Partial(MODULE.apply, variables), x)
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 4]
    assert len(calls) == len(kernels) == 3 + 9 * len(BRANCHES)
    assert sorted(shape[-1] for shape in calls) == sorted(kernel.shape[-1] for kernel in kernels)


@pytest.mark.parametrize("height, width", [(224, 224), (101, 118), (15, 15), (15, 40)])
def test_pools_keep_the_last_window(height, width):
    """Against torchvision's rule: ceil((n - side) / 2) + 1 windows, the last of which may be incomplete."""
    x = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
    taps = layer_names(Partial(MODULE.apply, abstract()[0]), x)
    expected = [-(-n // 2) for n in (height, width)]
    for name, side in [("pool1", 3), ("pool2", 3), ("pool3", 3), ("pool4", 2)]:
        expected = [-(-(n - side) // 2) + 1 for n in expected]
        assert list(taps[name].shape[1:3]) == expected


def test_halving_pool_keeps_the_last_window():
    x = np.random.default_rng(0).normal(size=(2, 7, 4, 3)).astype("f")
    expected = [[x[:, i : i + 2, j : j + 2].max((1, 2)) for j in (0, 2)] for i in (0, 2, 4, 6)]
    np.testing.assert_array_equal(googlenet._halve(jnp.asarray(x)), np.array(expected).transpose(2, 0, 1, 3))


@pytest.mark.parametrize("shape", [(1, 14, 15, 3), (1, 15, 14, 3), (15, 15, 3)])
def test_too_small_images_are_refused(shape):
    with pytest.raises(ValueError, match="sides of 15"):
        jax.eval_shape(MODULE.init, jax.random.key(0), jnp.zeros(shape))


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


def test_training_updates_all_statistics_and_draws_dropout():
    variables, x = abstract()

    def train(variables, x, key):
        return MODULE.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    logits, updated = jax.eval_shape(train, variables, x, jax.random.key(0))
    assert logits.shape == (2, 5)
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


def test_guided_backprop_of_the_head():
    """From inception5a on, since the whole network takes longer to compile."""
    variables, x = abstract(side=64)
    activation = np.random.default_rng(1).uniform(size=(2, 2, 2, 832)).astype("f")
    h = head(Partial(MODULE.apply, drawn(variables)), "inception5a", x)
    attribution = jax.jit(lambda h, a: saliency.guided_backprop(h, a, targets.logit(1)))(h, activation)
    plain = jax.jit(lambda h, a: saliency.gradient(h, a, targets.logit(1)))(h, activation)
    assert attribution.shape == plain.shape == activation.shape
    assert np.abs(attribution).sum() > 0 and not np.allclose(attribution, plain)


@pytest.mark.slow
def test_gradients_reach_the_image_and_every_parameter():
    variables, x = abstract(side=64)
    net = Partial(MODULE.apply, drawn(variables))
    x = jnp.asarray(np.random.default_rng(1).normal(size=x.shape).astype("f"))
    net, x = jax.jit(jax.grad(lambda net, x: net(x)[:, 1].sum(), argnums=(0, 1)))(net, x)
    reached = safetensors_file.flatten(net.args[0]["params"]) | {"image": x}
    assert [name for name, gradient in reached.items() if not np.abs(gradient).sum() > 0] == []


def test_entries_that_do_not_fit_are_listed_and_auxiliary_ones_dropped():
    variables, _ = abstract()
    arrays = {
        "aux1.conv.conv.weight": np.zeros((2, 2, 1, 1)),
        "conv1.bn.num_batches_tracked": np.zeros((), int),
        "conv1.conv.weight": np.zeros((64, 3, 5, 5)),
        "inception3a.branch3.2.conv.weight": np.zeros((2, 2, 1, 1)),
        "Mixed_5b.branch1x1.bn.weight": np.zeros(2),
    }
    own = googlenet.from_torch(arrays)
    assert set(own) == {"params/conv1/conv/kernel", *list(arrays)[3:]}
    with pytest.raises(ValueError) as caught:
        safetensors_file.fit(own, variables)
    assert "unexpected: Mixed_5b.branch1x1.bn.weight" in str(caught.value)
    assert "shape: params/conv1/conv/kernel expected (7, 7, 3, 64), got (5, 5, 3, 64)" in str(caught.value)
