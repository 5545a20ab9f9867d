"""Regular images evolved until a network is sure of them (Nguyen et al. 2015, Figs. 5 and 8).

    python -m experiments.nguyen2015.cppn \\
        --config=configs/nguyen2015/cppn.py:default --workdir=results/nguyen2015/cppn

smoke: seconds. default: three minutes on 2 cores, and once about 10 minutes to train the network and another one that
judges. paper: minutes on one A100, with weights of CaffeNet and of a GoogLeNet that judges given as
--config.weights=PATH and --config.evaluation_weights=PATH, and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models, the network to fool
    weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_network: str = "fashion_allcnn"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_layer: str = "relu8"  # its layer in which images are compared, by means over positions
    middle: str = "relu5"  # its middle layer, in which they are compared, too
    data: str = "fashion_mnist"  # natural images to compare with
    split: str = "test"
    natural_images: int = 2000  # of them
    hidden: int = 16  # nodes that a CPPN may have, at most (ours)
    population: int = 200  # children in a generation (the code: 200 on MNIST, 400 on ImageNet)
    # the code: 1001 on MNIST, 5001 on ImageNet
    generations: int = 1000
    seeds: int = 3  # evolutions
    shown: int = 3  # of them, in the figure
    seed: int = 0  # of the first


TIERS = {
    "smoke": Config(
        network="digits",
        evaluation_network="digits",
        evaluation_layer="relu2",
        middle="relu1",
        data="digits",
        natural_images=100,
        population=100,
        generations=60,
        seeds=2,
        shown=2,
    ),
    "default": Config(),
    "paper": Config(
        network="caffenet",
        weights="bvlc_reference_caffenet.caffemodel",
        evaluation_network="googlenet",
        evaluation_weights="googlenet.pth",
        evaluation_layer="inception5b",
        middle="inception4c",
        data="imagenet2012",
        split="validation",
        population=400,
        generations=5000,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
