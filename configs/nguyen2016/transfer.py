"""Another network explained through the same generator (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.transfer \\
        --config=configs/nguyen2016/transfer.py:default --workdir=results/nguyen2016/transfer

smoke: seconds. default: two minutes on 2 cores, and once about 25 minutes to train three networks and the generator.
paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator, of GoogLeNet and of a VGG16 that judges, and
ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    generator: str = "fashion_fc6"  # a name of xai_jax.models.generators, which says whose codes and what network
    generator_weights: str = ""  # the path of a file; nothing means trained on first use
    weights: str = "pretrained"  # of the generator's network, or the path of a checkpoint
    explained: str = "fashion_allcnn"  # another network
    explained_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_network: str = "fashion_judge"  # a third one
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_layer: str = "relu7"  # its layer in which images are compared
    data: str = "fashion_mnist"  # natural images to compare with
    split: str = "test"
    natural_images: int = 2000  # of them
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 20  # codes from noise for each class
    groups: int = 5  # of starts, each measured by itself
    rate: float = 0.1  # as in classes.py
    steps: int = 200
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 125  # codes at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        generator="digits_conv2",
        explained="digits",
        evaluation_network="digits",
        evaluation_layer="relu2",
        data="digits",
        natural_images=100,
        starts=4,
        groups=2,
        rate=2.0,
        steps=30,
    ),
    "default": Config(),
    "paper": Config(
        generator="caffenet_fc6",
        generator_weights="generator.caffemodel",
        weights="bvlc_reference_caffenet.caffemodel",
        explained="googlenet",
        explained_weights="googlenet.pth",
        evaluation_network="vgg16",
        evaluation_weights="vgg16.pth",
        data="imagenet2012",
        split="validation",
        classes=(643, 624, 304, 629, 437),  # units of the paper's script
        starts=10,
        rate=8.0,  # 2 for GoogLeNet in the code
        batch_size=10,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
