"""Search against a sort of all activations, projections against a slow deconvnet in NumPy, and what is refused."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import adapt, deconvnet, network, saliency, targets
from xai_jax.architectures.zfnet import contrast_normalise
from xai_jax.data.datasets import InMemory, load
from xai_jax.models import fashion

LAYERS = oracle.random_layers(5)
NET = oracle.jax_network(LAYERS)
NAMES = [f"{layer[0]}{i}" for i, layer in enumerate(LAYERS) if layer[0] != "flatten"]
X = np.random.default_rng(1).normal(size=(5, 17, 17, 3)).astype(np.float32)
OTHERS = X[::-1].copy()


def whole_numbers():
    """The oracle's network with small integers for weights: exact sums in any order, and many ties."""
    rng = np.random.default_rng(0)

    def rounded(part):
        return rng.integers(-2, 3, part.shape).astype(np.float32) if isinstance(part, np.ndarray) else part

    return oracle.jax_network([tuple(map(rounded, layer)) for layer in LAYERS])


INTEGERS = whole_numbers()
IMAGES = np.random.default_rng(2).integers(0, 3, (43, 17, 17, 3)).astype(np.uint8)
FLOATS = IMAGES.astype(np.float32)


def brute_force(net, x, layer, k):
    """All activations, the first strongest position of each image, and a stable sort over images."""
    maps = np.asarray(network.capture(net, jnp.asarray(x), [layer])[1][layer], np.float64)
    maps = maps.reshape(len(x), *(maps.shape[1:3] if maps.ndim == 4 else (1, 1)), -1)
    flat = maps.reshape(len(x), -1, maps.shape[-1])
    images = np.argsort(-flat.max(1), axis=0, kind="stable")[:k].T
    channels = np.arange(flat.shape[-1])[:, None]
    place = flat.argmax(1)[images, channels]
    rows, columns = np.divmod(place, maps.shape[2])
    return deconvnet.Top(flat[images, place, channels], images, rows, columns)


@pytest.mark.parametrize("batch", [8, 100])
def test_top_k_of_all_layers_equals_a_stable_sort(batch):
    found = deconvnet.top_k(INTEGERS, NAMES, FLOATS, k=9, batch_size=batch)
    assert list(found) == NAMES
    ties = 0
    for layer in NAMES:
        expected = brute_force(INTEGERS, FLOATS, layer, 9)
        for name, got, want in zip(expected._fields, found[layer], expected, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=f"{layer} {name}")
        ties += (np.diff(found[layer].values) == 0).sum()
    assert ties > 50


@pytest.mark.parametrize("k", [1, 43])
def test_top_k_for_any_k(k):
    found = deconvnet.top_k(INTEGERS, "pool2", FLOATS, k=k, batch_size=8)["pool2"]
    for got, want in zip(found, brute_force(INTEGERS, FLOATS, "pool2", k), strict=True):
        np.testing.assert_array_equal(got, want)


def test_zeros_of_both_signs_are_ties():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("logits", tap("maps", x).sum((1, 2)))

    x = np.zeros((4, 2, 2, 1), np.float32)
    x[[0, 2]] *= -1
    np.testing.assert_array_equal(deconvnet.top_k(net, "maps", x, k=4)["maps"].images, [[0, 1, 2, 3]])


class Stream:
    """A data set that makes its images when asked, and notes when, and how much memory JAX holds then."""

    classes = ("one",)

    def __init__(self, size):
        self.size, self.asked, self.most = size, [], 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.asked.append(index)
        self.most = max(self.most, sum(array.nbytes for array in jax.live_arrays()))
        image = np.random.default_rng(index).integers(0, 256, (20, 19, 3)).astype(np.uint8)
        return image, 0


def crop(image):
    return image[1:18, 1:18]


def prepared(images):
    return images.astype(jnp.float32) / 16


def test_data_sets_are_read_once_and_memory_does_not_grow():
    stream, before = Stream(640), sum(array.nbytes for array in jax.live_arrays())
    found = deconvnet.top_k(NET, NAMES, stream, 9, prepared, crop, batch_size=16)
    assert sorted(stream.asked) == list(range(640))
    one = network.layer_names(NET, jax.ShapeDtypeStruct((16, 17, 17, 3), jnp.float32))
    maps = sum(4 * math.prod(shape.shape) for shape in one.values())
    assert stream.most - before < 6 * maps  # of forty batches; how many are alive at a time is a matter of timing
    x = np.stack([crop(stream[i][0]) for i in range(640)]).astype(np.float32) / 16
    expected = deconvnet.top_k(NET, NAMES, x, 9, batch_size=16)
    for layer in NAMES:
        np.testing.assert_array_equal(found[layer].images, expected[layer].images)


