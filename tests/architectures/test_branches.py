"""What GoogLeNet and Inception v3 share: rules at every ReLU, batch norm in training, gradients, foreign weights.

Golden outputs of torchvision's networks are in test_golden.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax import saliency, targets
from xai_jax.architectures import googlenet, inception
from xai_jax.core.network import head
from xai_jax.weights import safetensors_file

GOOGLENET, INCEPTION = googlenet.GoogLeNet(classes=5), inception.InceptionV3(classes=5)
V3 = "Conv2d_1a_3x3", "conv2d_1a_3x3"  # the first convolution's name in torchvision, and here
SIDES = {GOOGLENET: 224, INCEPTION: 299}
MODULES = pytest.mark.parametrize("module", SIDES, ids=["googlenet", "inception_v3"])
SMALL = pytest.mark.parametrize(
    "module, side, layer, channels", [(GOOGLENET, 64, "inception5a", 832), (INCEPTION, 107, "mixed_7b", 2048)]
)


@functools.cache
def abstract(module, side):
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


@pytest.mark.parametrize("module, convolutions", [(GOOGLENET, 3 + 9 * 6), (INCEPTION, 94)])
def test_the_rule_reaches_every_rectification(module, convolutions):
    variables, x = abstract(module, SIDES[module])
    calls = []

    def counting(x):
        calls.append(x.shape)
        return jax.nn.relu(x)

    jax.eval_shape(lambda net, x: net(x, relu=counting), Partial(module.apply, variables), x)
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 4]
    assert len(calls) == len(kernels) == convolutions
    assert sorted(shape[-1] for shape in calls) == sorted(kernel.shape[-1] for kernel in kernels)


@MODULES
def test_training_updates_all_statistics_and_draws_dropout(module):
    variables, x = abstract(module, SIDES[module])

    def train(variables, x, key):
        return module.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    logits, updated = jax.eval_shape(train, variables, x, jax.random.key(0))
    assert logits.shape == (2, 5)
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


@SMALL
def test_guided_backprop_of_the_head(module, side, layer, channels):
    """From a late layer on, since the whole network takes longer to compile."""
    variables, x = abstract(module, side)
    activation = np.random.default_rng(1).uniform(size=(2, 2, 2, channels)).astype("f")
    h = head(Partial(module.apply, drawn(variables)), layer, x)
    attribution = jax.jit(lambda h, a: saliency.guided_backprop(h, a, targets.logit(1)))(h, activation)
    plain = jax.jit(lambda h, a: saliency.gradient(h, a, targets.logit(1)))(h, activation)
    assert attribution.shape == plain.shape == activation.shape
    assert np.abs(attribution).sum() > 0 and not np.allclose(attribution, plain)


@pytest.mark.slow
@SMALL
def test_gradients_reach_the_image_and_every_parameter(module, side, layer, channels):
    variables, x = abstract(module, side)
    net = Partial(module.apply, drawn(variables))
    x = jnp.asarray(np.random.default_rng(1).normal(size=x.shape).astype("f"))
    net, x = jax.jit(jax.grad(lambda net, x: net(x)[:, 1].sum(), argnums=(0, 1)))(net, x)
    reached = safetensors_file.flatten(net.args[0]["params"]) | {"image": x}
    assert [name for name, gradient in reached.items() if not np.abs(gradient).sum() > 0] == []


@pytest.mark.parametrize(
    "module, convert, auxiliary, first, own, foreign",
    [
        (GOOGLENET, googlenet.from_torch, "aux1.conv", "conv1", "conv1", "inception3a.branch3.2.conv.weight"),
        (GOOGLENET, googlenet.from_torch, "aux1.conv", "conv1", "conv1", "Mixed_5b.branch1x1.bn.weight"),
        (INCEPTION, inception.from_torch, "AuxLogits.conv0", *V3, "Mixed_5b.branch1x1.bias"),
        (INCEPTION, inception.from_torch, "AuxLogits.conv0", *V3, "inception3a.branch1.bn.weight"),
    ],
)
def test_entries_that_do_not_fit_are_listed_and_auxiliary_ones_dropped(module, convert, auxiliary, first, own, foreign):
    variables, _ = abstract(module, SIDES[module])
    kernel = f"params/{own}/conv/kernel"
    expected = safetensors_file.flatten(variables)[kernel].shape
    arrays = {
        f"{auxiliary}.conv.weight": np.zeros((2, 2, 1, 1)),
        f"{first}.bn.num_batches_tracked": np.zeros((), int),
        f"{first}.conv.weight": np.zeros((expected[3], 3, 5, 5)),
        foreign: np.zeros(2),
    }
    converted = convert(arrays)
    assert set(converted) == {kernel, foreign}
    with pytest.raises(ValueError) as caught:
        safetensors_file.fit(converted, variables)
    assert f"unexpected: {foreign}" in str(caught.value)
    assert f"shape: {kernel} expected {expected}, got (5, 5, 3, {expected[3]})" in str(caught.value)
