"""Every jitted method lowers for cuda and tpu on a machine that has neither."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import adapt, metrics, models, pooling, rules, saliency, targets

NET = Partial(oracle.jax_network(oracle.random_layers()))
X = jax.ShapeDtypeStruct((2, 17, 17, 3), jnp.float32)
TARGET = targets.logit(1) + targets.neuron("relu1", 0)
RANK = jnp.zeros(X.shape[:3])
KEYS = jax.random.split(jax.random.key(0), (2, 3))
ADAPTED = adapt.from_function(lambda x: jax.nn.relu(x).mean((1, 2)))


def lowers(f, *arguments):
    exported = jax.export.export(jax.jit(f), platforms=("cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cuda", "tpu")


METHODS = {
    "gradient": lambda x: saliency.gradient(NET, x, TARGET),
    "deconvnet": lambda x: saliency.deconvnet(NET, x, TARGET),
    "guided_backprop": lambda x: saliency.guided_backprop(NET, x, TARGET),
    "input_x_gradient": lambda x: saliency.input_x_gradient(NET, x, TARGET),
    "grad_cam": lambda x: saliency.grad_cam(NET, x, TARGET, layer="relu4"),
    "guided_grad_cam": lambda x: saliency.guided_grad_cam(NET, x, TARGET, layer="relu4"),
    "integrated_gradients": lambda x: saliency.integrated_gradients(NET, x, TARGET, steps=4),
    "smoothgrad": lambda x: saliency.smoothgrad(NET, x, TARGET, samples=2),
    "vargrad": lambda x: saliency.vargrad(NET, x, TARGET, samples=2),
    "occlusion": lambda x: saliency.occlusion(NET, x, TARGET, patch=3),
    "deletion": lambda x: metrics._follow(NET, x, TARGET, RANK, x, np.arange(3.0, dtype=np.float32), np.True_),
    "infidelity": lambda x: metrics._infidelity(NET, x, TARGET, x, 0.1, KEYS[0]),
    "small pool": jax.grad(lambda x: pooling.max_pool(x, 3, 2).sum()),
    "large pool": jax.grad(lambda x: pooling.max_pool(x, 9, 2).sum()),
    "small unpooling": lambda x: pooling.unpool(*pooling.max_pool_with_switches(x, 3, 2)),
    "large unpooling": lambda x: pooling.unpool(*pooling.max_pool_with_switches(x, 9, 2)),
    "adapted model": lambda x: saliency.guided_backprop(ADAPTED, x, targets.logit(1)),
    "rule": jax.grad(lambda x: rules.guided_relu(x).sum()),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    lowers(METHODS[name], X)


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
