"""Projections against a slow deconvnet in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.tree_util import Partial

from tests.helpers import oracle
from tests.helpers.slow_deconvnet import SlowDeconvnet, find_switches
from xai_jax import adapt, deconvnet, network, saliency, targets
from xai_jax.architectures.zfnet import contrast_normalise
from xai_jax.core.precision import highest

LAYERS = oracle.random_layers(5)
NET = oracle.jax_network(LAYERS)
X = np.random.default_rng(1).normal(size=(5, 17, 17, 3)).astype(np.float32)
OTHERS = X[::-1].copy()


def strongest(maps):
    """(channel, row, column) of each image: in image n the strongest position of the n-th strongest channel."""
    channels = [np.argsort(-m.reshape(-1, m.shape[-1]).max(0))[n] for n, m in enumerate(maps)]
    peaks = [np.unravel_index(m[..., c].argmax(), m.shape[:-1]) for m, c in zip(maps, channels, strict=True)]
    return np.array([(c, *(peak or (0, 0))) for c, peak in zip(channels, peaks, strict=True)])


def target(layer, neurons, maps):
    channels, rows, columns = neurons.T
    return targets.neuron(layer, channels, (rows, columns) if maps.ndim == 4 else None)


def close(got, expected, tolerance=1e-5):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("layer", ["relu1", "pool2", "conv3", "relu4", "dense9"])
def test_projections_equal_a_slow_deconvnet(layer):
    slow = SlowDeconvnet(LAYERS, X, 1 + [f"{kind}{i}" for i, (kind, *_) in enumerate(LAYERS)].index(layer))
    neurons = strongest(slow.maps[-1])
    got = deconvnet.project(NET, X, target(layer, neurons, slow.maps[-1]))
    close(got, slow.project(neurons))


def test_switches_of_other_images_and_of_none():
    slow, others = SlowDeconvnet(LAYERS, X, 10), SlowDeconvnet(LAYERS, OTHERS, 10)
    neurons = strongest(slow.maps[-1])
    at = target("dense9", neurons, slow.maps[-1])
    own = deconvnet.project(NET, X, at, "own")
    swapped = deconvnet.project(NET, X, at, OTHERS)
    close(swapped, slow.project(neurons, others.switches))
    first = [
        layer[0] == "pool" and find_switches(maps, *layer[1:], first=True)
        for layer, maps in zip(slow.layers, slow.maps, strict=False)
    ]
    none = deconvnet.project(NET, X, at, "none")
    close(none, slow.project(neurons, first))
    for other in (swapped, none):
        assert np.abs(other - own).max() > 0.1 * np.abs(own).max()
    close(deconvnet.project(NET, X, at, X), own, 1e-6)


def test_positions_belong_to_the_projected_image():
    maps = np.asarray(network.capture(NET, X)[1]["relu4"])[..., 3]
    rows, columns = np.array([np.unravel_index(m.argmax(), m.shape) for m in maps]).T
    got = deconvnet.project(NET, X, targets.neuron("relu4", 3), OTHERS)
    close(got, deconvnet.project(NET, X, targets.neuron("relu4", 3, (rows, columns)), OTHERS), 1e-6)


@pytest.mark.parametrize("switches", ["own", OTHERS])
def test_projections_do_not_depend_on_chunks(switches):
    at = targets.neuron("relu1", np.arange(5), (np.arange(5), 3))
    close(deconvnet.project(NET, X, at, switches, batch_size=2), deconvnet.project(NET, X, at, switches), 1e-6)


def test_a_projection_is_the_activation_times_the_deconvnet_map():
    at = targets.neuron("pool2", np.arange(5), "max")
    with highest():
        value = np.asarray(targets.evaluate(NET, jnp.asarray(X), at)[0])
    close(deconvnet.project(NET, X, at), value[:, None, None, None] * saliency.deconvnet(NET, X, at))


NORMED = [*LAYERS[:3], ("norm",), *LAYERS[3:5]]
SCALE = np.float32(30)  # large enough for the normalisation to have an effect


def normed(x, relu=jax.nn.relu, tap=network.keep):
    x = tap("pool1", oracle.jax_network(LAYERS[:3])(x, relu))
    x = tap("norm1", contrast_normalise(x))
    return tap("logits", tap("relu2", oracle.jax_network(LAYERS[3:5])(x, relu)).mean((1, 2)))


def test_contrast_normalisation_passes_the_signal_unchanged():
    slow = SlowDeconvnet(NORMED, SCALE * X, len(NORMED))
    neurons = strongest(slow.maps[-1])
    at = target("relu2", neurons, slow.maps[-1])
    got = deconvnet.project(normed, SCALE * X, at)
    close(got, slow.project(neurons))
    value = np.asarray(targets.evaluate(normed, SCALE * X, at)[0])[:, None, None, None]
    by_derivative = value * saliency.deconvnet(normed, SCALE * X, at)
    assert np.abs(by_derivative - got).max() > 0.1 * np.abs(got).max()


def adapted_copy(x):
    """The first layers of the oracle's network in plain JAX."""
    x = jax.nn.relu(oracle._JAX["conv"](x, None, *LAYERS[0][1:]))
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    return jax.nn.relu(oracle._JAX["conv"](x, None, *LAYERS[3][1:])).mean((1, 2))


