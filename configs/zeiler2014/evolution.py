"""How the features of each layer change during training (Zeiler & Fergus 2014, Fig. 4).

    python -m experiments.zeiler2014.evolution \\
        --config=configs/zeiler2014/evolution.py:default --workdir=results/zeiler2014/evolution

smoke: seconds. default: about three minutes on 2 cores, and once 4 minutes to train the network. paper: hours on one
GPU, with --config.weights=DIR where zeiler2014/imagenet trained a ZFNet and kept its epochs.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    weights: str = ""  # directory of a run that kept its epochs; empty: small networks are trained here
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"  # section 4.1 searches the training examples, six times as many here
    images: int = 10_000  # how many there are, for the dry run
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    maps: int = 12  # of each layer, chosen at random
    epochs: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)  # the columns; section 4.1 has 1, 2, 5, 10, 20, 30, 40, 64
    probes: int = 256  # images over which maps are compared with their final selves
    batch: int = 128  # images searched at once
    seed: int = 0


TIERS = {
    "smoke": Config("digits", "", "digits", "train", 1437, ("relu1", "relu2"), 6, (1, 2, 4), 64),
    "default": Config(),
    "paper": Config(
        "zfnet",
        "results/zeiler2014/imagenet/training/zfnet-0",
        "imagenet2012",
        "train",
        1_281_167,
        ("relu1", "relu2", "relu3", "relu4", "relu5"),
        6,
        (1, 2, 5, 10, 20, 30, 40, 64),
        256,
        256,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
