"""Variants of ZFNet and of the Krizhevsky replication in Zeiler & Fergus 2014, Table 3, and their initialisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from xai_jax.architectures import caffenet, zfnet
from xai_jax.core.network import capture, layer_names

NAMES = (
    "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 fc6 relu6 fc7 relu7 fc8"
).split()
# Zeiler & Fergus 2014, Table 3: what it removes or resizes, and the kernels that change.
TABLE_3 = {
    "layers 3, 4": (dict(without=(3, 4)), {"conv3": None, "conv4": None, "conv5": (3, 3, 256, 256)}),
    "layer 7": (dict(without=(7,)), {"fc7": None}),
    "layers 6, 7": (dict(without=(6, 7)), {"fc6": None, "fc7": None, "fc8": (9216, 1000)}),
    "layers 3, 4, 6, 7": (
        dict(without=(3, 4, 6, 7)),
        {"conv3": None, "conv4": None, "conv5": (3, 3, 256, 256), "fc6": None, "fc7": None, "fc8": (9216, 1000)},
    ),
    "2048": (dict(hidden=2048), {"fc6": (9216, 2048), "fc7": (2048, 2048), "fc8": (2048, 1000)}),
    "8192": (dict(hidden=8192), {"fc6": (9216, 8192), "fc7": (8192, 8192), "fc8": (8192, 1000)}),
    "512, 1024, 512": (
        dict(widths=(96, 256, 512, 1024, 512)),
        {"conv3": (3, 3, 256, 512), "conv4": (3, 3, 512, 1024), "conv5": (3, 3, 1024, 512), "fc6": (18432, 4096)},
    ),
}
# Filters of the replication read half of the channels in layers 2, 4 and 5.
GROUPS = {"zfnet": {}, "caffenet": {"conv2": 2, "conv4": 2, "conv5": 2}}
MODULES = {"zfnet": zfnet.ZFNet, "caffenet": caffenet.CaffeNet}


def kernels(module):
    x = jax.ShapeDtypeStruct((1, 227, 227, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    assert all(leaf["bias"].shape == leaf["kernel"].shape[-1:] for leaf in shapes.values())
    return {name: leaf["kernel"].shape for name, leaf in shapes.items()}


@pytest.mark.parametrize("variant", TABLE_3)
@pytest.mark.parametrize("name", MODULES)
def test_variants_of_table_3(name, variant):
    options, changed = TABLE_3[variant]
    expected = kernels(MODULES[name]())
    for layer, shape in changed.items():
        if shape is None:
            del expected[layer]
        elif len(shape) == 4:
            expected[layer] = (*shape[:2], shape[2] // GROUPS[name].get(layer, 1), shape[3])
        else:
            expected[layer] = shape
    assert kernels(MODULES[name](**options)) == expected


@pytest.mark.parametrize("without", [(3, 4), (6,), (3, 4, 6, 7)], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_what_follows_a_removed_layer_reads_what_came_before_it(name, without):
    module = MODULES[name](widths=(4, 6, 8, 6, 4), hidden=7, classes=3, without=without)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 79, 79, 3)).astype("f"))
    abstract = jax.eval_shape(module.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype("f"), abstract)
    layers = list(layer_names(Partial(module.apply, variables), x))
    gone = {f"{kind}{number}" for number in without for kind in ("conv", "fc", "relu")}
    assert layers == [layer for layer in NAMES if layer not in gone]
    taps = jax.jit(lambda v, x: capture(Partial(module.apply, v), x)[1])(variables, x)
    for layer in set(layers) & {"fc6", "fc7", "fc8"}:
        before = np.asarray(taps[layers[layers.index(layer) - 1]]).reshape(2, -1)
        leaves = variables["params"][layer]
        np.testing.assert_allclose(taps[layer], before @ leaves["kernel"] + leaves["bias"], rtol=1e-4, atol=1e-4)
    before, leaves = np.asarray(taps[layers[layers.index("conv5") - 1]]), variables["params"]["conv5"]
    inputs = leaves["kernel"].shape[2]
    expected = np.einsum("nhwc,hwco->no", before[:, :3, :3, :inputs], leaves["kernel"]) + leaves["bias"]
    first = slice(0, 4 if name == "zfnet" else 2)  # the first group
    np.testing.assert_allclose(taps["conv5"][:, 1, 1, first], expected[:, first], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODULES)
def test_only_the_layers_of_table_3_can_be_removed(name):
    for without in ((5,), (3, 8), (0,)):
        with pytest.raises(ValueError, match=r"out of \(3, 4, 6, 7\)"):
            kernels(MODULES[name](without=without))
    with pytest.raises(ValueError, match="five"):
        kernels(MODULES[name](widths=(4, 4, 4)))


@pytest.mark.parametrize("options, std", [({}, 0.01), ({"initial_std": 0.05}, 0.05)], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_all_weights_start_with_the_standard_deviation_of_the_paper_or_another(monkeypatch, name, options, std):
    found = []

    def normal(std):
        def draw(key, shape, dtype):
            found.append((std, shape))
            return jnp.zeros(shape, dtype)

        return draw

    monkeypatch.setattr(nn.initializers, "normal", normal)
    shapes = kernels(MODULES[name](classes=7, **options))
    assert found == [(0.01 if name == "conv1" else std, shape) for name, shape in shapes.items()]
