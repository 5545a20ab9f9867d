"""A trained inverse beside the optimised one (Dosovitskiy & Brox 2016, against Mahendran & Vedaldi 2015).

    python -m experiments.mahendran2015.learned \\
        --config=configs/mahendran2015/learned.py:default --workdir=results/mahendran2015/learned

smoke: seconds. default: about three minutes on 2 cores, and once 4 minutes to train the network that is inverted.
paper: hours on one A100, with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS; its
training images must fit into memory.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    weights: str = "pretrained"  # or the path of a checkpoint
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    split: str = "test"
    count: int = 20  # images inverted, the first of the split
    shown: int = 3  # of them, in the figure
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    layers: tuple[str, ...] = ("pool2", "pool3", "fc6", "fc8")
    # lambda_V of the code for each layer, as in layers.py, times (28 / 227)^2: smaller images vary faster
    variations: tuple[float, ...] = (0.15, 1.5, 1.5, 1.5)
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    batch_size: int = 20  # images optimised at once
    train: str = "train"  # split that the inverse learns from
    examples: int = 10000  # images of it, the first
    train_steps: int = 600
    rate: float = 2e-3  # of Adam, falling to zero
    width: int = 16  # channels of the inverse at full size
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        count=6,
        mean=(77.8,),
        deviation=95.0,
        layers=("relu2", "logits"),
        variations=(0.01, 0.1),
        steps=0.1,
        batch_size=6,
        examples=500,
        train_steps=40,
        width=4,
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
        layers=("conv2", "pool5", "fc6", "fc8"),
        variations=(1.0, 100.0, 100.0, 100.0),
        batch_size=10,
        examples=20000,
        train_steps=200000,
        rate=1e-4,
        width=32,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
