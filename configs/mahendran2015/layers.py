"""Pre-images of every layer at three strengths of the prior (Mahendran & Vedaldi 2015, Fig. 6 and Table 3).

    python -m experiments.mahendran2015.layers \\
        --config=configs/mahendran2015/layers.py:default --workdir=results/mahendran2015/layers

smoke: seconds. default: about three minutes on 2 cores, and once 4 minutes to train the network. paper: less than an
hour on one A100, with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"
    count: int = 10  # images inverted, the first of the split (the paper: 100)
    shown: int = 2  # of them, in the figure
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    layers: tuple[str, ...] = ()  # none means all
    # lambda_V of the code, 1, 10 and 100 (0.5, 5 and 50 in the paper), times (28 / 227)^2: smaller images vary faster
    variations: tuple[float, ...] = (0.015, 0.15, 1.5)
    lower: int = 4  # layers shown with the first of them; as many with the second, the others with the last
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    batch_size: int = 10  # images at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        count=4,
        mean=(77.8,),
        deviation=95.0,
        variations=(0.001, 0.01, 0.1),
        lower=2,
        steps=0.1,
        batch_size=4,
    ),
    "default": Config(),
    "paper": Config(
        "caffenet",
        "bvlc_reference_caffenet.caffemodel",
        "imagenet2012",
        "validation",
        100,
        mean=(122.679, 116.669, 104.007),
        deviation=68.9,
        variations=(1.0, 10.0, 100.0),
        lower=6,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