def test_adapted_networks():
    net = adapt.from_function(adapted_copy)
    expected = deconvnet.project(NET, X, targets.neuron("relu4", np.arange(5)), "none")
    close(deconvnet.project(net, X, targets.neuron("relu2", np.arange(5)), "none"), expected)
    found, expected = deconvnet.top_k(net, "relu2", X, 2), deconvnet.top_k(NET, "relu4", X, 2)
    np.testing.assert_array_equal(found["relu2"].images, expected["relu4"].images)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((X, targets.logit(1)), "neurons of one layer"),
        ((X, ("relu4", 3)), "neurons of one layer"),
        ((X, targets.neuron("relu4", 1) + targets.neuron("relu1", 1)), "neurons of one layer"),
        ((X, targets.neuron("relu4", 8)), "between 0 and 7"),
        ((X, targets.neuron("relu4", 1, (0, 9))), "column between"),
        ((X, targets.neuron("relu2", 1)), "Did you mean"),
        ((X, targets.neuron("relu4", 1), "all"), "'own', 'none'"),
        ((X, targets.neuron("relu4", 1), X[:3]), "switches of images"),
        ((X, targets.neuron("relu4", 1), np.full_like(X, np.nan)), "finite"),
        ((X[0], targets.neuron("relu4", 1)), "leading axis"),
    ],
)
def test_invalid_projections_raise(arguments, words):
    with pytest.raises(ValueError, match=words):
        deconvnet.project(NET, *arguments)


def test_projecting_compiles_once_for_all_neurons():
    deconvnet.project(NET, X, targets.neuron("relu4", np.arange(5), (0, 0)), batch_size=2)
    before = deconvnet._project._cache_size()
    deconvnet.project(NET, X, targets.neuron("relu4", np.ones(5, int), (1, 1)), batch_size=2)
    assert deconvnet._project._cache_size() == before


def test_search_and_projection_lower_for_accelerators():
    def lowers(f, *arguments):
        jax.export.export(jax.jit(f), platforms=("cuda", "tpu"))(*arguments)

    x, net = jax.ShapeDtypeStruct((2, 17, 17, 3), jnp.float32), Partial(NET)
    maps = functools.partial(deconvnet._maps, net, Partial(lambda x: x), layers=("relu1", "dense9"))
    lowers(maps, x)
    merge = functools.partial(deconvnet._merge, first=0, count=2)
    lowers(merge, deconvnet._empty(16, 2), *jax.eval_shape(maps, x))
    lowers(lambda x: deconvnet.project(NET, x, targets.neuron("relu4", 1)), x)
    lowers(lambda x: deconvnet.project(NET, x, targets.neuron("relu4", 1), "none"), x)
