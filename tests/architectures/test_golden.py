"""Networks with torchvision's entries against golden outputs of torchvision's own networks (golden.py)."""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from tests.architectures import golden
from tests.helpers import float64
from xai_jax.architectures import googlenet, inception, resnet, vgg, vit
from xai_jax.core.network import capture
from xai_jax.weights import safetensors_file

NETWORKS = {
    "googlenet": (googlenet.GoogLeNet(), googlenet.from_torch),
    "inception_v3": (inception.InceptionV3(), inception.from_torch),
    "vgg16": (vgg.vgg16(), vgg.from_torch),
    "vgg19": (vgg.vgg19(), vgg.from_torch),
    "resnet18": (resnet.resnet18(), resnet.from_torch),
    "resnet50": (resnet.resnet50(), resnet.from_torch),
    "vit_b_16": (vit.vit_b_16(), vit.from_torch),
}
CASES = [(name, case) for name, sizes in golden.SIZES.items() for case in sizes]
SLOW = {case for case in CASES if case[1] == "published"}
GRADIENTS = [case for case in CASES if case[0] in golden.WITH_GRADIENTS]
GOLDEN = golden.load()


def images(name, case):
    """What the network reads. GoogLeNet and Inception v3: torchvision's `transform_input` comes to the same."""
    pixels = golden.pixels(*golden.SIZES[name][case])
    half_range = name in ("googlenet", "inception_v3")
    return (pixels - np.float32(127.5)) / np.float32(127.5) if half_range else golden.normalised(pixels)


def loaded(name, x):
    module, from_torch = NETWORKS[name]
    expected = jax.eval_shape(module.init, jax.random.key(0), x)
    return Partial(module.apply, safetensors_file.fit(from_torch(golden.fill(GOLDEN[name]["shapes"])), expected))


def close(found, expected, name):
    """Within 1e-4 of the largest number: sums of positive and negative terms round like their terms."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize(
    "name, case", [pytest.param(*case, marks=[pytest.mark.slow] * (case in SLOW)) for case in CASES]
)
def test_outputs_agree_with_torchvision(name, case):
    x, expected = images(name, case), GOLDEN[name][case]
    logits, taps = jax.jit(capture, static_argnums=2)(loaded(name, x), x, tuple(expected["activations"]))
    for layer, numbers in expected["activations"].items():
        close(golden.summary(taps[layer]), numbers, layer)
    found = golden.outputs(np.asarray(logits))
    for key in ("logits", "sum", "size"):
        close(found[key], expected[key], key)
    assert logits.shape == (len(x), 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name, case", GRADIENTS)
def test_gradients_agree_with_torchvision(name, case):
    x = images(name, case)
    found = float64.gradient(loaded(name, x), x, golden.TARGET)
    close(golden.summary(found), GOLDEN[name][case]["gradient"], "gradient")


@pytest.mark.parametrize("name", NETWORKS)
def test_all_entries_fit_and_numbers_of_parameters_agree(name):
    module, from_torch = NETWORKS[name]
    side = golden.SIZES[name]["published"][1]
    x = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    expected = safetensors_file.flatten(jax.eval_shape(module.init, jax.random.key(0), x))
    own = from_torch({entry: np.broadcast_to(np.float32(0), shape) for entry, shape in GOLDEN[name]["shapes"].items()})
    assert {entry: value.shape for entry, value in own.items()} == {entry: v.shape for entry, v in expected.items()}
    parameters = sum(value.size for entry, value in expected.items() if entry.startswith("params/"))
    assert parameters == GOLDEN[name]["parameters"]
