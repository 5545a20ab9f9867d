"""No result depends on the position of an image among others: alone, in other orders, in chunks of 1, 2, 7 or all.

The network has a second input and a mask for each image, and the target a class for each.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax.adapters import adapt
from xai_jax.attribution import metrics, saliency
from xai_jax.concepts import cav
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core import network, targets
from xai_jax.data.datasets import InMemory
from xai_jax.synthesis import activation_maximisation, dgn_am, fooling, inversion
from xai_jax.training import evaluation
from xai_jax.units import deconvnet

N, CLASSES = 9, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 8, 8, 1)).astype(np.float32)
SIDE = RNG.uniform(0.5, 1.5, size=(N, 6)).astype(np.float32)
MASK = (RNG.random((N, 8, 8, 1)) < 0.8).astype(np.float32)
K = RNG.integers(0, CLASSES, N)
MAPS = RNG.normal(size=X.shape).astype(np.float32)
WEIGHTS = tuple(RNG.normal(size=s).astype(np.float32) for s in ((3, 3, 1, 6), (6, CLASSES)))


def model(weights, x, side, mask):
    maps = jax.lax.conv_general_dilated(
        x * mask, weights[0], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    maps = jax.lax.reduce_window(jax.nn.relu(maps), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.relu(maps.mean((1, 2)) * side) @ weights[1]


def net(rows):
    return adapt.from_function(model, WEIGHTS, inputs=(SIDE[rows], MASK[rows]))


def attribution(method, **arguments):
    def call(rows, size):
        return method(net(rows), X[rows], targets.logit(K[rows]), batch_size=size, **arguments)

    return call


def metric(method, **arguments):
    def call(rows, size):
        found = method(net(rows), X[rows], MAPS[rows], targets.probability(K[rows]), batch_size=size, **arguments)
        return found if isinstance(found, jax.Array) else found[1:]

    return call


def cascade(rows, size):
    target = targets.logit(K[rows])
    found = metrics.cascading_randomisation(saliency.gradient, net(rows), X[rows], target, batch_size=size)
    return [found[layer] for layer in sorted(found)]


def projection(rows, size, **arguments):
    units = targets.neuron("pool1", K[rows], (K[rows] % 2, K[rows]))
    return deconvnet.project(net(rows), X[rows], units, batch_size=size, **arguments)


def cached(rows, size):
    cache = ActivationCache(net(rows), ["pool1", "relu2"], batch_size=size or N)
    return cache.activations(X[rows]), cache.gradients(X[rows], targets.log_probability(K[rows]))


def strongest(rows, size):
    """The order of the images by one channel, as the values at their positions."""
    found = deconvnet.top_k(net(rows), "pool1", X[rows], k=len(X[rows]), batch_size=size or N)["pool1"]
    values = np.zeros((len(X[rows]), 6, 3))
    for channel in range(6):
        values[found.images[channel], channel] = np.stack([a[channel] for a in (found.values, *found[2:])], 1)
    return values


def errors(rows, size):
    """Whether the classifier is wrong about each image, of which `errors` is the mean."""
    images, labels = np.uint8(255 * (X > 0)), K.astype(np.int32)
    total = evaluation.errors(net(rows), InMemory(images[rows], labels[rows], tuple("abcd")), batch_size=size or N)
    found = np.asarray(net(rows)(jnp.asarray(images[rows] / np.float32(255)))).argmax(1) != labels[rows]
    np.testing.assert_allclose(total.top1, 100 * found.mean(), rtol=1e-5)
    return found


def synthesis(form):
    """From given images, without random transforms: those and initial noise differ between problems on purpose."""

    def call(rows, size):
        target = targets.logit(K[rows])
        return activation_maximisation.maximise(net(rows), target, X[rows], jax.random.key(0), form, -9.0, 9.0)

    return call


def inverted(rows, size):
    represent = inversion.of_layer(net(rows), "pool1")
    form = inversion.CVPR(phases=((1e-4, 4),))
    return inversion.invert(represent, represent(X[rows]), (8, 8, 1), jax.random.key(0), form, start=MAPS[rows])


def caricature(rows, size):
    represent = inversion.of_layer(net(rows), "pool1")
    return inversion.caricature(represent, X[rows], jax.random.key(0), inversion.IJCV(steps=(4, 0)))


CALLS = {
    "gradient": attribution(saliency.gradient),
    "deconvnet": attribution(saliency.deconvnet),
    "guided_backprop": attribution(saliency.guided_backprop),
    "input_x_gradient": attribution(saliency.input_x_gradient),
    "grad_cam": attribution(saliency.grad_cam, layer="pool1"),
    "guided_grad_cam": attribution(saliency.guided_grad_cam, layer="pool1"),
    "integrated_gradients": attribution(saliency.integrated_gradients, steps=4, return_delta=True),
    "smoothgrad": attribution(saliency.smoothgrad, samples=3),
    "vargrad": attribution(functools.partial(saliency.vargrad, method=saliency.input_x_gradient), samples=3),
    "occlusion": attribution(saliency.occlusion, patch=4, stride=3),
    "occlude": lambda rows, size: saliency.occlude(
        net(rows), X[rows], lambda logits, kept: (logits, kept["relu2"]), ("relu2",), patch=4, stride=4, batch_size=size
    ),
    "deletion": metric(metrics.deletion, steps=4),
    "insertion": metric(metrics.insertion, steps=4, fill=0.5),
    "infidelity": metric(metrics.infidelity, samples=3),
    "cascading_randomisation": cascade,
    "random_logit": lambda rows, size: metrics.random_logit(
        saliency.gradient, net(rows), X[rows], K[rows], batch_size=size
    ),
    "project": projection,
    "project without switches": functools.partial(projection, switches="none"),
    "project at others": lambda rows, size: projection(rows, size, switches=MAPS[rows]),
    "activations and gradients": cached,
    "top_k": strongest,
    "features": lambda rows, size: network.call(network.features(net(rows), "pool1"), X[rows]),
    "errors": errors,
    "Simonyan": synthesis(activation_maximisation.Simonyan(steps=4)),
    "Yosinski": synthesis(activation_maximisation.Yosinski(steps=5, norm_percentile=20.0)),
    "Fourier": synthesis(activation_maximisation.Fourier(steps=4, jitter=1)),
    "invert": inverted,
    "caricature": caricature,
    "ascend": lambda rows, size: fooling.ascend(net(rows), K[rows], abs(X[rows]) / 9, fooling.Ascent(steps=4)),
    "dgn_am": lambda rows, size: dgn_am.maximise(
        jnp.tanh, net(rows), targets.logit(K[rows]), X[rows], dgn_am.Montavon(steps=4)
    ),
}
WHOLE = ("features", "Simonyan", "Yosinski", "Fourier", "invert", "caricature", "ascend", "dgn_am")  # never cut


def leaves(result):
    """All arrays with the images as their first axis: histories of an optimisation have the steps there."""
    if isinstance(result, inversion.Result):
        result = result.x, {name: values.T for name, values in result.history.items()}
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(result)]


def test_every_method_that_cuts_images_is_here():
    for module in (saliency, metrics, deconvnet):
        for name, method in inspect.getmembers(module, inspect.isfunction):
            parameters = inspect.signature(method).parameters.keys()
            if {"net", "batch_size"} <= parameters and name != "chunked" and name[0] != "_":
                assert name in {*CALLS, "backprop"}  # of which gradient, deconvnet and guided_backprop are cases


@pytest.mark.parametrize("name", CALLS)
def test_results_do_not_depend_on_the_position_of_an_image(name):
    call = CALLS[name]
    whole = leaves(call(np.arange(N), None))
    largest = [abs(leaf).max() for leaf in whole]
    order = np.array([5, 0, 8, 2, 7, 1, 3, 6, 4])
    cases = [(order, None), (np.array([6]), None)]
    if name not in WHOLE:
        cases += [(order, 2), *[(np.arange(N), size) for size in (1, 2, 7, N)]]
    for rows, size in cases:
        for found, right, scale in zip(leaves(call(rows, size)), whole, largest, strict=True):
            np.testing.assert_allclose(found, right[rows], rtol=1e-4, atol=1e-5 * max(scale, 0.1), err_msg=f"{rows}")


def test_similarity_to_a_direction_does_not_depend_on_the_position_of_an_image():
    plain = adapt.from_function(lambda w, x: model(w, x, 1.0, 1.0), WEIGHTS)
    images = RNG.normal(size=(12, 8, 8, 1)).astype(np.float32)
    direction = cav.learn(plain, "pool1", "a", images[:6], images[6:])
    whole = cav.similarity(plain, direction, X)
    for rows in (np.arange(N)[::-1], [4]):
        np.testing.assert_allclose(cav.similarity(plain, direction, X[rows]), whole[rows], rtol=1e-4)
