"""Preferred inputs of all classes through a generator (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.classes \\
        --config=configs/nguyen2016/classes.py:default --workdir=results/nguyen2016/classes

smoke: seconds. default: a minute on 2 cores, and once about 25 minutes to train the network, another one that judges,
and the generator. paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator and of a GoogLeNet that
judges given as --config.weights=PATH and so on, and ImageNet prepared by TFDS.
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
    data: str = "fashion_mnist"  # natural images to compare with
    split: str = "test"
    natural_images: int = 2000  # of them
    starts: int = 10  # codes from noise for each class
    shown: int = 3  # of them, in the figure
    # The code's 8, of codes whose units reach up to 11.85 on average; here they reach 0.8, which would mean 0.54. Of
    # rates from 0.05 to 0.54, smaller ones made images more natural and left the network as sure.
    rate: float = 0.1
    steps: int = 200
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 100  # codes at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        generator="digits_conv2",
        evaluation_network="digits",
        evaluation_layer="relu2",
        data="digits",
        natural_images=100,
        starts=2,
        shown=2,
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
        starts=1,
        shown=1,
        rate=8.0,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
