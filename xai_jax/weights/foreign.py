"""Files that are not read here, by what they are and what helps.

>>> of_content(b"version https://git-lfs.github.com/spec/v1")
'a Git LFS pointer in place of the file: run `git lfs pull`.'
"""

import re
from collections.abc import Iterable

_CONVERT = "export its weights as safetensors from its own library."
_KERAS = "load it by Keras and adapt the model: `xai_jax.adapt.from_keras`."
_FLAX = "restore it by `flax.serialization.msgpack_restore` and write `safetensors_file.flatten` of the variables."
_ARRAYS = "read it by `numpy.load` and write its arrays by `safetensors_file.write`."

_CONTENTS = {
    rb"\Z": "an empty file. Usual cause: an interrupted download.",
    rb"\x89HDF\r\n\x1a\n": f"an HDF5 file (.h5): {_KERAS}",
    rb"\s*<": "a web page in place of the file: download the file itself. Usual cause: an error or a login.",
    rb"version https://git-lfs": "a Git LFS pointer in place of the file: run `git lfs pull`.",
    rb"\s*[{\[]": "a JSON file, which is no index of shards: give the file of the weights beside it.",
    rb"(#.*\n|\s)*(name|layers?|input)\s*[:{]": "a definition of a Caffe model (.prototxt): give its .caffemodel.",
    rb"[\x81-\x8f][\xa1-\xbf\xd9]|\xde": f"a MessagePack file (.msgpack): {_FLAX}",
    rb"\x93NUMPY": f"a NumPy array (.npy): {_ARRAYS}",
    rb"GGUF": f"a GGUF file: {_CONVERT}",
    rb"(?s:....)TFL3": f"a TensorFlow Lite model (.tflite): {_CONVERT}",
    rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]": f"an ONNX or TensorFlow model (.onnx, .pb): {_CONVERT}",
    rb"MATLAB": f"a MATLAB file (.mat): {_CONVERT}",
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!|(?s:.{257})ustar": "an archive: unpack it.",
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF": "an image.",
}
_ARCHIVES = {
    r".*/constants\.pkl": "a TorchScript archive: load it by `torch.jit.load` and save its `state_dict()`.",
    r"model\.weights\.h5|metadata\.json": f"a Keras model (.keras): {_KERAS}",
    r".*\.npy": f"NumPy arrays (.npz): {_ARRAYS}",
}
_NAMES = {r".*(\.ckpt|\.index|\.meta|\.data-\d+-of-\d+)": f"a TensorFlow checkpoint: {_CONVERT}"}

HEAD = 512  # bytes that identify a format


def of_content(head: bytes, name: str = "") -> str | None:
    """What a file is that begins with `head` and is called `name`, and the remedy; None if unknown."""
    found = (kind for pattern, kind in _CONTENTS.items() if re.match(pattern, head))
    return next(found, None) or next((kind for pattern, kind in _NAMES.items() if re.fullmatch(pattern, name)), None)


def of_archive(members: Iterable[str]) -> str | None:
    """The same of a zip archive, by the names of its members.

    >>> of_archive(["params.npy"])[:12]
    'NumPy arrays'
    """
    names = list(members)
    found = (kind for pattern, kind in _ARCHIVES.items() if any(re.fullmatch(pattern, name) for name in names))
    return next(found, None)
