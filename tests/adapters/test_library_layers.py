"""Normalisations and activations of the libraries: which are rectifiers, which have a rule, where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import adapt

X = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)


def linen_normalisations():
    import flax.linen as nn

    class Model(nn.Module):
        norm: nn.Module

        @nn.compact
        def __call__(self, x):
            return nn.relu(self.norm(nn.Dense(4)(x)))

    layers = nn.LayerNorm(), nn.GroupNorm(2), nn.InstanceNorm(), nn.RMSNorm(), nn.WeightNorm(nn.Dense(4))
    for layer in (*layers, nn.BatchNorm(use_running_average=False), nn.BatchNorm(use_running_average=True)):
        m = Model(layer)
        yield adapt.from_function(
            lambda v, x, m=m: m.apply(v, x, mutable=["batch_stats"])[0], m.init(jax.random.key(0), X), **MAX
        )


def nnx_normalisations():
    from flax import nnx

    rngs = nnx.Rngs(0)
    norms = [norm(4, rngs=rngs) for norm in (nnx.LayerNorm, nnx.InstanceNorm, nnx.RMSNorm, nnx.BatchNorm)]
    for norm in (*norms, nnx.GroupNorm(4, 2, rngs=rngs)):
        graph, state = nnx.split(nnx.Sequential(nnx.Linear(1, 4, rngs=rngs), norm, nnx.relu))
        yield adapt.from_function(lambda s, x, graph=graph: nnx.merge(graph, s)(x), state, **MAX)


def equinox_normalisations():
    nn = pytest.importorskip("equinox").nn
    for norm in (nn.LayerNorm((1, 4, 4)), nn.GroupNorm(1, 1), nn.RMSNorm((1, 4, 4))):
        yield adapt.from_equinox(nn.Sequential([norm, nn.Lambda(jax.nn.relu)]), **MAX)


def haiku_normalisations():
    hk = pytest.importorskip("haiku")
    norms = (
        lambda x: hk.LayerNorm(-1, True, True)(x),
        lambda x: hk.GroupNorm(2)(x),
        lambda x: hk.InstanceNorm(True, True)(x),
        lambda x: hk.RMSNorm(-1)(x),
    )
    for norm in norms:
        net = hk.transform_with_state(lambda x, norm=norm: jax.nn.relu(norm(hk.Linear(4)(x))))
        yield adapt.from_haiku(net, *net.init(jax.random.key(0), X), **MAX)


def keras_normalisations():
    keras = pytest.importorskip("keras")
    layers = keras.layers
    for name in ("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization"):
        norm = getattr(layers, name)(**({"groups": 2} if name == "GroupNormalization" else {}))
        yield adapt.from_keras(keras.Sequential([keras.Input((4, 4, 1)), layers.Dense(4), norm, layers.ReLU()]), **MAX)


MAX = {"relu_patterns": ("max",)}
LIBRARIES = linen_normalisations, nnx_normalisations, equinox_normalisations, haiku_normalisations, keras_normalisations


@pytest.mark.parametrize("library", LIBRARIES)
def test_normalisation_layers_are_no_rectifiers(library):
    found = [adapt.sites(net, X) for net in library()]
    assert found == [{"relu": 1, "pool": 0}] * len(found) and len(found) > 2


def test_activations_of_keras():
    """Whatever passes negative values, a threshold or two ReLUs has no rule."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    smooth = (
        "elu",
        "selu",
        "gelu",
        "silu",
        "hard_silu",
        "hard_sigmoid",
        "hard_tanh",
        "softplus",
        "softsign",
        "log_sigmoid",
    )
    expected = {
        (layers.ReLU(),): [],
        (layers.ReLU(6.0),): [],
        (layers.ReLU(negative_slope=0.1),): ["leaky ReLU"],
        (layers.ReLU(6.0, negative_slope=0.1),): ["leaky ReLU"],
        (layers.ReLU(threshold=0.5),): ["ReLU with a threshold"],
        (layers.LeakyReLU(),): ["leaky ReLU"],
        (layers.PReLU(alpha_initializer="ones"),): ["leaky ReLU"],
        tuple(map(layers.Activation, smooth)): [],
    }
    for activations, found in expected.items():
        each = [layer for activation in activations for layer in (layers.Dense(4), activation)]
        net = adapt.from_keras(keras.Sequential([keras.Input((4, 4, 1)), *each, layers.ReLU()]))
        assert [site.kind for site in adapt.sites(net, X).rectifiers if not site.rule] == found


def test_sites_are_listed_with_module_and_line():
    import flax.linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.leaky_relu(nn.Dense(4)(nn.relu(x)))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = Block()(nn.max_pool(x, (2, 2), (2, 2)))
            return nn.Dense(3)(jnp.maximum(x, 0).mean((1, 2)))

    variables = Model().init(jax.random.key(0), X)
    found = adapt.sites(adapt.from_linen(Model(), variables), jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert found == {"relu": 1, "pool": 1, "leaky ReLU": 1, "max(x, 0)": 1}
    sites = [(site.kind, site.shape, site.where.partition(" at ")[0], site.rule) for site in found.rectifiers]
    assert sites == [
        ("relu", (2, 2, 2, 1), "Model/Block_0", True),
        ("leaky ReLU", (2, 2, 2, 4), "Model/Block_0", False),
        ("max(x, 0)", (2, 2, 2, 4), "Model", False),
    ]
    lines = [site.where.rpartition("test_library_layers.py:")[2] for site in found.rectifiers]
    assert lines[0] == lines[1] < lines[2]
    covered = adapt.sites(adapt.from_linen(Model(), variables, relu_patterns=("max",)), X)
    assert covered == {"relu": 2, "pool": 1, "leaky ReLU": 1}
