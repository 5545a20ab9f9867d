"""Generator and discriminator: shapes and counts of the papers, transposed convolutions, and published weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.weights.test_caffe_file import new_format
from tests.weights.test_torch_file import Storage, Tensor, zip_format
from xai_jax.architectures import deepsim
from xai_jax.architectures.deepsim import Discriminator, Generator
from xai_jax.weights import safetensors_file

RNG = np.random.default_rng(0)
SMALL = Generator((2, 3, 8), (5, 6), (), ((4, 7), (3, 0)), 3)
MAPS = Generator((2, 3, 8), (), ((5, 1), (8, 0)), ((4, 7), (3, 0)), 3)
CODES = {SMALL: (9,), MAPS: (4, 5, 6)}


def shapes(module, *sizes):
    x = jnp.zeros((1, *sizes))
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    return variables["params"], jax.eval_shape(module.apply, variables, x).shape[1:]


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_the_published_generator_has_its_layers_and_weights():
    """56.1 million; names and sizes as in the published definition (papers' facts, D1)."""
    params, made = shapes(Generator(), 4096)
    assert made == (256, 256, 3) and count(params) == 56_096_256
    assert {name: layer["kernel"].shape for name, layer in params.items() if "conv" in name} == {
        "deconv5": (4, 4, 256, 256), "conv5_1": (3, 3, 256, 512), "deconv4": (4, 4, 512, 256),
        "conv4_1": (3, 3, 256, 256), "deconv3": (4, 4, 256, 128), "conv3_1": (3, 3, 128, 128),
        "deconv2": (4, 4, 128, 64), "deconv1": (4, 4, 64, 32), "deconv0": (4, 4, 32, 3),
    }  # fmt: skip
    assert all(params[f"defc{n}"]["kernel"].shape == (4096, 4096) for n in (5, 6, 7))


def test_the_form_for_maps_begins_with_convolutions():
    params, made = shapes(Generator(convs=((512, 1), (512, 1), (512, 0))), 6, 6, 256)
    assert made == (256, 256, 3) and params["deconv5"]["kernel"].shape == (4, 4, 512, 256)
    assert [params[f"Rconv{n}"]["kernel"].shape for n in (6, 7, 8)] == [(3, 3, 256, 512)] + 2 * [(3, 3, 512, 512)]
    biased = {name for name, layer in params.items() if "bias" in layer}
    assert biased == {"Rconv6", "Rconv7", "Rconv8", "deconv0"}


def test_small_images_have_small_generators():
    assert shapes(Generator((7, 7, 64), (256,), (), ((64, 64),), 1), 128)[1] == (28, 28, 1)
    assert shapes(SMALL, 9)[1] == (16, 24, 3)


def test_the_discriminator_has_two_logits():
    params, made = shapes(Discriminator(), 227, 227, 3)
    assert made == (2,) and params["Dconv1"]["kernel"].shape == (7, 7, 3, 32)
    x, module = jnp.asarray(RNG.normal(size=(4, 40, 40, 1)).astype("f")), Discriminator(((3, 8, 2), (3, 8, 2)), 16)
    variables = module.init(jax.random.key(0), x)
    calm = [module.apply(variables, x) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    dropped = module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(calm[0], dropped)


def test_gradients_of_doubling_are_xlas():
    x, kernel = (jnp.asarray(RNG.normal(size=s).astype("f")) for s in ((2, 3, 4, 5), (4, 4, 5, 6)))
    weight = jnp.asarray(RNG.normal(size=(2, 6, 8, 6)).astype("f"))

    def plain(x, kernel):
        return lax.conv_transpose(x, kernel, (2, 2), ((2, 2), (2, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC"))

    ours, xlas = (jax.grad(lambda *a, f=f: (f(*a) * weight).sum(), (0, 1))(x, kernel) for f in (deepsim.doubled, plain))
    for a, b in zip(ours, xlas, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def published(module):
    """A state as the published files have it, of random values."""
    params, _ = shapes(module, *CODES[module])
    state = {}
    for name, layer in params.items():
        kernel = layer["kernel"].shape
        sides, (inputs, outputs) = kernel[:-2], kernel[-2:]
        transposed = len(kernel) == 4 and not name.startswith("Rconv")
        shape = (inputs, outputs, *sides) if transposed else (outputs, inputs, *sides)
        state[f"{name}.weight"] = RNG.normal(size=shape).astype("f") / math.sqrt(math.prod(kernel[:-1]))
        state[f"{name}.bias"] = (RNG.normal(size=outputs) * ("bias" in layer)).astype("f")
    return state


def convolved(x, kernel, bias, padding):
    """Caffe's convolution, of (N, C, H, W) by (outputs, inputs, 3, 3)."""
    x = np.pad(x, [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2])
    height, width = x.shape[2] - 2, x.shape[3] - 2
    each = [x[:, :, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
    return np.einsum("tnchw,oct->nohw", each, kernel.reshape(*kernel.shape[:2], 9)) + bias[:, None, None]


def deconvolved(x, kernel, bias, stride):
    """Caffe's deconvolution with a padding of 1, by (inputs, outputs, k, k): each value adds a kernel."""
    side = kernel.shape[2]
    whole = np.zeros((len(x), kernel.shape[1], *(stride * (size - 1) + side for size in x.shape[2:])))
    for i, j in np.ndindex(*x.shape[2:]):
        top, left = stride * i, stride * j
        whole[:, :, top : top + side, left : left + side] += np.einsum("nc,couv->nouv", x[:, :, i, j], kernel)
    return whole[:, :, 1:-1, 1:-1] + bias[:, None, None]


def released(module, state, codes):
    """What the published definitions make of codes: pixels (N, H, W, 3), blue first."""

    def layer(name):
        return state[f"{name}.weight"].astype(float), state[f"{name}.bias"]

    def leaky(x):
        return np.where(x > 0, x, 0.3 * x)

    if module is MAPS:
        x = codes.transpose(0, 3, 1, 2)
        for name, padding in (("Rconv6", 1), ("Rconv7", 0)):
            x = leaky(convolved(x, *layer(name), padding))
    else:
        x = codes
        for name in ("defc7", "defc6", "defc5"):
            matrix, bias = layer(name)
            x = leaky(x @ matrix.T + bias)
        x = x.reshape(len(x), 8, 2, 3)
    for name, stride in (("deconv2", 2), ("conv2_1", 1), ("deconv1", 2)):
        x = leaky(deconvolved(x, *layer(name), stride))
    return deconvolved(x, *layer("deconv0"), 2).transpose(0, 2, 3, 1)


def written_as(state, kind, path):
    """A file of that kind with these arrays."""
    if kind == "caffemodel":
        path.write_bytes(new_format(state))
    elif kind == "safetensors":
        safetensors_file.write(path, state)
    else:
        names = {"bare": "{}.{}", "whole": "G.{}.{}", "nested": "{}.1.{}"}[kind]
        storages = {name: Storage(str(n), array.tobytes()) for n, (name, array) in enumerate(state.items())}
        tensors = {
            names.format(*name.split(".")): Tensor(storages[name], 0, array.shape, strides(array.shape))
            for name, array in state.items()
        }
        path.write_bytes(zip_format(tensors, list(storages.values())))


def strides(shape):
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@pytest.mark.parametrize("module", [SMALL, MAPS], ids=["fc6", "pool5"])
@pytest.mark.parametrize("kind", ["caffemodel", "safetensors", "bare", "whole", "nested"])
def test_published_weights_make_the_images_of_the_published_definitions(tmp_path, kind, module):
    state, codes = published(module), RNG.normal(size=(2, *CODES[module])).astype("f")
    written_as(state, kind, tmp_path / "generator")
    variables = deepsim.read_generator(tmp_path / "generator", module, CODES[module])
    found = np.asarray(module.apply(variables, codes))
    np.testing.assert_allclose(found, released(module, state, codes)[..., ::-1], atol=1e-4)


@pytest.mark.parametrize("module", [SMALL, MAPS], ids=["fc6", "pool5"])
def test_own_weights_are_read_as_they_were(tmp_path, module):
    expected = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *CODES[module])))
    found = safetensors_file.fit(deepsim.from_published(published(module), module.start), expected)
    safetensors_file.write(tmp_path / "own.safetensors", safetensors_file.flatten(found))
    again = deepsim.read_generator(tmp_path / "own.safetensors", module, CODES[module])
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, found, again)))


def test_files_that_do_not_fit_are_refused(tmp_path):
    state, path = published(SMALL), tmp_path / "published.safetensors"
    safetensors_file.write(path, state)
    with pytest.raises(ValueError, match=r"does not fit the generator: .*\n.*defc7"):
        deepsim.read_generator(path, SMALL, (10,))
    with pytest.raises(ValueError, match=r"missing: params/Rconv6/bias"):
        deepsim.read_generator(path, MAPS, (4, 5, 6))
    safetensors_file.write(path, state | {"deconv1.bias": state["deconv1.bias"] + 1})
    with pytest.raises(ValueError, match="biases of convolutions that are zero, got deconv1.bias"):
        deepsim.read_generator(path, SMALL, (9,))
    safetensors_file.write(path, {"features.0.weight": np.ones((3, 2), "f"), "scale": np.ones((), "f")})
    with pytest.raises(ValueError, match="does not fit the generator"):
        deepsim.read_generator(path, SMALL, (9,))
