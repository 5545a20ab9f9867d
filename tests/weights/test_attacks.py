"""Crafted files are refused quickly, in little memory and with one short printable line that names the file."""

import os
import struct
import tracemalloc

import numpy as np
import pytest

from tests.weights.test_caffe_file import field
from xai_jax.weights import safetensors_file

START, STOP = b"\x80\x04", b"."


def text(value):
    return b"\x8c" + bytes([len(value)]) + value


def tuple_graph(levels):
    """A tuple of two references to a tuple of two references and so on: 2 ** levels objects to print."""
    pairs = (b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86\x94" for k in range(levels))
    return text(b"x") + b"\x94" + b"".join(pairs)


ORDERED = b"ccollections\nOrderedDict\n"
ATTACKS = {
    "a name that is a tuple graph": START + tuple_graph(60) + b"\x93" + STOP,
    "a call of a tuple graph": START + tuple_graph(60) + b"R" + STOP,
    "a state of a tuple graph": START + tuple_graph(60) + STOP,
    "a key that is a tuple graph": START + b"}" + tuple_graph(60) + b"K\x01s" + STOP,
    "an ordered dictionary of tuples": START + ORDERED + text(b"a") + b"K\x01\x86\x85\x85R" + STOP,
    "an ordered dictionary of text": START + ORDERED + text(b"ab") + b"\x85\x85R" + STOP,
    "five million lists": START + b"]" * 5_000_000 + STOP,
    "five million memos": START + b"]" + b"\x94" * 5_000_000 + STOP,
    "a name of control characters": START + b"cos\x1b]0;owned\x07\r\nsystem\n" + STOP,
    "a name of a million letters": START + b"c" + b"a" * 1_000_000 + b"\nsystem\n" + STOP,
    "a shape of 400,000 axes": field(1, "n") + field(100, field(1, "a") + field(7, b"\x3a\x02\x08\x01" * 400_000)),
    "a header of another size": struct.pack("<Q", 2**62) + b"{",
    "a header of control characters": struct.pack("<Q", 30) + b'{"\x1b[31m\n": 1'.ljust(30),
    "an entry of control characters": struct.pack("<Q", 40) + b'{"\\u001b[31m": {"dtype": "NO"}}'.ljust(40),
}


@pytest.mark.parametrize("raw", ATTACKS.values(), ids=ATTACKS)
def test_crafted_files_are_refused_in_one_short_line(tmp_path, raw):
    path = tmp_path / "evil.weights"
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            safetensors_file.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert str(path) in message and len(message) <= 600 and message.isprintable()
    assert peak < 2e8 + 10 * len(raw)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "weights"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ValueError, match="expected a file, got a device, a pipe or a directory"):
        safetensors_file.read(path)


def test_messages_about_entries_that_do_not_fit_are_short():
    arrays = {f"\x1b{number}\n" * 50: np.zeros(3) for number in range(1000)}
    with pytest.raises(ValueError, match="and 998 more") as caught:
        safetensors_file.fit(arrays, {"kernel": np.zeros(2)})
    assert len(str(caught.value)) <= 600 and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays, metadata",
    [({"__metadata__": np.ones(2)}, {}), ({"x": np.ones(2)}, {"sha256": "0"}), ({"\ud800": np.ones(2)}, {})],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, arrays, metadata):
    path = tmp_path / "weights.safetensors"
    safetensors_file.write(path, {"good": np.ones(1)})
    with pytest.raises(ValueError, match="Expected"):
        safetensors_file.write(path, arrays, metadata)
    assert list(safetensors_file.read(path)) == ["good"]


def test_arrays_of_any_byte_order_are_written(tmp_path):
    values = np.arange(5, dtype=">f4")
    safetensors_file.write(tmp_path / "x", {"x": values})
    np.testing.assert_array_equal(safetensors_file.read(tmp_path / "x")["x"], values)
