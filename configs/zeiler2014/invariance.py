"""How features change as the image is moved, enlarged and turned (Zeiler & Fergus 2014, Fig. 5).

    python -m experiments.zeiler2014.invariance \\
        --config=configs/zeiler2014/invariance.py:default --workdir=results/zeiler2014/invariance

smoke: seconds. default: under a minute on 2 cores. paper: minutes on one GPU, with weights of a ZFNet given as
--config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "efficientnet_lite0"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    images: str = "photographs"  # a source of xai_jax.data.examples
    count: int = 5  # images; Fig. 5 has five
    layers: tuple[str, str] = ("stem", "pool")  # the first and the last layer of features (1 and 7 in the paper)
    translation: tuple[float, float] = (-60.0, 60.0)  # pixels; the ranges are the axes of Fig. 5, unverified
    scale: tuple[float, float] = (1.0, 1.8)
    rotation: tuple[float, float] = (0.0, 350.0)  # degrees
    steps: int = 25  # amounts in each range
    seed: int = 0


TIERS = {
    "smoke": Config("digits", "pretrained", "digits", 4, ("relu1", "relu2"), (-2.0, 2.0), steps=9),
    "default": Config(),
    "paper": Config("zfnet", "zfnet.safetensors", "imagenet", 50, ("relu1", "relu7"), steps=61),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
