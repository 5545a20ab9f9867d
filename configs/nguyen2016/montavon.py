"""Prototypes of classes in pixels and in codes, over penalties (Montavon et al. 2018).

    python -m experiments.nguyen2016.montavon \\
        --config=configs/nguyen2016/montavon.py:default --workdir=results/nguyen2016/montavon

smoke: seconds. default: two minutes on 2 cores, and once about 25 minutes to train the network, another one that
judges, and the generator. paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator and of a GoogLeNet
that judges given as --config.weights=PATH and so on, and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    generator: str = "fashion_fc6"  # a name of xai_jax.models.generators, which says whose codes and what network
    generator_weights: str = ""  # the path of a file; nothing means trained on first use
    weights: str = "pretrained"  # of the network, or the path of a checkpoint
    evaluation_network: str = "fashion_allcnn"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_layer: str = "relu8"  # its layer in which images are compared, by means over positions
    data: str = "fashion_mnist"
    split: str = "test"  # natural images to compare with
    natural_images: int = 2000  # of them
    means_from: str = "train"  # the split of images whose means are compared with
    averaged: int = 100  # images in each mean
    classes: tuple[int, ...] = tuple(range(10))
    starts: int = 5  # from noise, for each class
    shown: int = 10  # classes in the figure, the first
    pixel_penalties: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)  # of the squared length of the network's input
    code_penalties: tuple[float, ...] = (0.0, 1e-3, 1e-2, 1e-1, 1.0)  # of that of codes
    penalty: float = 0.01  # of the tutorial's notebook, which takes the mean code off; one of those of codes
    pixel_rate: float = 0.05  # of Adam
    code_rate: float = 0.05
    rate: float = 0.1  # of DGN's steps, as in classes.py
    steps: int = 200  # of all
    batch_size: int = 100  # codes at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        generator="digits_conv2",
        evaluation_network="digits",
        evaluation_layer="relu2",
        data="digits",
        natural_images=200,
        averaged=20,
        starts=2,
        pixel_penalties=(0.0, 1e-2),
        code_penalties=(0.0, 1e-2),
        rate=2.0,
        steps=30,
    ),
    "default": Config(),
    "paper": Config(
        generator="caffenet_fc6",
        generator_weights="generator.caffemodel",
        weights="bvlc_reference_caffenet.caffemodel",
        evaluation_network="googlenet",
        evaluation_weights="googlenet.pth",
        evaluation_layer="inception5b",
        data="imagenet2012",
        split="validation",
        classes=(643, 624, 304, 629, 437, 945),
        starts=2,
        # Inputs are pixels less their mean there: squares are 10,000 times those of values up to 1, and 200 times as
        # many
        pixel_penalties=(0.0, 1e-10, 1e-9, 1e-8, 1e-7),
        pixel_rate=5.0,
        rate=8.0,
        code_rate=0.5,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
