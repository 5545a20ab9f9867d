"""Small networks for Fashion-MNIST, trained here on first use and kept: two to explain, and one that judges.

They stand in for the papers' networks where no accelerator is at hand. "fashion_maxpool" is a VGG of three single
convolutions; "fashion_allcnn" is All-CNN-C at a quarter of its width; "fashion_judge", smaller still, has no part in
what the others see. The weights after each epoch are kept, too.
"""

from pathlib import Path

import flax.linen as nn

from xai_jax.architectures.allcnn import AllCNN
from xai_jax.architectures.vgg import VGG
from xai_jax.io.files import cache_dir

SEED = 0
NAMES = ("fashion_maxpool", "fashion_allcnn", "fashion_judge")


def build(name: str) -> nn.Module:
    """(N, 28, 28, 1) in [0, 1] -> logits (N, 10)."""
    if name == "fashion_maxpool":
        return VGG((1, 1, 1), (32, 64, 128), 256, 10)
    if name == "fashion_judge":
        return VGG((1, 1), (16, 32), 64, 10)
    return AllCNN("C", "allcnn", 0.25, dropout=False)


def recipe(name: str):
    """Choices of ours: as few epochs as reach an error of 9 % within minutes on two cores."""
    from xai_jax.training.sgd import Recipe

    if name == "fashion_maxpool":
        return Recipe(epochs=8, batch=128, rate=0.05, cosine=True, decay=5e-4)
    if name == "fashion_judge":
        return Recipe(epochs=4, batch=128, rate=0.05, cosine=True, decay=5e-4)
    return Recipe(epochs=4, batch=64, rate=0.02, cosine=True, decay=5e-4)


def train(name: str, module: nn.Module) -> dict:
    """The trained variables; takes minutes the first time, and goes on where a kill stopped it."""
    from xai_jax.data import datasets
    from xai_jax.training import supervised as training  # it writes weights, so it imports this package

    images, check = (datasets.load("fashion_mnist", split) for split in ("train", "test"))
    return training.fit(module, images, recipe(name), cache_dir(name), seed=SEED, check=check, keep_epochs=True)


def epochs(name: str) -> dict[int, Path]:
    """Paths of the weights after each epoch, for `models.load(name, path)`; trains the network if it has to."""
    from xai_jax.training import supervised as training

    train(name, build(name))
    return training.epoch_weights(cache_dir(name))
