"""What the penalty of variation does to pre-images (Mahendran & Vedaldi 2015, Figs. 2 and 8).

    python -m experiments.mahendran2015.regulariser \\
        --config=configs/mahendran2015/regulariser.py:default --workdir=results/mahendran2015/regulariser

smoke: seconds. default: about a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one A100,
with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"
    count: int = 10  # images inverted, the first of the split
    shown: int = 2  # of them, in the figures
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    lower: str = "pool1"  # layer of Fig. 2 (norm1), where a penalty with beta 1 leaves spikes
    upper: str = "fc8"  # layer of Fig. 8
    betas: tuple[float, ...] = (1.0, 1.5, 2.0)  # powers of the gradients' lengths; Fig. 2 has 1 and 2
    # lambda_V of the code, 1, 10 and 100 (0.5, 5 and 50 in the paper), times (28 / 227)^2: smaller images vary faster
    variations: tuple[float, ...] = (0.015, 0.15, 1.5)
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        count=4,
        mean=(77.8,),
        deviation=95.0,
        lower="pool1",
        upper="logits",
        betas=(1.0, 2.0),
        variations=(0.001, 0.1),
        steps=0.1,
    ),
    "default": Config(),
    "paper": Config(
        "caffenet",
        "bvlc_reference_caffenet.caffemodel",
        "imagenet2012",
        "validation",
        mean=(122.679, 116.669, 104.007),
        deviation=68.9,
        lower="norm1",
        variations=(1.0, 10.0, 100.0),
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
