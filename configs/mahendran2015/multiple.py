"""Several pre-images of one representation (Mahendran & Vedaldi 2015, Fig. 7).

    python -m experiments.mahendran2015.multiple \\
        --config=configs/mahendran2015/multiple.py:default --workdir=results/mahendran2015/multiple

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one A100,
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
    shown: int = 2  # of them, in the figure
    restarts: int = 4  # from different noise (Fig. 7 shows four, unverified)
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    layers: tuple[str, ...] = ("relu2_1", "pool3", "relu6", "fc8")
    variations: tuple[float, ...] = (0.15, 1.5, 1.5, 1.5)  # strength of the penalty for each, as in layers.py
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        count=4,
        restarts=3,
        mean=(77.8,),
        deviation=95.0,
        layers=("relu1", "logits"),
        variations=(0.001, 0.01),
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
        layers=("pool5", "relu6", "relu7", "fc8"),
        variations=(1.0, 10.0, 100.0, 100.0),
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
