"""What switches do to a projection (Zeiler & Fergus 2014, section 2.1; a figure of ours).

    python -m experiments.zeiler2014.switches \\
        --config=configs/zeiler2014/switches.py:default --workdir=results/zeiler2014/switches

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one GPU,
with weights of a ZFNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models, of a network with max-pools
    weights: str = "pretrained"  # or the path of a checkpoint
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"
    count: int = 200  # images whose activations are projected, each beside another one's switches
    shown: int = 6  # of them, in the figure
    layers: tuple[str, ...] = ("relu2_1", "relu3_1")  # above one pool or more
    seed: int = 0


TIERS = {
    "smoke": Config("digits", "pretrained", "digits", "test", 40, 4, ("relu2",)),
    "default": Config(),
    "paper": Config(
        "zfnet", "zfnet.safetensors", "imagenet2012", "validation", 500, 6, ("relu2", "relu3", "relu4", "relu5")
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
