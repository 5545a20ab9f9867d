"""Small networks for Fashion-MNIST: two to explain, and one for evaluation.

They replace the papers' networks where no accelerator is available. "fashion_maxpool" is a VGG of three single
convolutions; "fashion_allcnn" is All-CNN-C at a quarter of its width; "fashion_evaluation" is smaller still, and
independent of both.

>>> recipe("fashion_maxpool").epochs
8
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
from jax.tree_util import Partial

from xai_jax import training
from xai_jax.architectures.allcnn import AllCNN
from xai_jax.architectures.vgg import VGG
from xai_jax.core.batching import pixels
from xai_jax.data import fashion_mnist
from xai_jax.io.fingerprints import fingerprint
from xai_jax.models.pretrained import shipped
from xai_jax.training import evaluation, supervised

SEED = 0
NAMES = ("fashion_maxpool", "fashion_allcnn", "fashion_evaluation")


def build(name: str) -> nn.Module:
    """(N, 28, 28, 1) in [0, 1] -> logits (N, 10)."""
    if name == "fashion_maxpool":
        return VGG((1, 1, 1), (32, 64, 128), 256, 10)
    if name == "fashion_evaluation":
        return VGG((1, 1), (16, 32), 64, 10)
    return AllCNN("C", "allcnn", 0.25, dropout=False)


def recipe(name: str) -> Any:
    """Our settings: as few epochs as reach an error of 9 % within minutes on two cores."""
    if name == "fashion_maxpool":
        return training.Recipe(epochs=8, batch_size=128, learning_rate=0.05, cosine=True, decay=5e-4)
    if name == "fashion_evaluation":
        return training.Recipe(epochs=4, batch_size=128, learning_rate=0.05, cosine=True, decay=5e-4)
    return training.Recipe(epochs=4, batch_size=64, learning_rate=0.02, cosine=True, decay=5e-4)


def read(name: str, module: nn.Module) -> dict[str, Any]:
    """Variables of a network, as they come with this package."""
    return shipped.read(name)[0]


def digest() -> str:
    """Digest of the data's files.

    >>> len(digest())
    64
    """
    return fingerprint(fashion_mnist.SHA256)


def train(name: str) -> dict[str, Any]:
    """The variables after training in the cache; takes minutes the first time, and resumes where a kill stopped it."""
    arguments, options = _arguments(name)
    return training.fit(*arguments, directory(name), **options)


def directory(name: str) -> Path:
    """Where the network is trained."""
    arguments, options = _arguments(name)
    return training.shared_dir(name, *arguments, **options)


def first_losses(name: str, steps: int) -> list[float]:
    """Losses of the first steps of the same training."""
    arguments, options = _arguments(name)
    return [line["loss"] for line in supervised.first_lines(steps, *arguments, **options)]


def error(name: str, variables: Any) -> float:
    """Top-1 error on the test images in per cent."""
    net = Partial(build(name).apply, variables)
    return round(evaluation.errors(net, _arguments(name)[1]["validation"], pixels).top1, 2)


def epochs(name: str) -> dict[int, Path]:
    """Files of the weights after each epoch, for `models.load(name, path)`; trains the network if necessary."""
    train(name)
    return training.epoch_weights(directory(name))


def _arguments(name):
    from xai_jax.data import datasets

    images, test = (datasets.load("fashion_mnist", split) for split in ("train", "test"))
    return (build(name), images, recipe(name)), {"seed": SEED, "validation": test, "keep_epochs": True}
