"""Fields that configurations share, and their tiers.

A configuration is a dataclass that inherits the groups of fields it needs and adds its own; a different default is
stated by repeating the field. `get_config = base.tiers(...)` makes the function that the command line calls.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import TypeVar

from xai_jax.core.messages import listed, quoted

Config = TypeVar("Config")


def tiers(*, smoke: Config, default: Config, paper: Config, **others: Config) -> Callable[..., Config]:
    """A function from the name of a tier to a new copy of its configuration; `others` vary the default."""
    configs = {"smoke": smoke, "default": default, "paper": paper} | others

    def get_config(tier: str = "default") -> Config:
        """The configuration of a tier: smoke, default or paper."""
        if tier not in configs:
            raise ValueError(f"Expected a tier out of {listed(configs)}, got {quoted(tier)}.")
        return copy.deepcopy(configs[tier])

    return get_config


COMPOSITES_MEAN = (127.0, 126.0, 122.0)  # colour of 1,200 composites, which small networks are trained on


@dataclasses.dataclass(kw_only=True)
class Seeded:
    seed: int = 0


@dataclasses.dataclass(kw_only=True)
class Network:
    """The network that is explained."""

    network: str = "efficientnet_lite0"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint


@dataclasses.dataclass(kw_only=True)
class Photographs:
    """Example images with classes and boxes."""

    images: str = "photographs"  # a source of xai_jax.data.examples
    count: int = 5  # images, one row of the figure each


@dataclasses.dataclass(kw_only=True)
class Data:
    """A data set."""

    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"


@dataclasses.dataclass(kw_only=True)
class PhotographInversion(Network, Photographs, Seeded):
    """Inversion of an ImageNet network with jitter (Mahendran & Vedaldi 2016)."""

    network: str = "vgg16_hed"
    classifier: str = ""  # predicts classes, and the last of `layers` is its own; empty: `network`
    first: int = 0  # the first image: some before it were used to choose settings
    inner: int = 4  # of the images, for the layers between the first and the last
    shown: int = 4  # of these, in the figure
    side: int = 224  # of the images' centre squares in pixels
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # mean colour of ImageNet, subtracted
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "pool5", "logits")
    strides: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 32)  # of their units in pixels; the jitter is a quarter of it
    total_variation: float = 1.0  # multiplies the paper's penalty


@dataclasses.dataclass(kw_only=True)
class TrainingImages(Seeded):
    """Training of networks on small copies of ImageNet's data."""

    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    classes: int = 10
    images: int = 3000  # of the training images
    checked: int = 1000  # of the training and of the validation images each, whose errors are measured
    mean: tuple[float, ...] = (72.9,)  # mean pixel of the training images, subtracted
    half: bool = False  # training in bfloat16, for accelerators


@dataclasses.dataclass(kw_only=True)
class ZFNetTraining(TrainingImages):
    """Training of ZFNet and its variants (Zeiler & Fergus 2014, section 3)."""

    short: int = 72  # side that images are resized to, before ten crops (section 3: 256)
    squares: bool = False  # whether centre squares are resized once, into the cache (ImageNet with 256 pixels: 262 GB)
    side: int = 63  # of the crops (section 3: 224)
    initial_std: float = 0.05  # of the initial weights; narrow networks learn only with more than the paper's 0.01
    dropout: bool = False  # of half of fc6 and fc7 (section 3); narrow networks do better without
    seeds: int = 3  # networks of each kind
    epochs: int = 6  # section 3: 70
    batch_size: int = 32  # section 3: 128
    learning_rate: float = 0.003  # section 3: 0.01, for batches four times as large
    patience: int = 0  # epochs without a lower validation error before a tenth of the learning rate; 0: half a cosine
    renormalise: float = 0.1  # largest RMS of a filter (section 3)


@dataclasses.dataclass(kw_only=True)
class Pixels:
    """Statistics of the pixels that a network was trained on."""

    mean: tuple[float, ...] = (72.9,)  # mean pixel, subtracted
    standard_deviation: float = 89.0  # RMS of the pixels less the mean


