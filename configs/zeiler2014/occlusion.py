"""What a network no longer sees when a grey square hides it (Zeiler & Fergus 2014, Fig. 7).

    python -m experiments.zeiler2014.occlusion \\
        --config=configs/zeiler2014/occlusion.py:default --workdir=results/zeiler2014/occlusion

smoke: seconds. default: about two minutes on 2 cores. paper: minutes on one GPU, with weights of a ZFNet given as
--config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "efficientnet_lite0"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    images: str = "photographs"  # a source of xai_jax.data.examples
    count: int = 5  # images, one row of the figure each
    layer: str = "block11"  # stands for the paper's layer 5 (13x13): the last maps of 14x14
    patch: int = 64  # side of the square in pixels; not in the paper. Ours; 48 gave p = 0.06 for the first claim
    stride: int = 8  # step of the square in pixels; our choice
    others: int = 3  # projections of the same map from other images (panel c)
    batch: int = 32  # occluded images in one forward pass
    seed: int = 0


TIERS = {
    "smoke": Config("digits", "pretrained", "digits", 3, "relu2", 3, 1, 2, 64),
    "default": Config(),
    "paper": Config("zfnet", "zfnet.safetensors", "imagenet", 50, "relu5", 64, 8, 3, 128),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
