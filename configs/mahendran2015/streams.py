"""Pre-images of either half of a layer's channels (Mahendran & Vedaldi 2015, Fig. 10).

    python -m experiments.mahendran2015.streams \\
        --config=configs/mahendran2015/streams.py:default --workdir=results/mahendran2015/streams

smoke: seconds. default: under two minutes on 2 cores, and once 4 minutes to train the network. paper: minutes on one
A100, with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"
    count: int = 10  # images inverted, the first of the split (the paper: two photographs of its own)
    shown: int = 2  # of them, in the figure
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    layers: tuple[str, ...] = ("conv1_1", "pool1", "pool2")  # Fig. 10: conv1, norm1, norm2
    groups: int = 1  # that the filters are in: 2 in CaffeNet, from conv2 on
    splits: int = 19  # random halves to compare with, a control of ours
    variation: float = 0.015  # lambda_V of the code, 1, times (28 / 227)^2: smaller images vary faster
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        count=4,
        mean=(77.8,),
        deviation=95.0,
        layers=("relu1", "pool1"),
        splits=3,
        variation=0.001,
    ),
    "default": Config(),
    "paper": Config(
        "caffenet",
        "bvlc_reference_caffenet.caffemodel",
        "imagenet2012",
        "validation",
        mean=(122.679, 116.669, 104.007),
        deviation=68.9,
        layers=("conv1", "norm1", "norm2"),
        groups=2,
        variation=1.0,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
