"""Arguments of wrong kinds, for every public function that takes images: a short message, or the right result."""

import functools
import importlib
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from xai_jax import (
    activation_maximisation,
    cav,
    deconvnet,
    dgn_am,
    fooling,
    inversion,
    metrics,
    network,
    realism,
    saliency,
    targets,
    tcav,
)
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core import arguments

torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 8, 10, 3)).astype(np.float32)
RANDOM = RNG.normal(size=(40, 8, 10, 3)).astype(np.float32)
WEIGHTS = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
KEY, TARGET = jax.random.key(0), targets.logit(0)


def net(x, relu=jax.nn.relu, tap=network.keep):
    return tap("relu1", relu(x @ WEIGHTS)).mean((1, 2))


def measure(concept=X, random=RANDOM, images=X, layers=("relu1",)):
    classes = {"k": (TARGET, images)}
    return tcav.measure(net, layers, {"c": concept}, random, classes, runs=2, controls=2)


IMAGES = {
    "gradient": lambda x: saliency.gradient(net, x, TARGET),
    "input_x_gradient": lambda x: saliency.input_x_gradient(net, x, TARGET),
    "integrated_gradients": lambda x: saliency.integrated_gradients(net, x, TARGET, steps=2),
    "grad_cam": lambda x: saliency.grad_cam(net, x, TARGET, "relu1"),
    "guided_grad_cam": lambda x: saliency.guided_grad_cam(net, x, TARGET, "relu1"),
    "smoothgrad": lambda x: saliency.smoothgrad(net, x, TARGET, samples=2),
    "occlusion": lambda x: saliency.occlusion(net, x, TARGET, 4, 4),
    "occlude": lambda x: saliency.occlude(net, x, TARGET, (), 4, 4),
    "deletion": lambda x: metrics.deletion(net, x, X, TARGET, steps=2),
    "infidelity": lambda x: metrics.infidelity(net, x, X, TARGET, samples=2),
    "cascading_randomisation": lambda x: metrics.cascading_randomisation(saliency.gradient, net, x, TARGET),
    "random_logit": lambda x: metrics.random_logit(saliency.gradient, net, x, [0]),
    "project": lambda x: deconvnet.project(net, x, targets.neuron("relu1", 0)),
    "switches": lambda x: deconvnet.project(net, X, targets.neuron("relu1", 0), x),
    "receptive_field": lambda x: deconvnet.receptive_field(net, "relu1", x),
    "check": lambda x: targets.check(net, x, TARGET),
    "activations": lambda x: ActivationCache(net, "relu1").activations(x),
    "gradients": lambda x: ActivationCache(net, "relu1").gradients(x, TARGET),
    "concept": lambda x: measure(concept=x),
    "random images": lambda x: measure(random=x),
    "class images": lambda x: measure(images=x),
    "cav.learn": lambda x: cav.learn(net, "relu1", "c", x, RANDOM[:5]),
    "negatives": lambda x: cav.learn(net, "relu1", "c", X, x),
}
ARRAYS = {
    "maximise": lambda x: activation_maximisation.maximise(net, TARGET, x, KEY, activation_maximisation.Simonyan()),
    "ascend": lambda x: fooling.ascend(net, [0] * 3, x),
    "caricature": lambda x: inversion.caricature(network.features(net, "relu1"), x, KEY),
    "codes": lambda x: dgn_am.maximise(lambda codes: codes.reshape(-1, 8, 10, 3), net, TARGET, x),
    "representations": lambda x: inversion.invert(lambda a: a, x, (8, 10, 3), KEY),
    "realism": lambda x: realism.agreement(net, x, [0] * 3),
}
ATTRIBUTIONS = {
    "deletion of": lambda x: metrics.deletion(net, X, x, TARGET, steps=2),
    "infidelity of": lambda x: metrics.infidelity(net, X, x, TARGET, samples=2),
    "similarity of": lambda x: metrics.similarity(x, X),
    "randomise": lambda x: metrics.randomise(net, x),
    "top_k": lambda x: deconvnet.top_k(net, "relu1", x, k=2),
}

NO_ARRAYS = {
    "a path": "photo.jpg",
    "nothing": None,
    "a generator": (image for image in X),
    "an array of objects": np.array([X[0], None], object),
    "images of several sizes": [X[0], X[0, :4]],
    "complex numbers": X.astype(np.complex64),
    "a dictionary": {"images": X},
    "text": np.array(["a", "b"]),
}
LISTS = {"a list": list(X), "pictures": [Image.new("RGB", (10, 8))], "a picture": Image.new("RGB", (10, 8))}
OTHER_ARRAYS = {"a masked array": np.ma.array(X)} | ({"a tensor": torch.zeros(3, 8, 10, 3)} if torch else {})
NO_IMAGES = {
    "one image": X[0],
    "no image": X[:0],
    "pixels": np.zeros(X.shape, np.uint8),
    "integers": np.zeros(X.shape, np.int64),
}


