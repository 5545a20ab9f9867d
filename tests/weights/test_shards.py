"""Weights in several files with an index, and what belongs to their digest."""

import json

import ml_dtypes
import numpy as np
import pytest

from experiments.lib import completion
from tests.weights.test_torch_file import example, zip_format
from xai_jax.io import checksums
from xai_jax.models import generators
from xai_jax.weights import safetensors_file, shards

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
ARRAYS = {"conv1.weight": np.arange(6.0).reshape(2, 3), "fc.weight": np.ones(4), "fc.bias": np.zeros(2)}
FILES = {"fc.weight": SECOND, "conv1.weight": FIRST, "fc.bias": SECOND}


def write(folder, files=None, **others):
    """Two files and their index."""
    for file in (FIRST, SECOND):
        safetensors_file.write(folder / file, {name: ARRAYS[name] for name in FILES if FILES[name] == file})
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": files or FILES} | others))
    return path


def test_an_index_stands_for_its_files(tmp_path):
    arrays = safetensors_file.read(write(tmp_path))
    assert list(arrays) == list(FILES)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_an_index_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = write(tmp_path).name
    assert list(safetensors_file.read(f"~/{name}")) == list(FILES)
    assert shards.digest(f"~/{name}") == shards.digest(tmp_path / name)
    (tmp_path / SECOND).unlink()
    with pytest.raises(FileNotFoundError, match=f"Did you mean '{FIRST}'"):
        safetensors_file.read(f"~/{name}")


def test_long_paths_are_shortened(tmp_path):
    folder = tmp_path / ("long" * 50) / ("er" * 100)
    folder.mkdir(parents=True)
    for raw in (
        b"PK\x03\x04" + bytes(99),
        b"\x80\x02}.",
        b"\x0a\x03Net\xff",
        b"abc",
        b'{"weight_map": 3}',
        bytes(8) + b"{",
    ):
        (folder / "weights").write_bytes(raw)
        with pytest.raises(ValueError) as caught:
            safetensors_file.read(folder / "weights")
        assert len(str(caught.value)) <= 600


def test_files_of_pytorch_have_an_index_too(tmp_path):
    state, storages = example()
    for file in "ab":
        (tmp_path / f"pytorch_model-{file}.bin").write_bytes(zip_format({file: state["weight"]}, storages))
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": {file: f"pytorch_model-{file}.bin" for file in "ab"}}))
    assert list(safetensors_file.read(path)) == ["a", "b"]


@pytest.mark.parametrize("file", ["../a", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0b"])
def test_an_index_names_files_beside_it_alone(tmp_path, file):
    path = write(tmp_path, FILES | {"fc.bias": file})
    for call in (safetensors_file.read, shards.digest):
        with pytest.raises(ValueError, match="names of files beside the index"):
            call(path)


@pytest.mark.parametrize(
    "content, complaint",
    [
        ({"weight_map": []}, "file for each entry"),
        ({"weight_map": {"a": 1}}, "file for each entry"),
        ({"weight_map": {}}, "1 to 1000 files"),
        ({"weight_map": {str(n): str(n) for n in range(1001)}}, "1 to 1000 files"),
        ({"architecture": "vgg"}, "a JSON file"),
        ({"weight_map": {"a": "model.safetensors.index.json"}}, "a JSON file"),
    ],
)
def test_other_indices_are_refused(tmp_path, content, complaint):
    path = write(tmp_path)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=complaint) as caught:
        safetensors_file.read(path)
    assert len(str(caught.value)) <= 600


def test_files_that_are_absent_or_lack_entries_are_named(tmp_path):
    path = write(tmp_path, FILES | {"fc.bias": FIRST, "extra": FIRST})
    with pytest.raises(ValueError, match=f"expected fc.bias in {FIRST}, got a file without it, one of 2"):
        safetensors_file.read(path)
    path = write(tmp_path)
    (tmp_path / SECOND).unlink()
    with pytest.raises(FileNotFoundError, match=f"{SECOND}, found none. Did you mean '{FIRST}'"):
        safetensors_file.read(path)


def test_a_digest_covers_all_files(tmp_path):
    path = write(tmp_path)
    before = shards.digest(path)
    assert completion._digests(str(path)) == generators._digest(path) == before
    assert before == shards.digest(write(tmp_path)) != checksums.sha256_of_file(path)
    safetensors_file.write(tmp_path / SECOND, {"fc.weight": np.ones(4), "fc.bias": np.ones(2)})
    assert shards.digest(path) != before
    assert shards.digest(tmp_path / FIRST) == checksums.sha256_of_file(tmp_path / FIRST)


FLOAT8 = {
    "F8_E4M3": ("float8_e4m3fn", [0x38, 0xC4, 0x7E, 0x01], [1, -3, 448, 2**-9]),
    "F8_E5M2": ("float8_e5m2", [0x3C, 0xC2, 0x7B, 0x01], [1, -3, 57344, 2**-16]),
    "F8_E8M0": ("float8_e8m0fnu", [127, 128, 120, 0], [1, 2, 2**-7, 2**-127]),
}


@pytest.mark.parametrize("dtype", FLOAT8)
def test_numbers_of_eight_bits_are_read(tmp_path, dtype):
    name, raw, expected = FLOAT8[dtype]
    header = {"a": [2, 2, 0, 4], "x": [4, 1, 4, 8]}
    header = {
        key: {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        for key, (*shape, begin, end) in header.items()
        for offsets in ([begin, end],)
    }
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4) + bytes(raw))
    arrays = safetensors_file.read(tmp_path / "x")
    assert arrays["x"].dtype == getattr(ml_dtypes, name) and arrays["a"].shape == (2, 2)
    np.testing.assert_array_equal(arrays["x"].astype(np.float64).ravel(), expected)
    if dtype != "F8_E8M0":
        fitted = safetensors_file.fit({"x": arrays["x"]}, {"x": np.zeros((4, 1))})
        np.testing.assert_array_equal(fitted["x"].ravel(), np.float32(expected))


def test_smaller_numbers_and_complex_ones_are_named(tmp_path):
    header = {"x": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(2))
    with pytest.raises(ValueError, match="8 bits or more in x, got F4. Convert them"):
        safetensors_file.read(tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes().replace(b"F4", b"Q4"))
    with pytest.raises(ValueError, match="numbers of a known type, got Q4. Convert them"):
        safetensors_file.read(tmp_path / "x")
    with pytest.raises(ValueError, match="dtype: x expected numbers, got complex64"):
        safetensors_file.fit({"x": np.ones(2, np.complex64)}, {"x": np.zeros(2)})
