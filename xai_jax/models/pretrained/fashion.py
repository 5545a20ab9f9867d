"""Small networks for Fashion-MNIST, trained on first use and cached: two to explain, and one for evaluation.

They replace the papers' networks where no accelerator is available. "fashion_maxpool" is a VGG of three single
convolutions; "fashion_allcnn" is All-CNN-C at a quarter of its width; "fashion_evaluation" is smaller still, and
independent of both. The weights after each epoch are cached, too.

>>> recipe("fashion_maxpool").epochs
8
"""

from pathlib import Path
from typing import Any

import flax.linen as nn

from xai_jax import training
from xai_jax.architectures.allcnn import AllCNN
from xai_jax.architectures.vgg import VGG

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


def train(name: str, module: nn.Module) -> dict:
    """The trained variables; takes minutes the first time, and resumes where a kill stopped it."""
    arguments, options = _arguments(name, module)
    return training.fit(*arguments, training.shared_dir(name, *arguments, **options), **options)


def directory(name: str) -> Path:
    """Where the network is trained."""
    arguments, options = _arguments(name, build(name))
    return training.shared_dir(name, *arguments, **options)


def _arguments(name, module):
    from xai_jax.data import datasets

    images, test = (datasets.load("fashion_mnist", split) for split in ("train", "test"))
    return (module, images, recipe(name)), {"seed": SEED, "validation": test, "keep_epochs": True}


def epochs(name: str) -> dict[int, Path]:
    """Files of the weights after each epoch, for `models.load(name, path)`; trains the network if necessary."""
    train(name, build(name))
    return training.epoch_weights(directory(name))
