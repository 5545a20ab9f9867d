"""Pre-images of the middle of every layer (Mahendran & Vedaldi 2015, Fig. 9).

    python -m experiments.mahendran2015.receptive_field \\
        --config=configs/mahendran2015/receptive_field.py:default --workdir=results/mahendran2015/receptive_field

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
    shown: int = 3  # of them, in the figure
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    layers: tuple[str, ...] = ("relu1_1", "pool1", "relu2_1", "pool2", "relu3_1", "pool3")
    middle: int = 1  # side of the square of positions that count; 5 of CaffeNet's in the paper
    variation: float = 1.5  # lambda_V of the code, 100, times (28 / 227)^2: smaller images vary faster
    phases: tuple[tuple[float, int], ...] = ((0.1, 200), (0.01, 200), (0.001, 200))  # factors of the rate, steps
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        count=4,
        mean=(77.8,),
        deviation=95.0,
        layers=("relu1", "relu2"),
        variation=0.1,
        phases=((0.1, 20), (0.01, 10)),
    ),
    "default": Config(),
    "paper": Config(
        "caffenet",
        "bvlc_reference_caffenet.caffemodel",
        "imagenet2012",
        "validation",
        mean=(122.679, 116.669, 104.007),
        deviation=68.9,
        layers=tuple(
            "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5".split()
        ),
        middle=5,
        variation=100.0,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
