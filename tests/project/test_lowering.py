"""Every jitted method lowers for cuda and tpu on a machine that has neither."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import adapt, metrics, models, occlusion, pooling, rules, saliency, targets

NET = oracle.jax_network(oracle.random_layers())
X = jax.ShapeDtypeStruct((2, 17, 17, 3), jnp.float32)
TARGET = targets.logit(1) + targets.neuron("relu1", 0)


def lowers(f, *arguments):
    exported = jax.export.export(jax.jit(f), platforms=("cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cuda", "tpu")


METHODS = {
    "gradient": saliency.gradient,
    "deconvnet": saliency.deconvnet,
    "guided_backprop": saliency.guided_backprop,
    "input_x_gradient": saliency.input_x_gradient,
    "grad_cam": functools.partial(saliency.grad_cam, layer="relu4"),
    "guided_grad_cam": functools.partial(saliency.guided_grad_cam, layer="relu4"),
    "integrated_gradients": functools.partial(saliency.integrated_gradients, steps=4),
    "smoothgrad": functools.partial(saliency.smoothgrad, samples=2),
    "vargrad": functools.partial(saliency.vargrad, samples=2),
}


@pytest.mark.parametrize("name", METHODS)
def test_attribution_methods(name):
    lowers(lambda x: METHODS[name](NET, x, TARGET), X)


def test_occlusion():
    index = jnp.arange(2)
    net = Partial(NET)
    lowers(lambda x: occlusion._occluded(net, x, TARGET, jnp.zeros(3), index, index, (3, 3), TARGET.layers), X)


def test_metrics():
    net, rank = Partial(NET), jnp.zeros(X.shape[:3])
    lowers(lambda x: metrics._masked(net, x, TARGET, rank, x, 5, removing=True), X)
    keys = jax.random.split(jax.random.key(0), (2, 3))
    lowers(lambda x: metrics._infidelity(net, x, TARGET, x, keys, 0.1), X)


@pytest.mark.parametrize("window", [3, 9])
def test_pools(window):
    lowers(jax.grad(lambda x: pooling.max_pool(x, window, 2).sum()), X)
    lowers(lambda x: pooling.unpool(*pooling.max_pool_with_switches(x, window, 2)), X)


def test_adapted_models():
    net = adapt.from_function(lambda x: jax.nn.relu(x).mean((1, 2)))
    lowers(lambda x: saliency.guided_backprop(net, x, targets.logit(1)), X)


@pytest.mark.parametrize("name", ["digits", "efficientnet_lite0", "zfnet", "allcnn_imagenet"])
def test_guided_backprop_of_the_networks(name):
    module, variables, shape = models.abstract(name)
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)

    def guided(variables, x):
        return saliency.guided_backprop(Partial(module.apply, variables), x, targets.logit(1))

    lowers(guided, variables, x)


def test_depthwise_convolutions_are_grouped_on_accelerators_only():
    module, variables, shape = models.abstract("efficientnet_lite0")
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    forward = jax.jit(lambda v, x: module.apply(v, x))
    on_gpu = jax.export.export(forward, platforms=("cuda",))(variables, x).mlir_module()
    on_cpu = jax.export.export(forward, platforms=("cpu",))(variables, x).mlir_module()
    assert on_gpu.count("feature_group_count = ") - on_gpu.count("feature_group_count = 1 ") > 10
    assert on_cpu.count("feature_group_count = ") == on_cpu.count("feature_group_count = 1 ")


def test_rules_are_the_same_program_on_all_platforms():
    lowers(jax.grad(lambda x: rules.guided_relu(x).sum()), jax.ShapeDtypeStruct((3,), np.float32))
