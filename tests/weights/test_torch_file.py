"""The .pth reader against files written by hand with the standard library, and against torch where it is installed."""

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.weights.test_caffe_file import FUZZING
from xai_jax.weights import safetensors_file, torch_file

VALUES = np.arange(12, dtype="<f4") - 3
PROTOCOL = 2  # of pickles


class Storage:
    """Stands for torch's storage while a pickle is written."""

    def __init__(self, key, raw, kind="FloatStorage", size=None):
        self.key, self.raw, self.kind = key, raw, kind
        self.size = len(raw) // 4 if size is None else size


class Tensor:
    """Stands for torch's tensor while a pickle is written."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return FAKE["torch._utils"]._rebuild_tensor_v2, (*self.arguments, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        return "storage", getattr(FAKE["torch"], value.kind), value.key, "cpu", value.size


def fake_module(name, *members):
    """A module whose members pickle as references to `name.member`."""
    module = types.ModuleType(name)
    for member in members:
        setattr(module, member, type(member, (), {"__module__": name, "__qualname__": member}))
    return module


DTYPES = {"DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}
DTYPES |= {"ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?"}
FAKE = {
    "torch": fake_module("torch", "FloatStorage", "BFloat16Storage", *DTYPES),
    "torch._utils": fake_module("torch._utils", "_rebuild_tensor_v2"),
}


def pickled(value):
    stream = io.BytesIO()
    with mock.patch.dict(sys.modules, FAKE):
        Pickler(stream, protocol=PROTOCOL, fix_imports=False).dump(value)
    return stream.getvalue()


def old_format(state, storages):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    keys = [storage.key for storage in storages]
    head = [torch_file.MAGIC, 1001, system, state, keys]
    raw = [struct.pack("<q", storage.size) + storage.raw for storage in storages]
    return b"".join([pickled(part) for part in head] + raw)


def zip_format(state, storages, compression=zipfile.ZIP_STORED, extra=()):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("model/data.pkl", pickled(state))
        archive.writestr("model/byteorder", "little")
        for storage in storages:
            archive.writestr(f"model/data/{storage.key}", storage.raw)
        for name, raw in extra:
            archive.writestr(name, raw)
    return stream.getvalue()


FORMATS = pytest.mark.parametrize("form", [old_format, zip_format])


def example(shape=(3, 4), strides=(4, 1), offset=0, **kwargs):
    storage = Storage("7", VALUES.tobytes(), **kwargs)
    return collections.OrderedDict(weight=Tensor(storage, offset, shape, strides)), [storage]


def saved(tmp_path, raw):
    path = tmp_path / "weights.bin"  # content decides, not the name
    path.write_bytes(raw)
    return path


@FORMATS
def test_reads_contiguous_transposed_sliced_and_scalar_tensors(tmp_path, form):
    storage = Storage("7", VALUES.tobytes())
    state = {
        "plain": Tensor(storage, 0, (3, 4), (4, 1)),
        "transposed": Tensor(storage, 0, (4, 3), (1, 4)),
        "column": Tensor(storage, 2, (3,), (4,)),
        "scalar": Tensor(storage, 5, (), ()),
        "empty": Tensor(storage, 0, (0, 4), (4, 1)),
    }
    arrays = safetensors_file.read(saved(tmp_path, form(state, [storage])))
    grid = VALUES.reshape(3, 4)
    expected = {"plain": grid, "transposed": grid.T, "column": grid[:, 2], "scalar": grid[1, 1], "empty": grid[:0]}
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].shape == array.shape and arrays[name].dtype == np.float32


@FORMATS
@pytest.mark.parametrize("kind", DTYPES)
def test_reads_every_dtype(tmp_path, form, kind):
    expected = np.array([0, 1, 3]).astype(DTYPES[kind])
    storage = Storage("0", expected.tobytes(), kind, 3)
    array = safetensors_file.read(saved(tmp_path, form({"x": Tensor(storage, 0, (3,), (1,))}, [storage])))["x"]
    np.testing.assert_array_equal(array, expected)
    assert array.dtype == expected.dtype


def test_reads_bfloat16(tmp_path):
    storage = Storage("0", b"\x80\x3f\x00\xc0", "BFloat16Storage", 2)
    array = safetensors_file.read(saved(tmp_path, zip_format({"x": Tensor(storage, 0, (2,), (1,))}, [storage])))["x"]
    np.testing.assert_array_equal(array.astype(np.float32), [1, -2])


def test_takes_the_state_dict_of_a_checkpoint(tmp_path):
    state, storages = example()
    path = saved(tmp_path, zip_format({"epoch": 3, "state_dict": state}, storages))
    assert list(safetensors_file.read(path)) == ["weight"]


@FORMATS
@pytest.mark.parametrize(
    "shape, strides, offset",
    [((3, 4), (4, 1), 1), ((13,), (1,), 0), ((2,), (-1,), 3), ((2, 12), (0, 1), 0), ((2**40,), (0,), 0)],
    ids=["offset", "too long", "negative stride", "overlapping", "huge"],
)
def test_refuses_tensors_outside_their_storage(tmp_path, form, shape, strides, offset):
    state, storages = example(shape, strides, offset)
    with pytest.raises(ValueError, match="inside its storage|whole numbers"):
        safetensors_file.read(saved(tmp_path, form(state, storages)))


@FORMATS
def test_refuses_storages_of_another_size(tmp_path, form):
    state, storages = example(size=2**50)
    with pytest.raises(ValueError, match="bytes in storage"):
        safetensors_file.read(saved(tmp_path, form(state, storages)))


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ATTACKS = {
    f"{os.system.__module__}.system": lambda path: Malicious(os.system, f"touch {path}"),
    "builtins.eval": lambda path: Malicious(eval, f"open({str(path)!r}, 'w')"),
    "builtins.getattr": lambda path: Malicious(getattr, Malicious(__import__, "os"), "system"),
    "builtins.exec": lambda path: {"x": [Malicious(exec, f"open({str(path)!r}, 'w')")]},
}


@FORMATS
@pytest.mark.parametrize("name", ATTACKS)
def test_refuses_code_by_name_and_does_not_run_it(tmp_path, form, name):
    touched = tmp_path / "touched"
    with pytest.raises(ValueError, match=f"Refused '{name}'"):
        safetensors_file.read(saved(tmp_path, form(ATTACKS[name](touched), [])))
    assert not touched.exists()


def test_refuses_code_in_the_newer_protocol(tmp_path):
    raw = pickle.dumps(Malicious(os.system, "true"), protocol=4)
    with pytest.raises(ValueError, match=f"Refused '{os.system.__module__}.system'"):
        safetensors_file.read(saved(tmp_path, raw))


@pytest.mark.parametrize(
    "instructions, complaint",
    [
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "exhausted"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.", "NEWOBJ"),
        (b"\x80\x02P0\n.", "PERSID"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "damaged"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "another call"),
        (b"\x80\x02.", "one object"),
        (b"\x80\x02e.", "mark"),
        (b"\x80\x02}", "ended|exhausted|stop"),
        (b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "expected 9223372036854775807 bytes"),
    ],
)
def test_refuses_odd_pickles(tmp_path, instructions, complaint):
    with pytest.raises(ValueError, match=complaint):
        safetensors_file.read(saved(tmp_path, instructions))


def test_refuses_compressed_and_duplicate_members(tmp_path):
    state, storages = example()
    with pytest.raises(ValueError, match="uncompressed"):
        safetensors_file.read(saved(tmp_path, zip_format(state, storages, zipfile.ZIP_DEFLATED)))
    with pytest.warns(UserWarning, match="Duplicate"):
        raw = zip_format(state, storages, extra=[("model/data/7", b"other")])
    with pytest.raises(ValueError, match="duplicates"):
        safetensors_file.read(saved(tmp_path, raw))


def test_refuses_big_endian_and_archives_without_a_pickle(tmp_path):
    state, storages = example()
    big = zip_format(state, storages).replace(b"little", b"bigend")
    with pytest.raises(ValueError, match="byte order|damaged"):
        safetensors_file.read(saved(tmp_path, big))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="one data.pkl"):
        safetensors_file.read(saved(tmp_path, stream.getvalue()))


@pytest.mark.parametrize("state", [{"x": 3}, {3: 4}, [1], "text"], ids=str)
def test_refuses_other_objects_than_state_dictionaries(tmp_path, state):
    with pytest.raises(ValueError, match="state_dict"):
        safetensors_file.read(saved(tmp_path, zip_format(state, [])))


def damage(data, raw):
    if data.draw(st.booleans()):
        return raw[: data.draw(st.integers(0, len(raw) - 1))]
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    return bytes(damaged)


@FORMATS
@given(data=st.data())
@FUZZING
def test_damaged_files_raise_value_error_only(tmp_path, form, data):
    path = saved(tmp_path, damage(data, form(*example())))
    try:
        arrays = safetensors_file.read(path)
    except ValueError:
        return
    assert sum(array.size for array in arrays.values()) <= 2 * path.stat().st_size


@pytest.mark.parametrize("is_zip", [True, False])
def test_reads_what_torch_writes(tmp_path, is_zip):
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    state = net.state_dict()
    state["transposed"] = torch.randn(3, 5, generator=generator).T
    state["sliced"] = torch.randn(6, 5, generator=generator)[1::2, 1:3]
    state["half"] = torch.randn(4, generator=generator).half()
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    state["flags"] = torch.tensor([True, False])
    path = tmp_path / "state.pt"
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    arrays = safetensors_file.read(path)
    expected = torch.load(path, weights_only=True)
    assert list(arrays) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(arrays[name], tensor.detach().numpy())
        assert arrays[name].dtype == tensor.detach().numpy().dtype
