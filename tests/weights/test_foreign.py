"""Files that are not read are called what they are, in a short message with a remedy."""

import io
import json
import zipfile

import numpy as np
import pytest

from xai_jax.weights import safetensors_file


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "content" * 9)
    return stream.getvalue()


def compressed_arrays():
    stream = io.BytesIO()
    np.savez_compressed(stream, kernel=np.ones(9))
    return stream.getvalue()


KINDS = {
    "weights.h5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5 file", "from_keras"),
    "model.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "Keras model", "from_keras"),
    "model.onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.13:", "ONNX", "export its weights"),
    "saved_model.pb": (b"\x08\x01\x12\xff\x01", "TensorFlow model", "export its weights"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(90), "TensorFlow Lite", "export its weights"),
    "model.gguf": (b"GGUF\x03\0\0\0", "GGUF", "export its weights"),
    "net.msgpack": (b"\x81\xa6params\x81\xa4conv", "MessagePack", "msgpack_restore"),
    "net.npz": (compressed_arrays(), "NumPy arrays", "numpy.load"),
    "net.npy": (b"\x93NUMPY\x01\0v\0{'descr'", "NumPy array", "numpy.load"),
    "net.ckpt": (b"\0\0\0\0\x01\x02", "TensorFlow checkpoint", "export its weights"),
    "net.ckpt.data-00000-of-00001": (b"\0\0\0\0\x01\x02", "TensorFlow checkpoint", "export its weights"),
    "imagenet-vgg.mat": (b"MATLAB 5.0 MAT-file, Platform", "MATLAB", "export its weights"),
    "script.pt": (zipped("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), "TorchScript", "torch.jit.load"),
    "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS", "git lfs pull"),
    "page.pth": (b"<!doctype html><html>", "web page", "download"),
    "spaced.pth": (b"\r\n  <html>", "web page", "download"),
    "denied.pth": (b'<?xml version="1.0"?><Error>', "web page", "download"),
    "config.json": (json.dumps({"model_type": "vgg"}).encode(), "JSON", "beside it"),
    "empty.pth": (b"", "empty file", "interrupted download"),
    "net.pth.gz": (b"\x1f\x8b\x08\0", "archive", "unpack"),
    "net.tar": (b"net.pth".ljust(257, b"\0") + b"ustar\x0000" + bytes(250), "archive", "unpack"),
    "deploy.prototxt": (b'# Net\n\nname: "CaffeNet"\nlayer {', "prototxt", "caffemodel"),
    "image.png": (b"\x89PNG\r\n\x1a\n", "image", ""),
    "other.bin": (b"abcdefgh", "starts with", ""),
}


@pytest.mark.parametrize("name", KINDS)
def test_files_are_called_what_they_are(tmp_path, name):
    raw, kind, remedy = KINDS[name]
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=f"got an? .*{kind}|{kind}") as caught:
        safetensors_file.read(path)
    message = str(caught.value)
    assert str(path) in message and remedy in message and len(message) <= 600 and message.isprintable()


def torch_script(path):
    torch = pytest.importorskip("torch")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)), path)


def hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["kernel"] = np.ones(3)


def message_pack(path):
    serialization = pytest.importorskip("flax.serialization")
    path.write_bytes(serialization.to_bytes({"params": {"conv1": {"kernel": np.ones(3)}}}))


@pytest.mark.filterwarnings("ignore::FutureWarning:torch", "ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("name, write", [("TorchScript", torch_script), ("HDF5", hdf5), ("MessagePack", message_pack)])
def test_what_libraries_write_is_called_by_its_name(tmp_path, name, write):
    write(tmp_path / "file")
    with pytest.raises(ValueError, match=name):
        safetensors_file.read(tmp_path / "file")


def test_an_absent_file_is_not_found_and_a_similar_one_is_named(tmp_path):
    (tmp_path / "vgg16-397923af.pth").touch()
    with pytest.raises(FileNotFoundError, match="vgg16.pth, found none. Did you mean 'vgg16-397923af.pth'"):
        safetensors_file.read(tmp_path / "vgg16.pth")
    for path in (tmp_path / "none" / "x", tmp_path / ("long" * 60)):
        with pytest.raises(OSError) as caught:
            safetensors_file.read(path)
        assert len(str(caught.value)) <= 600
