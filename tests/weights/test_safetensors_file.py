"""Reading by content, writing whole files, and fitting entries to a network."""

import json
import os
import runpy
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.weights.test_caffe_file import FUZZING
from xai_jax import models
from xai_jax.weights import safetensors_file

ARRAYS = {
    "params/conv1/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "params/conv1/bias": np.float16([1, 2]),
    "count": np.int64(3),
}


def safetensors_bytes(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_written_arrays_are_read_back_and_transposed_ones_keep_their_order(tmp_path):
    path = tmp_path / "weights.pth"  # content decides, not the name
    written = ARRAYS | {"turned": ARRAYS["params/conv1/kernel"].T}
    safetensors_file.write(path, written, {"network": "tiny"})
    arrays = safetensors_file.read(path)
    for name, array in written.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype and arrays[name].shape == np.shape(array)
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_reads_safetensors_laid_out_by_hand(tmp_path):
    path = tmp_path / "x.safetensors"
    header = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    path.write_bytes(safetensors_bytes(header, b"\x80\x3f\x00\xc0"))
    array = safetensors_file.read(path)["x"]
    assert array.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(array.astype(np.float32), [1, -2])


@pytest.mark.parametrize("first", [0x80, 0x50, 0x0A, 0x12])
def test_a_length_that_begins_like_another_format_is_safetensors_still(tmp_path, first):
    header = {"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    size = next(n for n in range(first, 4096, 256) if n > len(json.dumps(header)))
    text = json.dumps(header).ljust(size).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", size) + text + b"\x07")
    assert safetensors_file.read(tmp_path / "x") == {"x": 7}


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    safetensors_file.write(path, ARRAYS)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        safetensors_file.write(path, {"x": np.ones(3)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_refuses_to_write_what_safetensors_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="complex128"):
        safetensors_file.write(tmp_path / "x", {"x": np.ones(2, np.complex128)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("raw", [b"", b"\x80", b"PK\x03\x04", b"<!doctype html><html>", b"version https://git-lfs"])
def test_refuses_what_is_neither_format(tmp_path, raw):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="weights.safetensors"):
        safetensors_file.read(path)
    with pytest.raises(FileNotFoundError):
        safetensors_file.read(tmp_path / "absent")


@given(data=st.data())
@FUZZING
def test_damaged_safetensors_raise_value_error_only(tmp_path, data):
    path = tmp_path / "x.safetensors"
    header = {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    raw = bytearray(safetensors_bytes(header, bytes(8)))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        safetensors_file.read(path)
    except ValueError:
        pass


def test_flatten_and_unflatten_are_inverse():
    tree = {"params": {"conv1": {"kernel": 1, "bias": 2}}, "batch_stats": {"norm": {"mean": 3}}}
    flat = {"params/conv1/kernel": 1, "params/conv1/bias": 2, "batch_stats/norm/mean": 3}
    assert safetensors_file.flatten(tree) == flat
    assert safetensors_file.unflatten(flat) == tree


EXPECTED = {"params": {"a": jax.ShapeDtypeStruct((2, 3), jnp.float32), "b": jax.ShapeDtypeStruct((3,), jnp.float32)}}


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, np.int32])
def test_fit_gives_float32_in_the_tree_of_the_network(dtype):
    arrays = {"params/b": np.ones(3, dtype), "params/a": np.full((2, 3), 2, dtype)}
    variables = safetensors_file.fit(arrays, EXPECTED)
    assert jax.tree.structure(variables) == jax.tree.structure(EXPECTED)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(variables["params"]["a"], np.full((2, 3), 2))


def test_fit_lists_every_problem_at_once():
    expected = {"params": EXPECTED["params"] | {name: EXPECTED["params"]["b"] for name in "cd"}}
    arrays = {"params/a": np.ones((3, 2)), "params/c": np.array([1, np.nan, 3]), "extra": np.ones(4)}
    arrays["params/d"] = np.ones(3, bool)
    with pytest.raises(ValueError) as caught:
        safetensors_file.fit(arrays, expected)
    for line in (
        "missing: params/b (3,)",
        "unexpected: extra (4,)",
        "shape: params/a expected (2, 3), got (3, 2)",
        "not finite: params/c",
        "dtype: params/d expected numbers, got bool",
    ):
        assert line in str(caught.value)


@pytest.fixture
def convert():
    return runpy.run_path(Path(__file__).parents[2] / "scripts/convert_weights.py")["main"]


def test_convert_weights_writes_what_load_reads(tmp_path, convert, capsys):
    variables = models.load("digits").variables
    source, destination = str(tmp_path / "source"), str(tmp_path / "out.safetensors")
    safetensors_file.write(source, jax.tree.map(np.float64, safetensors_file.flatten(variables)))
    assert convert(["digits", source, destination]) == 0
    assert "9,930 numbers" in capsys.readouterr().out
    loaded = models.load("digits", destination).variables
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_convert_weights_writes_nothing_when_entries_do_not_fit(tmp_path, convert, capsys):
    source, destination = tmp_path / "source", tmp_path / "out.safetensors"
    safetensors_file.write(source, ARRAYS)
    assert convert(["digits", str(source), str(destination)]) == 1
    assert "missing: params/dense/kernel" in capsys.readouterr().err
    assert convert(["digit", str(source), str(destination)]) == 1
    message = capsys.readouterr().err
    assert "got 'digit'. Did you mean 'digits'?" in message and len(message) <= 600
    assert not destination.exists()
