"""Images that look like nothing, by gradient ascent (Nguyen et al. 2015).

    python -m experiments.nguyen2015.gradient \\
        --config=configs/nguyen2015/gradient.py:default --workdir=results/nguyen2015/gradient

smoke: seconds. default: a minute on 2 cores, and once about 10 minutes to train the network and another one that
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
    data: str = "fashion_mnist"  # natural images to compare with, whose mean ascent starts from
    split: str = "test"
    natural_images: int = 2000  # of them
    classes: int = 20  # to climb for, or all where there are fewer (the code: 20)
    starts: int = 5  # for each class (the code: 5)
    shown: int = 3  # of them, in the figure
    noise: float = 1.0  # deviation of what is added to the mean image, in pixel values (the code: 1)
    # The code's setting without regularisation
    steps: int = 500
    decay: float = 0.0  # of inputs, at each step
    most: float = 0.02  # that the probability should rise in a step
    share: float = 0.1  # of what is missing to 1, if that is less
    batch: int = 50  # images at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        network="digits",
        evaluation_network="digits",
        evaluation_layer="relu2",
        middle="relu1",
        data="digits",
        natural_images=100,
        starts=2,
        shown=2,
        steps=200,
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
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