def test_uint8_images_become_numbers_from_0_to_1_unless_told_otherwise():
    data = InMemory(IMAGES, np.zeros(43, np.int32), ("one",))
    found = deconvnet.top_k(NET, "relu1", data, batch_size=8)["relu1"]
    expected = deconvnet.top_k(NET, "relu1", FLOATS / 255, batch_size=8)["relu1"]
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
    plain = deconvnet.top_k(NET, "relu1", data, prepare=prepared, batch_size=8)["relu1"]
    np.testing.assert_allclose(plain.values, brute_force(NET, FLOATS / 16, "relu1", 9).values, rtol=1e-4)


def test_searching_compiles_once_for_all_sizes_of_data_sets():
    deconvnet.top_k(NET, NAMES, X, k=2, batch_size=2)
    before = deconvnet._maps._cache_size(), deconvnet._merge._cache_size()
    deconvnet.top_k(NET, NAMES, np.tile(X, (3, 1, 1, 1)), k=2, batch_size=2)
    assert (deconvnet._maps._cache_size(), deconvnet._merge._cache_size()) == before


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_activations_that_are_not_finite_are_refused(wrong):
    x = FLOATS.copy()
    x[21, 3, 3, 0] = wrong
    with pytest.raises(ValueError, match="finite activations.*images 20 to 29"):
        deconvnet.top_k(NET, ["conv0", "dense9"], x, k=2, batch_size=10)


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        (("relu1", X), {"k": 6}, "k from 1 to the number of images, 5, got 6"),
        (("relu1", X), {"k": 0}, "k from 1"),
        (((), X), {"k": 2}, "one layer or more"),
        (("relu1", X[:0]), {}, "number of images, 0"),
        (("relu1", X), {"k": 2, "batch_size": 0}, "images in a batch"),
        ((["relu1", "relu2"], X), {"k": 2}, "Did you mean"),
        (("relu1", X[..., :2]), {"k": 2}, "network can read"),
        (("relu1", X[0]), {"k": 2}, "leading axis|Expected images"),
        (("relu1", IMAGES), {"prepare": lambda x: x}, "floating-point"),
    ],
)
def test_searches_that_make_no_sense_are_refused(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        deconvnet.top_k(NET, *arguments, **options)


class Deconvnet:
    """A deconvnet as the paper tells it, for images (N, H, W, C): attached to the layers below `depth`."""

    def __init__(self, layers, x, depth):
        self.layers, self.maps, self.switches = layers[:depth], [np.asarray(x, np.float64)], []
        for kind, *rest in self.layers:
            self.switches.append(find_switches(self.maps[-1], *rest) if kind == "pool" else None)
            forward = contrast if kind == "norm" else oracle.FORWARD[kind]
            self.maps.append(forward(self.maps[-1], *rest))

    def project(self, neurons, switches=None):
        """`neurons`: (channel, row, column) of each image; `switches`: another deconvnet, or how to fill windows."""
        signal = np.zeros_like(self.maps[-1])
        for n, (channel, row, column) in enumerate(neurons):
            at = (n, row, column, channel) if signal.ndim == 4 else (n, channel)
            signal[at] = self.maps[-1][at]
        switches = self.switches if switches is None else switches
        for (kind, *rest), below, switch in zip(self.layers[::-1], self.maps[-2::-1], switches[::-1], strict=True):
            if kind == "pool":
                signal = unpool(signal, switch, below.shape)
            elif kind == "relu":
                signal = np.maximum(signal, 0)
            elif kind == "conv":
                signal = filter_down(signal, below.shape, *rest)
            elif kind == "dense":
                signal = signal @ rest[0].T
            elif kind == "flatten":
                signal = signal.reshape(below.shape)  # nothing happens at a norm
        return signal


def find_switches(maps, window, stride, pads, first=False):
    """Row and column, in the map, of each window's maximum or of its first element inside the map."""
    padded = np.pad(maps, ((0, 0), *pads, (0, 0)), constant_values=-np.inf)
    if first:
        padded = np.where(np.isinf(padded), padded, 0)
    out = np.zeros((*oracle.pool_forward(maps, window, stride, pads).shape, 2), int)
    for n, i, j, c in np.ndindex(out.shape[:4]):
        patch = padded[n, i * stride : i * stride + window, j * stride : j * stride + window, c]
        row, column = np.unravel_index(patch.argmax(), patch.shape)
        out[n, i, j, c] = i * stride + row - pads[0][0], j * stride + column - pads[1][0]
    return out


def unpool(signal, switches, shape):
    below = np.zeros(shape)
    for n, i, j, c in np.ndindex(signal.shape):
        row, column = switches[n, i, j, c]
        below[n, row, column, c] += signal[n, i, j, c]
    return below


def filter_down(signal, shape, kernel, bias, stride, pads):
    """Convolves the map, with zeros between its pixels where the filters had a stride, with the flipped filters."""
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    sizes = [n + sum(p) + k - 1 for n, p, k in zip(shape[1:3], pads, kernel.shape[:2], strict=True)]
    apart = np.zeros((len(signal), *sizes, signal.shape[-1]))
    rows, columns = (k - 1 + stride * np.arange(n) for k, n in zip(kernel.shape[:2], signal.shape[1:3], strict=True))
    apart[:, rows[:, None], columns] = signal
    whole = oracle.conv_forward(apart, flipped, 0, 1, oracle.ZERO)
    return whole[:, pads[0][0] :, pads[1][0] :][:, : shape[1], : shape[2]]


def contrast(x):
    """Krizhevsky et al. 2012, section 3.3: sums over the two channels before, the channel, and the two behind."""
    energy = np.stack([(x[..., max(0, c - 2) : c + 3] ** 2).sum(-1) for c in range(x.shape[-1])], axis=-1)
    return x / (2 + 1e-4 * energy) ** 0.75


def strongest(maps):
    """(channel, row, column) arrays: in image n the strongest position of the channel that comes n-th."""
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
    slow = Deconvnet(LAYERS, X, 1 + [f"{kind}{i}" for i, (kind, *_) in enumerate(LAYERS)].index(layer))
    neurons = strongest(slow.maps[-1])
    got = deconvnet.project(NET, X, target(layer, neurons, slow.maps[-1]))
    close(got, slow.project(neurons))


def test_switches_of_other_images_and_of_none():
    slow, others = Deconvnet(LAYERS, X, 10), Deconvnet(LAYERS, OTHERS, 10)
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


def test_positions_are_those_of_the_image_whose_activation_it_is():
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
    value = np.asarray(targets.evaluate(NET, jnp.asarray(X), at)[0])
    close(deconvnet.project(NET, X, at), value[:, None, None, None] * saliency.deconvnet(NET, X, at))


NORMED = [*LAYERS[:3], ("norm",), *LAYERS[3:5]]
SCALE = np.float32(30)  # makes the normalisation do something


def normed(x, relu=jax.nn.relu, tap=network.keep):
    x = tap("pool1", oracle.jax_network(LAYERS[:3])(x, relu))
    x = tap("norm1", contrast_normalise(x))
    return tap("logits", tap("relu2", oracle.jax_network(LAYERS[3:5])(x, relu)).mean((1, 2)))


def test_contrast_normalisation_lets_the_signal_through():
    slow = Deconvnet(NORMED, SCALE * X, len(NORMED))
    neurons = strongest(slow.maps[-1])
    at = target("relu2", neurons, slow.maps[-1])
    got = deconvnet.project(normed, SCALE * X, at)
    close(got, slow.project(neurons))
    value = np.asarray(targets.evaluate(normed, SCALE * X, at)[0])[:, None, None, None]
    by_derivative = value * saliency.deconvnet(normed, SCALE * X, at)
    assert np.abs(by_derivative - got).max() > 0.1 * np.abs(got).max()


def adapted_copy(x):
    """The first layers of the oracle's network with the operations of plain JAX."""
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
def test_projections_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        deconvnet.project(NET, *arguments)


def test_projecting_compiles_once_for_all_neurons():
    deconvnet.project(NET, X, targets.neuron("relu4", np.arange(5), (0, 0)), batch_size=2)
    before = deconvnet._project._cache_size()
    deconvnet.project(NET, X, targets.neuron("relu4", np.ones(5, int), (1, 1)), batch_size=2)
    assert deconvnet._project._cache_size() == before


def test_everything_lowers_for_accelerators():
    def lowers(f, *arguments):
        jax.export.export(jax.jit(f), platforms=("cuda", "tpu"))(*arguments)

    x, net = jax.ShapeDtypeStruct((2, 17, 17, 3), jnp.float32), Partial(NET)
    maps = functools.partial(deconvnet._maps, net, Partial(lambda x: x), layers=("relu1", "dense9"))
    lowers(maps, x)
    merge = functools.partial(deconvnet._merge, first=0, count=2)
    lowers(merge, deconvnet._empty(16, 2), *jax.eval_shape(maps, x))
    lowers(lambda x: deconvnet.project(NET, x, targets.neuron("relu4", 1)), x)
    lowers(lambda x: deconvnet.project(NET, x, targets.neuron("relu4", 1), "none"), x)


@pytest.mark.slow
def test_all_layers_over_fashion_mnist():
    """60,000 images and 14 layers in one pass, against a sort for the layers without positions and for one with."""
    data, module = load("fashion_mnist", "train"), fashion.build("fashion_maxpool")
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    net = Partial(module.apply, variables)
    layers = list(network.layer_names(net, jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)))
    found = deconvnet.top_k(net, layers, data, batch_size=250)
    run, peaks = jax.jit(network.capture, static_argnums=2), {}
    for start in range(0, 60_000, 250):
        _, kept = run(net, deconvnet.as_input(data.images[start : start + 250]), ("pool3", "relu6", "fc8"))
        for layer, value in kept.items():
            peaks.setdefault(layer, []).append(np.asarray(value).reshape(250, -1, value.shape[-1]).max(1))
    for layer, parts in peaks.items():
        values = np.concatenate(parts)
        order = np.argsort(-values, axis=0, kind="stable")[:9].T
        np.testing.assert_array_equal(found[layer].images, order)
        np.testing.assert_allclose(found[layer].values, np.take_along_axis(values.T, order, 1), 1e-4, 1e-5)
