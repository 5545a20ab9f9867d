"""What excites the feature maps of each layer (Zeiler & Fergus 2014, Fig. 2).

    python -m experiments.zeiler2014.features \\
        --config=configs/zeiler2014/features.py:default --workdir=results/zeiler2014/features

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one GPU,
with weights of a ZFNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"  # the paper searches the validation set
    images: int = 10_000  # how many there are, for the dry run
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    maps: int = 16  # of each layer, chosen at random
    k: int = 9  # strongest activations of a map
    batch: int = 128  # images searched at once
    seed: int = 0


TIERS = {
    "smoke": Config("digits", "pretrained", "digits", "test", 360, ("relu1", "relu2"), 9, 9),
    "default": Config(),
    "paper": Config(
        "zfnet",
        "zfnet.safetensors",
        "imagenet2012",
        "validation",
        50_000,
        ("relu1", "relu2", "relu3", "relu4", "relu5"),
        16,
        9,
        256,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