@dataclasses.dataclass(kw_only=True)
class SmallNetwork(Network, Data):
    """A small network trained on Fashion-MNIST, and images of its test split."""

    network: str = "fashion_maxpool"


@dataclasses.dataclass(kw_only=True)
class Descent(Network, Data, Pixels, Seeded):
    """Inversion by gradient descent with momentum (Mahendran & Vedaldi 2015); by default, photographs of 64 pixels."""

    network: str = "photo_maxpool"
    data: str = "photographs"
    split: str = "all"
    mean: tuple[float, ...] = COMPOSITES_MEAN
    standard_deviation: float = 61.0
    learning_rate: float = 0.001  # of the first phase; 0.004 in the code, with which small networks diverge


@dataclasses.dataclass(kw_only=True)
class EvaluationNetwork(Data):
    """An independently trained network that evaluates images, and natural images to compare with."""

    evaluation_network: str = "fashion_allcnn"  # a name of xai_jax.models
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_layer: str = "relu8"  # whose features, averaged over positions, are compared
    natural_images: int = 2000  # of `data`


@dataclasses.dataclass(kw_only=True)
class PhotoEvaluation(EvaluationNetwork, Network):
    """A small network for colour images, one that evaluates what it is shown, and composites to compare with."""

    network: str = "photo_maxpool"
    data: str = "composites_64"
    split: str = "all"
    evaluation_network: str = "photo_evaluation"
    evaluation_layer: str = "relu6"
    middle: str = "relu4"  # its middle layer, in which images are compared, too


@dataclasses.dataclass(kw_only=True)
class Generator:
    """A generator network, which names the network whose codes it inverts."""

    generator: str = "photo_fc6"  # a name of xai_jax.models.generators
    generator_weights: str = ""  # path of a file; empty: the one of this package, or trained on first use
    weights: str = "pretrained"  # of the network, or the path of a checkpoint


@dataclasses.dataclass(kw_only=True)
class CAVs:
    """Concept activation vectors: how many, of how many examples."""

    examples: int = 20  # images of each concept and of each random set
    runs: int = 6  # random sets that a concept is compared with (section 3.5: often 500)
    controls: int = 12  # random sets that are substituted for the concept, for the null distribution


# Fields of the tiers, to be combined with `|` and passed as keywords.
VGG_AND_CLASSIFIER = {
    "classifier": "efficientnet_lite0",
    "count": 18,
    "first": 28,
    "side": 112,
    "total_variation": 2.0,
}
DIGITS = {"network": "digits", "data": "digits"}  # smoke: scikit-learn's digits
DIGITS_PIXELS = {"mean": (77.8,), "standard_deviation": 95.0}
DIGITS_DESCENT = DIGITS | DIGITS_PIXELS | {"split": "test", "learning_rate": 0.004}
DIGITS_EVALUATION = {"evaluation_network": "digits", "evaluation_layer": "relu2"}
PHOTO_GENERATOR = {
    "evaluation_network": "photo_evaluation",
    "evaluation_layer": "relu5",
    "data": "portraits_64",
    "split": "train",
}
CAFFENET = {"network": "caffenet", "weights": "caffe"}
IMAGENET = {"data": "imagenet2012", "split": "validation"}
IMAGENET_PIXELS = {"mean": (122.679, 116.669, 104.007), "standard_deviation": 68.9}
CAFFENET_PIXELS = CAFFENET | IMAGENET | IMAGENET_PIXELS
CAFFENET_DESCENT = CAFFENET_PIXELS | {"learning_rate": 0.004}
ZFNET = {"network": "zfnet", "weights": "results/zeiler2014/imagenet/training/zfnet-0/weights.safetensors"}
ZFNET_EXAMPLES = ZFNET | {"images": "imagenet", "count": 50}
GOOGLENET_EVALUATION = {
    "evaluation_network": "googlenet",
    "evaluation_weights": "torchvision",
    "evaluation_layer": "inception5b",
}
CAFFENET_GENERATOR = {
    "generator": "caffenet_fc6",
    "generator_weights": "generator.caffemodel",
    "weights": "caffe",
}
