"""Weights inside checkpoints of trainers, and under the prefixes of parallel and compiled models."""

import argparse
import collections
import datetime
import decimal
import os
import pathlib
import pickle

import numpy as np
import pytest

from tests.weights.test_torch_file import FORMATS, Malicious, Storage, Tensor, old_format, saved, zip_format
from xai_jax.weights import safetensors_file, wrappers

VALUES = np.arange(12, dtype="<f4") - 3
NAMES = ("conv1.weight", "conv1.bias", "fc.weight")


def tensors(key, names=NAMES):
    storage = Storage(key, (VALUES + int(key)).tobytes())
    return {name: Tensor(storage, 0, (3, 4), (4, 1)) for name in names}, storage


CYCLE = ([],)  # a tuple within itself
CYCLE[0].append(CYCLE)
BESIDE = {
    "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("runs"), names=["a"]),
    "epoch": np.int64(3),
    "best": np.float64(0.5),
    "history": np.arange(3.0),
    "date": datetime.datetime(2024, 1, 1),
    "decimal": decimal.Decimal("1.5"),
    "cycle": CYCLE,
    "sets": [{1, 2}, frozenset("a"), collections.Counter("aab"), collections.defaultdict(list, a=[1])],
    "keys": {(1, 2): "pair", 0.5: "half", None: "none", b"raw": b"raw"},
    "large": [2**80, 1j, float("inf"), bytearray(b"x"), b"y" * 300],
    "named": collections.OrderedDict(a=1),
    "text": "resnet",
}


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net", "network", "ema", "mine"])
def test_the_state_dictionary_is_found_beside_whatever_else(tmp_path, form, wrapper, protocol, monkeypatch):
    state, storage = tensors("7")
    other = Tensor(random := Storage("8", b"\1" * 8), 0, (2,), (1,))
    optimizer = {"state": {0: {"momentum_buffer": other}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    checkpoint = BESIDE | {"optimizer": optimizer, wrapper: state, "rng_state": other, "scheduler": {"last": other}}
    monkeypatch.setattr("tests.weights.test_torch_file.PROTOCOL", protocol)
    arrays = safetensors_file.read(saved(tmp_path, form(checkpoint, [storage, random])))
    assert list(arrays) == list(NAMES)
    np.testing.assert_array_equal(arrays["fc.weight"], VALUES.reshape(3, 4) + 7)


@pytest.mark.parametrize(
    "checkpoint, read",
    [
        ({"ema": "1", "model": "2"}, 2),
        ({"model_ema": "1", "model": "2"}, 2),
        ({"state_dict_ema": "1", "state_dict": "2", "model": "1"}, 2),
        ({"teacher": "1", "model": "2"}, 2),
        ({"swa_state_dict": "1", "mine": "2"}, 2),
        ({"params_ema": "1", "params": "2"}, 2),
        ({"ema": {"decay": 0.9, "shadow": "1"}, "model": None}, 1),
        ({"checkpoint": {"epoch": 3, "state_dict": "1"}}, 1),
    ],
)
def test_own_weights_come_before_their_average_and_the_log_says_so(checkpoint, read, caplog):
    def replaced(value):
        if isinstance(value, dict):
            return {name: replaced(inner) for name, inner in value.items()}
        return dict.fromkeys(NAMES, np.array(int(value))) if isinstance(value, str) else value

    found = wrappers.state_dict(replaced(checkpoint), lambda value: isinstance(value, np.ndarray))
    assert list(found) == list(NAMES) and found["fc.weight"] == read
    assert ("is read" in caplog.text) == (sum(isinstance(value, str) for value in checkpoint.values()) > 1)


def test_a_few_tensors_of_a_known_name_are_no_network():
    network = dict.fromkeys(NAMES, np.ones(1))
    for checkpoint in ({"mine": network, "weights": {"loss": np.ones(1)}}, network | {"weights": {"loss": np.ones(1)}}):
        assert list(wrappers.state_dict(checkpoint, lambda value: isinstance(value, np.ndarray))) == list(NAMES)


def test_the_log_names_averages_with_entries_of_their_own(caplog):
    network = dict.fromkeys(NAMES, np.ones(1))
    checkpoint = {"model_ema": network | {"n_averaged": np.ones(())}, "model": network}
    assert wrappers.state_dict(checkpoint, lambda value: isinstance(value, np.ndarray)) == network
    assert "'model', 'model_ema': 'model' is read" in caplog.text


def test_a_state_dictionary_is_read_beside_larger_ones():
    small, large = ({str(n): np.ones(1) for n in range(count)} for count in (2, 9))
    for checkpoint in ({"bank": large, "state_dict": small}, {"state_dict": small, "bank": large}):
        assert wrappers.state_dict(checkpoint, lambda value: isinstance(value, np.ndarray)) == small


def test_entries_beside_tensors_are_passed_over_and_two_networks_are_refused(tmp_path):
    state, storage = tensors("7")
    path = saved(tmp_path, zip_format(state | {"epoch": 3, "arguments": argparse.Namespace()}, [storage]))
    assert list(safetensors_file.read(path)) == list(NAMES)
    two = {"generator": tensors("7")[0], "discriminator": tensors("8")[0]}
    with pytest.raises(ValueError, match="one network, got those of 'generator', 'discriminator'"):
        safetensors_file.read(saved(tmp_path, zip_format(two, [storage])))


@FORMATS
def test_code_beside_tensors_is_not_run(tmp_path, form):
    state, storage = tensors("7")
    touched = tmp_path / "touched"
    malicious = Malicious(os.system, f"touch {touched}")
    arrays = safetensors_file.read(saved(tmp_path, form({"x": [malicious], "model": state}, [storage])))
    assert list(arrays) == list(NAMES) and not touched.exists()


class Whole:
    """A model that is saved whole."""

    def __init__(self):
        self._parameters = tensors("7")[0]


@pytest.mark.parametrize("form", [old_format, zip_format])
def test_whole_models_are_refused_by_the_name_of_their_class(tmp_path, form):
    for value in (Whole(), {"model": Whole(), "ema": None, "epoch": 1}):
        with pytest.raises(ValueError, match=r"Refused '.*Whole'.*save `model.state_dict\(\)`") as caught:
            safetensors_file.read(saved(tmp_path, form(value, [tensors("7")[1]])))
        assert len(str(caught.value)) <= 600


def test_dictionaries_that_hold_themselves_or_each_other_end():
    loop = {"a": {}, "model": {}}
    loop["model"]["model"], loop["a"]["b"] = loop, loop
    shared = {str(n): {} for n in range(1000)}
    levels = {str(n): shared for n in range(1000)}
    for value in (loop, {str(n): levels for n in range(1000)}, [loop], None):
        assert wrappers.state_dict(value, lambda value: isinstance(value, np.ndarray)) == {}


WRAPPED = {
    "module.conv1.weight module.fc.bias": "conv1.weight fc.bias",
    "module._orig_mod.conv1.weight module._orig_mod.fc.bias": "conv1.weight fc.bias",
    "model.backbone.conv1.weight model.backbone.fc.bias": "conv1.weight fc.bias",
    "n_averaged module.conv1.weight module.fc.bias": "conv1.weight fc.bias",
    "features.module.0.weight classifier.0.weight": "features.0.weight classifier.0.weight",
    "features._orig_mod.0.weight classifier.0.weight": "features.0.weight classifier.0.weight",
    "net/params/conv1/kernel net/batch_stats/norm/mean": "params/conv1/kernel batch_stats/norm/mean",
    "params/conv1/kernel params/fc/kernel": "params/conv1/kernel params/fc/kernel",
    "params/a/conv1/kernel params/a/fc/kernel": "params/a/conv1/kernel params/a/fc/kernel",
    "conv1.weight conv1.bias": "conv1.weight conv1.bias",
    "module.conv1.weight module.conv1.bias": "conv1.weight conv1.bias",
    "conv1.weight conv1.extra.weight": "conv1.weight conv1.extra.weight",
    "features.0.weight features_2.0.weight": "features.0.weight features_2.0.weight",
    "weight bias": "weight bias",
    "module": "module",
    "": "",
}


@pytest.mark.parametrize("names", WRAPPED)
def test_names_without_what_is_wrapped_around_them(names):
    arrays = {name: np.array(number) for number, name in enumerate(names.split())}
    found = wrappers.unwrapped(arrays)
    assert list(found) == WRAPPED[names].split()
    assert all(found[own] is array for own, array in zip(found, list(arrays.values())[-len(found) :], strict=True))


def test_two_entries_of_one_name_are_refused():
    with pytest.raises(ValueError, match="with and without a prefix"):
        wrappers.unwrapped({"a.module.weight": np.ones(1), "a.weight": np.ones(1), "b.weight": np.ones(1)})


@pytest.mark.parametrize("is_zip", [True, False])
def test_reads_a_training_that_torch_saves(tmp_path, is_zip):
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    average = torch.optim.swa_utils.AveragedModel(net)
    plain = {
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "size": torch.Size([1]),
        "rng": torch.get_rng_state(),
    }
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5]).state_dict()
    own = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "lr_scheduler": schedule}
    torch.save(BESIDE | plain | own | {"model_ema": average.state_dict()}, path := tmp_path / "checkpoint.pth")
    for checkpoint in (own, {"model_ema": average.state_dict()}):
        torch.save(BESIDE | plain | checkpoint, path, _use_new_zipfile_serialization=is_zip)
        arrays = wrappers.unwrapped(safetensors_file.read(path))
        assert list(arrays) == list(net.state_dict())
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(arrays[name], tensor.numpy())


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_of_small_and_of_other_kinds(tmp_path, is_zip):
    torch = pytest.importorskip("torch")
    values, path = torch.tensor([0.5, -1.5, 3.0]), tmp_path / "x.pth"
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16):
        torch.save({"x": values.abs().to(dtype), "y": values}, path, _use_new_zipfile_serialization=is_zip)
        expected = values.abs().to(dtype).to(torch.float32)
        np.testing.assert_array_equal(safetensors_file.read(path)["x"].astype("f"), expected)
    torch.save({"x": values.to_sparse(), "y": values}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ValueError, match="plain tensors, got one by 'torch._utils._rebuild_sparse_tensor'"):
        safetensors_file.read(path)


def test_a_plain_pickle_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="PyTorch's magic number|exhausted"):
        safetensors_file.read(saved(tmp_path, pickle.dumps({"model": [1]}, protocol=2)))
