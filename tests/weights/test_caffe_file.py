"""The .caffemodel reader against files written by hand, and against files that the protobuf package writes."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xai_jax.weights import caffe_file, safetensors_file

RNG = np.random.default_rng(0)
FUZZING = settings(max_examples=400, derandomize=True, deadline=2000, suppress_health_check=list(HealthCheck))
ARRAYS = {
    "conv1.weight": RNG.normal(size=(4, 3, 2, 5)).astype("f"),
    "conv1.bias": RNG.normal(size=4).astype("f"),
    "fc8.weight": RNG.normal(size=(7, 6)).astype("f"),
    "fc8.bias": RNG.normal(size=7).astype("f"),
}


def varint(number):
    """Seven bits in each byte, lowest first; negative numbers as 64 bits in two's complement."""
    number %= 1 << 64
    low, rest = number % 128, number // 128
    return bytes([low]) if rest == 0 else bytes([low + 128]) + varint(rest)


def field(number, value):
    """A whole number, a float as 4 bytes, or text, bytes and messages with their length before them."""
    if isinstance(value, int):
        return varint(8 * number) + varint(value)
    if isinstance(value, float):
        return varint(8 * number + 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(8 * number + 2) + varint(len(value)) + value


def old_blob(array, packed=True):
    """num, channels, height, width with ones in front, as files before BlobShape."""
    shape = (1,) * (4 - array.ndim) + array.shape
    dims = b"".join(field(number, size) for number, size in enumerate(shape, 1))
    if packed:
        return dims + field(5, array.astype("<f4").tobytes())
    return dims + b"".join(field(5, float(number)) for number in array.ravel())


def new_blob(array, number=5, dtype="<f4"):
    shape = field(1, b"".join(map(varint, array.shape)))
    return field(7, shape) + field(number, array.astype(dtype).tobytes())


def old_layer(name, kind, blobs, blob=old_blob):
    head = field(2, "data") + field(3, name) + field(4, name) + field(5, kind)
    multipliers = field(7, 1.0) + field(8, 0.5)
    return field(2, head + b"".join(field(6, blob(array)) for array in blobs) + multipliers)


def new_layer(name, kind, blobs, blob=new_blob):
    head = field(1, name) + field(2, kind) + field(3, "data") + field(4, name)
    return field(100, head + b"".join(field(7, blob(array)) for array in blobs) + field(10, 1))


def layers(arrays):
    names = dict.fromkeys(name.split(".")[0] for name in arrays)
    return {name: [array for entry, array in arrays.items() if entry.startswith(f"{name}.")] for name in names}


def old_format(arrays, blob=old_blob):
    body = b"".join(old_layer(name, 4, blobs, blob) for name, blobs in layers(arrays).items())
    return field(1, "Net") + old_layer("data", 5, []) + body + field(3, "data") + field(4, 10)


def new_format(arrays, blob=new_blob):
    body = b"".join(new_layer(name, "Convolution", blobs, blob) for name, blobs in layers(arrays).items())
    return field(1, "Net") + field(5, 1) + new_layer("data", "Input", []) + body


FORMATS = pytest.mark.parametrize("form", [old_format, new_format])


def saved(directory, raw):
    path = directory / "net.caffemodel"
    path.write_bytes(raw)
    return path


def check(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        assert arrays[name].dtype == np.float32 and arrays[name].shape == array.shape


@FORMATS
@pytest.mark.parametrize("name", ["net.caffemodel", "net.bin"])
def test_reads_both_formats_by_content(tmp_path, form, name):
    path = tmp_path / name
    path.write_bytes(form(ARRAYS))
    check(safetensors_file.read(path), ARRAYS)


@pytest.mark.parametrize("raw", [old_format(ARRAYS)[5:], new_format(ARRAYS)[7:]])
def test_reads_nets_without_a_name(tmp_path, raw):
    assert raw[0] != 0x0A
    check(safetensors_file.read(saved(tmp_path, raw)), ARRAYS)


def test_reads_numbers_one_by_one_in_pieces_and_in_double_precision(tmp_path):
    check(
        safetensors_file.read(saved(tmp_path, old_format(ARRAYS, lambda array: old_blob(array, packed=False)))), ARRAYS
    )
    check(safetensors_file.read(saved(tmp_path, new_format(ARRAYS, lambda array: new_blob(array, 8, "<f8")))), ARRAYS)

    def pieces(array):
        raw = array.astype("<f4").tobytes()
        return field(5, raw[:4]) + b"".join(field(7, field(1, size)) for size in array.shape) + field(5, raw[4:])

    check(safetensors_file.read(saved(tmp_path, new_format(ARRAYS, pieces))), ARRAYS)


def test_names_of_further_blobs_and_shapes_without_axes(tmp_path):
    raw = field(1, "Net") + new_layer("scale1", "BatchNorm", [np.float32([1, 2]), np.float32([3]), np.array(4.0)])
    arrays = safetensors_file.read(saved(tmp_path, raw))
    assert {name: array.shape for name, array in arrays.items()} == {
        "scale1.weight": (2,),
        "scale1.bias": (1,),
        "scale1.blob2": (),
    }


def test_only_leading_ones_of_old_shapes_are_dropped(tmp_path):
    arrays = {"fc.weight": np.ones((1, 5), "f"), "fc.bias": np.ones(1, "f"), "conv.weight": np.ones((1, 3, 1, 1), "f")}
    check(safetensors_file.read(saved(tmp_path, old_format(arrays))), arrays)


def test_doubles_too_large_for_float32_are_infinite(tmp_path):
    raw = new_format({"a.weight": np.float64([1e300, np.nan, 2])}, lambda array: new_blob(array, 8, "<f8"))
    np.testing.assert_array_equal(
        safetensors_file.read(saved(tmp_path, raw))["a.weight"], np.float32([np.inf, np.nan, 2])
    )


ONE = np.ones(3, "f")
DATA = field(5, ONE.tobytes())
BAD_BLOBS = {
    "shape too large": field(7, field(1, varint(4))) + DATA,
    "shape too small": field(7, field(1, varint(2))) + DATA,
    "old shape": field(1, 1) + field(2, 1) + field(3, 1) + field(4, 4) + DATA,
    "no shape": DATA,
    "negative shape": field(7, field(1, varint(-3) + varint(-1))) + DATA,
    "gigantic shape": field(7, field(1, varint(1 << 62) + varint(1 << 62))) + DATA,
    "too many axes": field(7, field(1, varint(3) + varint(1) * 40)) + DATA,
    "no numbers": field(7, field(1, varint(0))),
    "no numbers in a gigantic shape": field(7, field(1, varint(0) + varint(1 << 62))),
    "parts of a number": field(7, field(1, varint(3))) + field(5, bytes(11)),
    "numbers as text of 8 bytes": field(7, field(1, varint(3))) + varint(8 * 5 + 1) + bytes(8),
    "a number for a shape": field(7, 3) + DATA,
    "a shape for a number": field(1, field(1, 3)) + DATA,
}
NAMED = ("shape too large", "old shape", "negative shape", "gigantic shape", "no numbers")


@pytest.mark.parametrize("case", BAD_BLOBS)
@pytest.mark.parametrize("layers, name, blobs", [(2, 4, 6), (100, 1, 7)])
def test_refuses_blobs_that_make_no_sense(tmp_path, case, layers, name, blobs):
    raw = field(1, "Net") + field(layers, field(name, "ip1") + field(blobs, BAD_BLOBS[case]))
    which = r"(.|\n)*the numbers of shape \[.*\] in ip1.weight, got [03]\." if case in NAMED else ""
    with pytest.raises(ValueError, match=f"net.caffemodel: expected a Caffe model{which}(.|\n)*Usual cause"):
        safetensors_file.read(saved(tmp_path, raw))


LAYER = new_layer("a", "Scale", [ONE])
BAD_FILES = {
    "no weights": field(1, "Net") + new_layer("data", "Input", []),
    "only a name": field(1, "Net"),
    "a layer twice": field(1, "Net") + LAYER + LAYER,
    "a page": b"\n<!doctype html><html><body>Not found</body></html>",
    "field number zero": field(1, "Net") + field(0, "abc") + LAYER,
    "groups": field(1, "Net") + varint(8 * 9 + 3) + LAYER + varint(8 * 9 + 4),
    "a varint of eleven bytes": field(1, "Net") + varint(8 * 5) + b"\x80" * 10 + b"\x01" + LAYER,
    "an endless varint": field(1, "Net") + varint(8 * 5) + b"\xff" * 1000,
    "a length beyond the file": field(1, "Net") + LAYER + varint(8 * 3 + 2) + varint(1 << 63),
    "half a fixed number": field(1, "Net") + LAYER + varint(8 * 3 + 5) + b"ab",
    "a number for a layer": field(1, "Net") + field(100, 1),
    "a name that is no text": field(1, "Net") + field(100, field(1, b"\xff\xfe") + field(7, new_blob(ONE))),
    "nested nets": field(1, "Net") + field(2, field(2, b"\x12\x02" * 5000) + b"\x12"),
}


@pytest.mark.parametrize("raw", BAD_FILES.values(), ids=BAD_FILES)
def test_refuses_what_is_no_net(tmp_path, raw):
    with pytest.raises(ValueError, match="net.caffemodel: expected a Caffe model(.|\n)*Usual cause"):
        safetensors_file.read(saved(tmp_path, raw))


def test_an_absent_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        caffe_file.read(tmp_path / "absent.caffemodel")


@FORMATS
@given(data=st.data())
@FUZZING
def test_damaged_files_raise_value_error_only(tmp_path, form, data):
    raw = bytearray(form({name: array[:2] for name, array in ARRAYS.items()}))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = saved(tmp_path, raw[: data.draw(st.integers(0, len(raw)))])
    try:
        arrays = caffe_file.read(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert 4 * sum(array.size for array in arrays.values()) <= path.stat().st_size


@FORMATS
def test_every_cut_is_refused_or_keeps_whole_layers(tmp_path, form):
    raw = form({name: array[:2] for name, array in ARRAYS.items()})
    found = set()
    for end in range(len(raw)):
        try:
            arrays = caffe_file.read(saved(tmp_path, raw[:end]))
        except ValueError:
            continue
        found.add(tuple(arrays))
    assert found <= {tuple(ARRAYS)[:2], tuple(ARRAYS)}


def messages():
    """Caffe's messages as classes of the protobuf package, with the field numbers of caffe.proto."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    proto = descriptor_pb2.FileDescriptorProto(name="twin.proto", package="twin", syntax="proto2")
    one, many = 1, 3  # optional, repeated
    kinds = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "enum": 5}

    def message(name, *fields):
        added = proto.message_type.add(name=name)
        for number, label, kind, field_name, *packed in fields:
            entry = added.field.add(name=field_name, number=number, label=label, type=kinds.get(kind, 11))
            if kind not in kinds:
                entry.type_name = f".twin.{kind}"
            if packed:
                entry.options.packed = True

    message("BlobShape", (1, many, "int64", "dim", True))
    sizes = [(number, one, "int32", name) for number, name in enumerate(("num", "channels", "height", "width"), 1)]
    numbers = [(5, many, "float", "data", True), (6, many, "float", "diff", True)]
    message("BlobProto", *sizes, *numbers, (7, one, "BlobShape", "shape"), (8, many, "double", "doubles", True))
    message("Layer", (1, one, "string", "name"), (2, one, "string", "type"), (7, many, "BlobProto", "blobs"))
    message("V1Layer", (4, one, "string", "name"), (5, one, "enum", "type"), (6, many, "BlobProto", "blobs"))
    message("Net", (1, one, "string", "name"), (2, many, "V1Layer", "layers"), (100, many, "Layer", "layer"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("twin.Net"))


@pytest.mark.parametrize("is_old", [True, False])
def test_reads_what_protobuf_writes(tmp_path, is_old):
    net = messages()(name="Net")
    for name, arrays in layers(ARRAYS).items():
        layer = net.layers.add(name=name, type=4) if is_old else net.layer.add(name=name, type="Convolution")
        for array in arrays:
            blob = layer.blobs.add(data=array.ravel().tolist(), diff=[0.5] * array.size)
            if is_old:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
    check(safetensors_file.read(saved(tmp_path, net.SerializeToString())), ARRAYS)