def refused(call, value):
    with pytest.raises((TypeError, ValueError), match="Expected") as caught:
        call(value)
    assert len(str(caught.value)) <= 600


@pytest.mark.parametrize("kind", {**NO_ARRAYS, **LISTS, **OTHER_ARRAYS, **NO_IMAGES})
@pytest.mark.parametrize("name", IMAGES)
def test_images_are_arrays_of_images(name, kind):
    refused(IMAGES[name], {**NO_ARRAYS, **LISTS, **OTHER_ARRAYS, **NO_IMAGES}[kind])


@pytest.mark.parametrize("kind", NO_ARRAYS)
@pytest.mark.parametrize("name", ARRAYS)
def test_starts_are_arrays(name, kind):
    refused(ARRAYS[name], NO_ARRAYS[kind])


@pytest.mark.parametrize("kind", {**NO_ARRAYS, **LISTS, **OTHER_ARRAYS})
@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_attributions_are_arrays(name, kind):
    refused(ATTRIBUTIONS[name], {**NO_ARRAYS, **LISTS, **OTHER_ARRAYS}[kind])


@pytest.mark.parametrize(
    "name", ["integrated_gradients", "grad_cam", "occlusion", "deletion", "receptive_field", "activations"]
)
def test_float64_images_are_float32_ones(name):
    got, expected = (jax.tree.leaves(IMAGES[name](x)) for x in (X.astype(np.float64), X))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_lists_and_tensors_are_starts():
    for x in (X.tolist(), list(X), X.astype(np.float64), *([torch.from_numpy(X)] if torch else [])):
        np.testing.assert_array_equal(arguments.as_floats(x, "images"), X)


def test_the_remedy_follows_from_the_kind():
    for value, words in (
        *(
            [(torch.zeros(2), r"got torch\.Tensor\. Usual remedy: np\.asarray, with the channels last")]
            if torch
            else []
        ),
        (list(X), r"got list\. Usual remedy: np\.stack"),
        (np.ma.array(X), r"got numpy\.MaskedArray"),
        ("a.png", "got str.$"),
    ):
        with pytest.raises(TypeError, match=words):
            arguments.check_images(value)


@pytest.mark.parametrize("layers", [None, 3, [None], [["relu1"]], np.zeros(2), {"relu1": 1}.values()])
def test_layers_are_names(layers):
    for call in (
        lambda: ActivationCache(net, layers),
        lambda: deconvnet.top_k(net, layers, X, k=2),
        lambda: measure(layers=layers),
        lambda: cav.learn(net, layers, "c", X, RANDOM[:5]),
    ):
        with pytest.raises(TypeError, match="Expected the name of (a|one) layer"):
            call()


def test_one_name_is_a_layer():
    assert list(network.capture(net, X, "relu1")[1]) == ["relu1"]
    np.testing.assert_array_equal(measure(layers="relu1").values, measure().values)
    assert list(deconvnet.top_k(net, "relu1", X, k=2)) == ["relu1"]


@pytest.mark.parametrize("given", [X, [X], None, "stripes", X.tolist()])
def test_concepts_and_classes_are_dictionaries(given):
    classes = {"k": (TARGET, X)}
    with pytest.raises(TypeError, match="Expected a dictionary of concepts"):
        tcav.measure(net, "relu1", given, RANDOM, classes, runs=2, controls=2)
    with pytest.raises(TypeError, match="Expected a dictionary of classes"):
        tcav.measure(net, "relu1", {"c": X}, RANDOM, given, runs=2, controls=2)
    with pytest.raises(TypeError, match="Expected a pair"):
        tcav.measure(net, "relu1", {"c": X}, RANDOM, {"k": TARGET}, runs=2, controls=2)


