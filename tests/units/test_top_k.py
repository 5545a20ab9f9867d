"""Search for the strongest activations, against a stable sort of all activations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.helpers import oracle
from xai_jax import deconvnet, network, targets
from xai_jax.core.precision import highest
from xai_jax.data.datasets import InMemory, load
from xai_jax.models.pretrained import fashion

LAYERS = oracle.random_layers(5)
NET = oracle.jax_network(LAYERS)
NAMES = [f"{layer[0]}{i}" for i, layer in enumerate(LAYERS) if layer[0] != "flatten"]
X = np.random.default_rng(1).normal(size=(5, 17, 17, 3)).astype(np.float32)


def integer_network():
    """The oracle's network with small integers for weights: exact sums in any order, and many ties."""
    rng = np.random.default_rng(0)

    def rounded(part):
        return rng.integers(-2, 3, part.shape).astype(np.float32) if isinstance(part, np.ndarray) else part

    return oracle.jax_network([tuple(map(rounded, layer)) for layer in LAYERS])


INTEGERS = integer_network()
IMAGES = np.random.default_rng(2).integers(0, 3, (43, 17, 17, 3)).astype(np.uint8)
FLOATS = IMAGES.astype(np.float32)


@highest()
def brute_force(net, x, layer, k):
    """All activations, the first strongest position of each image, and a stable sort over images."""
    maps = np.asarray(network.capture(net, jnp.asarray(x), [layer])[1][layer], np.float64)
    maps = maps.reshape(len(x), *(maps.shape[1:3] if maps.ndim == 4 else (1, 1)), -1)
    flat = maps.reshape(len(x), -1, maps.shape[-1])
    images = np.argsort(-flat.max(1), axis=0, kind="stable")[:k].T
    channels = np.arange(flat.shape[-1])[:, None]
    position = flat.argmax(1)[images, channels]
    rows, columns = np.divmod(position, maps.shape[2])
    return deconvnet.Top(flat[images, position, channels], images, rows, columns)


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


def test_sequences():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("sequence", relu(x.reshape(len(x), -1, 3))).mean(1)

    found = deconvnet.top_k(net, "sequence", FLOATS, k=4, batch_size=8)["sequence"]
    sequences = FLOATS.reshape(len(FLOATS), -1, 3)
    for channel in range(3):
        order = np.argsort(-sequences[..., channel].max(1), kind="stable")[:4]
        np.testing.assert_array_equal(found.images[channel], order)
        np.testing.assert_array_equal(found.rows[channel], sequences[order, :, channel].argmax(1))
        maps = deconvnet.project(net, FLOATS[order], targets.neuron("sequence", channel, (found.rows[channel],)))
        np.testing.assert_array_equal((np.asarray(maps) != 0).sum((1, 2, 3)), 1)
    with pytest.raises(ValueError, match="'sequence' to be"):
        deconvnet.receptive_field(net, "sequence", FLOATS)


def test_zeros_of_both_signs_are_ties():
    def net(x, relu=jax.nn.relu, tap=network.keep):
        return tap("logits", tap("maps", x).sum((1, 2)))

    x = np.zeros((4, 2, 2, 1), np.float32)
    x[[0, 2]] *= -1
    np.testing.assert_array_equal(deconvnet.top_k(net, "maps", x, k=4)["maps"].images, [[0, 1, 2, 3]])


class Stream:
    """A data set that generates images on access and records the indices and the memory of JAX arrays."""

    classes = ("one",)

    def __init__(self, size):
        self.size, self.read, self.most = size, [], 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
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
    assert sorted(stream.read) == list(range(640))
    one = network.layer_names(NET, jax.ShapeDtypeStruct((16, 17, 17, 3), jnp.float32))
    maps = sum(4 * math.prod(shape.shape) for shape in one.values())
    assert stream.most - before < 6 * maps  # of forty batches; the number alive at a time depends on timing
    x = np.stack([crop(stream[i][0]) for i in range(640)]).astype(np.float32) / 16
    expected = deconvnet.top_k(NET, NAMES, x, 9, batch_size=16)
    for layer in NAMES:
        np.testing.assert_array_equal(found[layer].images, expected[layer].images)


def test_uint8_images_are_scaled_by_default():
    data = InMemory(IMAGES, np.zeros(43, np.int32), ("one",))
    found = deconvnet.top_k(NET, "relu1", data, batch_size=8)["relu1"]
    expected = deconvnet.top_k(NET, "relu1", FLOATS / 255, batch_size=8)["relu1"]
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
    plain = deconvnet.top_k(NET, "relu1", data, prepare=prepared, batch_size=8)["relu1"]
    np.testing.assert_allclose(plain.values, brute_force(NET, FLOATS / 16, "relu1", 9).values, rtol=1e-4)


def test_search_compiles_once_for_all_sizes_of_data_sets():
    deconvnet.top_k(NET, NAMES, X, k=2, batch_size=2)
    before = deconvnet._maps._cache_size(), deconvnet._merge._cache_size()
    deconvnet.top_k(NET, NAMES, np.tile(X, (3, 1, 1, 1)), k=2, batch_size=2)
    assert (deconvnet._maps._cache_size(), deconvnet._merge._cache_size()) == before


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_activations_that_are_not_finite_raise(wrong):
    x = FLOATS.copy()
    x[21, 3, 3, 0] = wrong
    with pytest.raises(ValueError, match=r"finite activations.*image 21\b"):
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
def test_invalid_searches_raise(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        deconvnet.top_k(NET, *arguments, **options)


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
