"""Pre-images of many images from the last pooling layer (Mahendran & Vedaldi 2015, Fig. 11).

    python -m experiments.mahendran2015.diversity \\
        --config=configs/mahendran2015/diversity.py:default --workdir=results/mahendran2015/diversity

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
    classes: int = 10  # the first that have enough images (Fig. 11 has five images)
    each: int = 4  # images of each class, the first of the split
    restarts: int = 3  # from different noise
    shown: int = 5  # classes in the figure, two images each
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off
    deviation: float = 89.0  # RMS of the images' values less the mean (68.9 of ImageNet's)
    layer: str = "pool3"  # the last pooling layer, pool5 of CaffeNet's
    variation: float = 1.5  # lambda_V of the code, 100, times (28 / 227)^2: smaller images vary faster
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    batch_size: int = 20  # images at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        "digits",
        data="digits",
        classes=3,
        each=2,
        restarts=2,
        mean=(77.8,),
        deviation=95.0,
        layer="pool1",
        variation=0.1,
    ),
    "default": Config(),
    "paper": Config(
        "caffenet",
        "bvlc_reference_caffenet.caffemodel",
        "imagenet2012",
        "validation",
        classes=5,
        mean=(122.679, 116.669, 104.007),
        deviation=68.9,
        layer="pool5",
        variation=100.0,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