@pytest.mark.parametrize("part", ["concept", "random", "images"])
def test_a_message_names_the_images_of_a_measurement(part):
    name = {"concept": "concept 'c'", "random": "random images", "images": "class 'k'"}[part]
    with pytest.raises(ValueError, match=f"{name}: Expected images .N, H, W, C., got shape .8, 10, 3."):
        measure(**{part: X[0]})
    if part != "random":
        with pytest.raises(ValueError, match=r"12, 10, 3"):
            measure(**{part: np.pad(X, ((0, 0), (2, 2), (0, 0), (0, 0)))})


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", None, True, np.nan])
def test_counts_are_positive_integers(count):
    call = functools.partial(fooling.evolve, net, fooling.Direct((8, 10, 3)), key=KEY)
    for make in (
        lambda: ActivationCache(net, "relu1", batch_size=0 if count is None else count),  # None: by memory
        lambda: call(generations=count),
        lambda: call(generations=1, population=count),
    ):
        with pytest.raises(ValueError, match="Expected 1 or more .*, an integer, got"):
            make()
    with pytest.raises(ValueError, match="Expected k from 1 to the number of images, 3, got"):
        deconvnet.top_k(net, "relu1", X, k=count)


COUNTS = {
    "steps of a path": lambda n: saliency.integrated_gradients(net, X, TARGET, steps=n),
    "samples of noise": lambda n: saliency.smoothgrad(net, X, TARGET, samples=n),
    "samples of perturbations": lambda n: metrics.infidelity(net, X, X, TARGET, samples=n),
    "steps of a curve": lambda n: metrics.deletion(net, X, X, TARGET, steps=n),
    "batch": lambda n: saliency.gradient(net, X, TARGET, batch_size=n),
    "batch of a search": lambda n: deconvnet.top_k(net, "relu1", X, k=1, batch_size=n),
    "runs": lambda n: tcav.Plan(runs=n).sample({"c": 2}, 99),
    "steps of an optimisation": lambda n: fooling.ascend(net, [0] * 3, X, fooling.Ascent(steps=n)),
}


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", True, np.nan, np.inf])
@pytest.mark.parametrize("name", COUNTS)
def test_other_counts_are_positive_integers(name, count):
    refused(COUNTS[name], count)


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "steps of an optimisation"])  # which are static
def test_counts_may_be_integers_of_numpy_and_jax(name):
    expected = COUNTS[name](2)
    for count in (np.int64(2), np.array(2), jnp.int32(2)):
        jax.tree.map(np.testing.assert_array_equal, COUNTS[name](count), expected)


@pytest.mark.parametrize("noise", [-1, np.nan, np.inf, "0.1", None, [0.1, 0.2]])
def test_noise_is_a_finite_amount(noise):
    refused(lambda amount: saliency.smoothgrad(net, X, TARGET, samples=1, noise=amount), noise)
    refused(lambda amount: metrics.infidelity(net, X, X, TARGET, samples=1, noise=amount), noise)


@pytest.mark.parametrize("method", ["guided", None, 3])
def test_methods_are_functions(method):
    for call in (
        lambda: saliency.smoothgrad(net, X, TARGET, method),
        lambda: saliency.vargrad(net, X, TARGET, method),
        lambda: metrics.cascading_randomisation(method, net, X, TARGET),
        lambda: metrics.random_logit(method, net, X, [0]),
    ):
        with pytest.raises(TypeError, match="Expected an attribution method, such as saliency.gradient, got"):
            call()


def test_fills_are_numbers_or_arrays():
    for fill in ("grey", None, [[1, 2], 3]):
        refused(lambda value: saliency.integrated_gradients(net, X, TARGET, value), fill)


@pytest.mark.parametrize("form", [None, "IJCV", 3, inversion.IJCV])
def test_forms_are_settings(form):
    codes = np.zeros((1, 240), np.float32)
    for call in (
        lambda: activation_maximisation.maximise(net, TARGET, X, KEY, form),
        lambda: fooling.ascend(net, [0] * 3, X, form),
        lambda: inversion.invert(lambda x: x, X, X.shape[1:], KEY, form),
        lambda: dgn_am.maximise(lambda codes: codes.reshape(-1, 8, 10, 3), net, TARGET, codes, form),
    ):
        with pytest.raises(TypeError, match="Expected .*, such as .*, got"):
            call()


@pytest.mark.parametrize("size", [0, -1, 1.5, "3", np.nan])
def test_patches_and_facets_are_counted(size):
    refused(lambda n: saliency.occlusion(net, X, TARGET, n, 1), size)
    refused(lambda n: saliency.occlusion(net, X, TARGET, 4, n), size)
    refused(lambda n: dgn_am.facets(X, n, seed=0), size)
    refused(lambda n: dgn_am.facets(X, 1, n, seed=0), size)


@pytest.mark.parametrize("vector", [None, "red", [[1, 2], 3], np.array([None])])
def test_directions_are_numbers(vector):
    with pytest.raises((TypeError, ValueError)):
        targets.direction("relu1", vector)
    assert targets.direction("relu1", [1.0, 2.0]).vector.shape == (2,)
