"""Arrays with a row for each image go along with their image; arrays bound as weights by mistake are refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xai_jax.adapters import adapt
from xai_jax.attribution import metrics, saliency
from xai_jax.concepts import cav, tcav
from xai_jax.concepts.activation_cache import ActivationCache, fingerprint
from xai_jax.core import network, per_image, targets
from xai_jax.core.batching import check_repeatable
from xai_jax.core.network import PerImage
from xai_jax.synthesis import fooling
from xai_jax.training import evaluation
from xai_jax.units import deconvnet

N = 4
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, 8, 8, 1)), jnp.float32)
SIDE = jnp.asarray(RNG.normal(size=(N, 3)), jnp.float32)
WEIGHTS = jnp.asarray(RNG.normal(size=(64, 3)), jnp.float32)
TARGET = targets.logit(0)
occlusion = functools.partial(saliency.occlusion, patch=4, stride=4)


def model(weights, x, side):
    return jax.nn.relu(x.reshape(len(x), -1) @ weights) * side


def with_side(side):
    return adapt.from_function(model, WEIGHTS, inputs=(side,))


def bound_as_weight(side):
    return adapt.from_function(lambda w, side, x: model(w, x, side), WEIGHTS, side)


@pytest.mark.parametrize("method", [saliency.gradient, occlusion])
@pytest.mark.parametrize("batch_size", [1, 3, 4, None])
def test_rows_go_along_with_their_images(method, batch_size):
    maps = method(with_side(SIDE), X, TARGET, batch_size=batch_size)
    for i in range(N):
        alone = method(with_side(SIDE[i : i + 1]), X[i : i + 1], TARGET)
        np.testing.assert_allclose(maps[i], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [saliency.gradient, occlusion, saliency.integrated_gradients])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_rows_among_the_weights_are_refused_where_images_are_cut(method, batch_size):
    with pytest.raises(ValueError, match="`inputs`"):
        method(bound_as_weight(SIDE), X, TARGET, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [4, None])
def test_rows_among_the_weights_are_refused_where_images_are_repeated(batch_size):
    """Also for as many rows as there are images in a chunk."""
    with pytest.raises(ValueError, match="`inputs`"):
        occlusion(bound_as_weight(SIDE), X, TARGET, batch_size=batch_size)


def test_rows_among_the_weights_serve_where_no_image_is_moved():
    for batch_size in (N, None):
        maps = saliency.gradient(bound_as_weight(SIDE), X, TARGET, batch_size=batch_size)
        np.testing.assert_array_equal(maps, saliency.gradient(with_side(SIDE), X, TARGET))


def test_float64_images_and_rows_are_taken_as_float32():
    net, images = with_side(np.asarray(SIDE, np.float64)), np.asarray(X, np.float64)
    np.testing.assert_array_equal(net(images), with_side(SIDE)(X))
    np.testing.assert_array_equal(saliency.gradient(net, images, TARGET), saliency.gradient(with_side(SIDE), X, TARGET))


def test_one_row_for_all_images_is_a_weight():
    one = SIDE[:1]
    for method in (saliency.gradient, occlusion):
        maps = method(bound_as_weight(one), X, TARGET, batch_size=3)
        np.testing.assert_allclose(maps, method(with_side(jnp.repeat(one, N, 0)), X, TARGET), rtol=1e-4, atol=1e-5)


def test_wrong_numbers_of_rows_are_refused():
    for call in (
        lambda: saliency.gradient(with_side(SIDE[:3]), X, TARGET),
        lambda: occlusion(with_side(SIDE[:1]), X, TARGET),
        lambda: with_side(SIDE)(X[:2]),
        lambda: deconvnet.top_k(with_side(SIDE[:2]), "relu1", X, k=1),
        lambda: ActivationCache(with_side(SIDE[:2]), "relu1").activations(X),
    ):
        with pytest.raises(ValueError, match="a row for each of"):
            call()
    listed = adapt.from_function(model, WEIGHTS, inputs=(SIDE.tolist(),))
    with pytest.raises(ValueError, match=r"an array \(\). Usual remedies: np.asarray of a list"):
        saliency.gradient(listed, X, TARGET)
    with pytest.raises(TypeError, match="tuple of inputs"):
        adapt.from_function(model, WEIGHTS, inputs=SIDE)


def fixed(size, rows=None):
    """A network for `size` images only, as `jax.export` makes it."""

    def net(x, relu=jax.nn.relu, tap=network.keep):
        if x.shape[0] != size:
            raise ValueError(f"compiled for {size} images")
        logits = tap("relu1", relu(x.reshape(size, -1) @ WEIGHTS))
        return logits if rows is None else logits * rows

    return net


def test_networks_for_one_number_of_images_serve_at_it():
    net, free = fixed(N), lambda x, relu=jax.nn.relu, tap=network.keep: relu(x.reshape(len(x), -1) @ WEIGHTS)
    np.testing.assert_array_equal(saliency.gradient(net, X, TARGET), saliency.gradient(free, X, TARGET))
    maps = occlusion(net, X, TARGET, batch_size=N)
    np.testing.assert_allclose(maps, occlusion(free, X, TARGET), rtol=1e-4, atol=1e-5)
    found = deconvnet.top_k(net, "relu1", jnp.concatenate([X, X[:3] + 1]), k=2, batch_size=N)["relu1"]
    assert found.values.shape == (3, 2)
    check_repeatable(net, X, lambda: X)
    with pytest.raises(ValueError, match="`inputs`"):
        occlusion(fixed(N, SIDE), X, TARGET, batch_size=N)
    with pytest.raises(ValueError, match="`inputs`"):  # all images equal
        saliency.occlude(fixed(N, SIDE), X[2:3], TARGET, patch=4, stride=4, batch_size=N)


def test_networks_of_the_protocol_bind_rows_in_a_partial_or_a_closure():
    def net(side, x, relu=jax.nn.relu, tap=network.keep):
        return tap("relu1", relu(x.reshape(len(x), -1) @ WEIGHTS)) * side.value

    side = PerImage(np.asarray(SIDE, np.float64))  # taken as float32, as JAX does
    closure = lambda x, relu=jax.nn.relu, tap=network.keep: net(side, x, relu, tap)  # noqa: E731
    right = occlusion(with_side(SIDE), X, TARGET)
    for each in (jax.tree_util.Partial(net, side), closure, lambda x, relu, tap: closure(x, relu, tap)):
        np.testing.assert_allclose(occlusion(each, X, TARGET, batch_size=3), right, rtol=1e-4, atol=1e-5)


def test_heads_keep_the_rows():
    head, activations = network.head(with_side(SIDE), "relu1", X), network.features(with_side(SIDE), "relu1")(X)
    np.testing.assert_array_equal(head(activations), with_side(SIDE)(X))
    few = per_image.rows(head, [2, 0])
    np.testing.assert_allclose(few(activations[jnp.array([2, 0])]), with_side(SIDE)(X)[jnp.array([2, 0])], rtol=1e-5)


def test_values_of_edited_layers_go_along_with_their_images():
    net = adapt.from_function(lambda w, x: jax.nn.relu(x.reshape(len(x), -1) @ w) * x.mean((1, 2)), WEIGHTS)
    for edited in (network.replace(net, "relu1", SIDE), network.perturb(net, "relu1", PerImage(SIDE))):
        maps = saliency.gradient(edited, X, TARGET, batch_size=3)
        np.testing.assert_allclose(maps, saliency.gradient(edited, X, TARGET), rtol=1e-5, atol=1e-6)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, side):
        return nn.Dense(3)(nn.relu(nn.Conv(4, (3, 3))(x)).mean((1, 2))) * side


class NNX(nnx.Module):
    def __init__(self, rngs):
        self.conv, self.out = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x, side):
        return self.out(nnx.relu(self.conv(x)).mean((1, 2))) * side


def linen(side):
    module = Linen()
    return adapt.from_linen(module, module.init(jax.random.key(0), X, SIDE), inputs=(side,))


def of_nnx(side):
    return adapt.from_nnx(NNX(nnx.Rngs(0)), inputs=(side,))


def of_equinox(side):
    equinox = pytest.importorskip("equinox")
    layers = equinox.nn.Conv2d(1, 4, 3, key=jax.random.key(0)), equinox.nn.Linear(4, 3, key=jax.random.key(1))

    class Model(equinox.Module):
        layers: tuple

        def __call__(self, x, side):
            return self.layers[1](jax.nn.relu(self.layers[0](x)).mean((1, 2))) * side

    return adapt.from_equinox(Model(layers), inputs=(side,))


def of_haiku(side):
    haiku = pytest.importorskip("haiku")

    def forward(x, side):
        return haiku.Linear(3)(jax.nn.relu(haiku.Conv2D(4, 3)(x)).mean((1, 2))) * side

    transformed = haiku.transform(forward)
    return adapt.from_haiku(transformed, transformed.init(jax.random.key(0), X, SIDE), inputs=(side,))


def of_keras(side):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    image, other = keras.Input((8, 8, 1)), keras.Input((3,))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model([image, other], keras.layers.Multiply()([keras.layers.Dense(3)(pooled), other]))
    return adapt.from_keras(model, inputs=(side,))


@pytest.mark.parametrize("make", [linen, of_nnx, of_equinox, of_haiku, of_keras])
def test_adapters_take_inputs(make):
    maps = occlusion(make(SIDE), X, TARGET, batch_size=3)
    guided = saliency.guided_backprop(make(SIDE), X, TARGET, batch_size=3)
    for i in range(N):
        alone = make(SIDE[i : i + 1]), X[i : i + 1], TARGET
        np.testing.assert_allclose(maps[i], occlusion(*alone)[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(guided[i], saliency.guided_backprop(*alone)[0], rtol=1e-4, atol=1e-6)


def test_randomisation_leaves_rows_alone():
    for randomised in metrics.randomise(with_side(SIDE), X).values():
        np.testing.assert_array_equal(randomised.inputs.value[0], SIDE)
    assert len(metrics.randomise(with_side(SIDE), X)) == 1


def test_strongest_images_with_rows():
    net = adapt.from_function(lambda w, x, side: jax.nn.relu(model(w, x, side)), WEIGHTS, inputs=(SIDE,))
    whole = deconvnet.top_k(net, "relu2", X, k=2)["relu2"]
    for batch_size in (1, 3):
        part = deconvnet.top_k(net, "relu2", X, k=2, batch_size=batch_size)["relu2"]
        np.testing.assert_allclose(part.values, whole.values, rtol=1e-5)
        np.testing.assert_array_equal(part.images, whole.images)
    deconvnet.top_k(bound_as_weight(SIDE), "relu1", X, k=2)  # no image is moved
    with pytest.raises(ValueError, match="`inputs`"):
        deconvnet.top_k(bound_as_weight(SIDE), "relu1", X, k=2, batch_size=2)


def test_cached_activations_and_gradients_with_rows(tmp_path):
    def f(w, x, side):
        return jax.nn.relu(x.reshape(len(x), -1) @ w + side)

    net, other = (adapt.from_function(f, WEIGHTS, inputs=(side,)) for side in (SIDE, SIDE + 1))
    cache = ActivationCache(net, "relu1", tmp_path, batch_size=3)
    right = network.call(network.features(net, "relu1"), X)
    np.testing.assert_allclose(cache.activations(X)["relu1"], right, rtol=1e-5)
    np.testing.assert_array_equal(cache.gradients(X, TARGET)["relu1"][:, 0], np.ones(N))
    assert fingerprint(net, X) == fingerprint(other, X)  # of the network, whatever the images' inputs
    shifted = ActivationCache(other, "relu1", tmp_path, batch_size=3).activations(X)["relu1"]
    assert not np.allclose(shifted, right)


def test_sets_of_images_have_no_rows_in_common():
    classes = {"first": (TARGET, X)}
    for call in (
        lambda: tcav.measure(with_side(SIDE), ["relu1"], {"a": X}, X + 1, classes, runs=2, controls=2),
        lambda: cav.learn(with_side(SIDE), "relu1", "a", X, X + 1),
        lambda: fooling.evolve(with_side(SIDE), fooling.Direct((8, 8, 1)), 1, jax.random.key(0), population=N),
    ):
        with pytest.raises(ValueError, match="without inputs for each image"):
            call()
    with pytest.raises(ValueError, match="`inputs`"):
        fooling.evolve(bound_as_weight(SIDE), fooling.Direct((8, 8, 1)), 1, jax.random.key(0), population=N)


class Data:
    classes = ("a", "b", "c")
    images = np.asarray(255 * RNG.random((N, 8, 8, 1)), np.uint8)
    labels = np.int32([0, 1, 2, 0])

    def __len__(self):
        return N

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


@pytest.mark.parametrize("transform", [None, lambda image: np.stack([image, image[::-1]])])
def test_evaluation_with_rows(transform):
    """Rows that add a large number to the logit of the label make every prediction right."""
    side = 1000 * jnp.eye(3)[Data.labels]
    net = adapt.from_function(lambda w, x, side: x.reshape(len(x), -1) @ w + side, WEIGHTS, inputs=(side,))
    for batch_size in (1, 3, 8):
        assert evaluation.errors(net, Data(), transform=transform, batch_size=batch_size).top1 == 0
    added = adapt.from_function(lambda w, side, x: x.reshape(len(x), -1) @ w + side, WEIGHTS, side)
    for batch_size in (1, 3, 8):
        with pytest.raises(ValueError, match="`inputs`"):
            evaluation.errors(added, Data(), batch_size=batch_size)
    if transform is None:
        assert evaluation.errors(added, Data(), batch_size=N).top1 == 0  # no image is moved
