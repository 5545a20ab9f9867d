"""Checksums: every corrupted byte is detected or has no effect."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.project.test_malformed import READERS
from xai_jax.io import checksums
from xai_jax.io.errors import TrainingError
from xai_jax.training import checkpoints

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see test_train


@pytest.fixture(scope="module", autouse=True)
def _garbage():
    yield
    gc.collect()


ARRAYS = {"a": np.arange(6, dtype="f"), "b": np.ones((), np.int32), "c": np.zeros((0, 3))}
CHECKED = {"safetensors", "CAV", "stage", "activations"}  # formats with checksums; files of other programs have none


def equal(found, whole):
    return jax.tree.structure(found) == jax.tree.structure(whole) and all(
        np.array_equal(*pair) for pair in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True)
    )


def test_arrays_and_metadata_round_trip(tmp_path):
    (tmp_path / "file").write_bytes(checksums.pack(ARRAYS, {"layer": "conv1"}))
    arrays, about = checksums.read(tmp_path / "file")
    assert equal(arrays, ARRAYS) and about == {"layer": "conv1"}


def test_files_without_a_checksum_are_read(tmp_path):
    (tmp_path / "file").write_bytes(safetensors.numpy.save(ARRAYS))
    assert equal(checksums.read(tmp_path / "file")[0], ARRAYS)


@pytest.mark.parametrize("name", sorted(CHECKED))
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_corrupted_bytes_and_truncation_are_detected(name, every, tmp_path):
    READERS[name].write(tmp_path)
    path, read = tmp_path / "file", lambda: READERS[name].read(tmp_path)
    whole, raw = jax.tree.map(np.array, read()), path.read_bytes()  # a cached activation is the file itself
    refused = 0
    for at in range(0, len(raw), every):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        for content in (bytes(flipped), raw[:at]):
            path.write_bytes(content)
            try:
                found = read()
            except ValueError:
                found = None
            refused += found is None
            assert found is None or equal(found, whole), (at, content == raw[:at])
    assert refused > 1.3 * len(raw) / every


def test_corrupted_checkpoints_restore_the_same_numbers_or_raise(tmp_path):
    state = {"a": jnp.asarray(np.random.default_rng(0).normal(size=300), jnp.float32), "step": jnp.int32(3)}
    store = checkpoints.Checkpoints(tmp_path)
    store.save(3, state)
    store.close()
    assert equal(store.restore(state), state)
    refused = 0
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        raw = path.read_bytes()
        for at in range(0, len(raw), max(1, len(raw) // 32)):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
            try:
                assert equal(store.restore(state), state), (path, at)
            except TrainingError:
                refused += 1
        path.write_bytes(raw)
    assert refused > 20
