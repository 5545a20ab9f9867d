"""Class consistency of pre-images, by layer and weight of the loss (Mahendran & Vedaldi 2016).

    python -m experiments.mahendran2015.consistency \\
        --config=configs/mahendran2015/consistency.py:default --workdir=results/mahendran2015/consistency

smoke: seconds. default: about two minutes on 2 cores. paper: less than an hour on one A100. Its inputs:
docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Data, base.Seeded):
    network: str = "photo_maxpool"
    data: str = "photographs"
    split: str = "all"
    count: int = 20  # images inverted (the paper: 100)
    first: int = 0  # the first image
    shown: int = 1  # of them, in the figure
    mean: tuple[float, ...] = base.COMPOSITES_MEAN  # subtracted
    layers: tuple[str, ...] = ("relu1", "pool1", "pool2", "pool5", "relu6", "fc8")
    strides: tuple[int, ...] = (2, 4, 8, 16, 16, 16)  # of their units in pixels; a quarter of it is the jitter
    weights_of_loss: tuple[float, ...] = (1.0, 20.0, 100.0, 300.0)  # C
    total_variation: float = 1.0  # multiplies the paper's penalty
    steps: tuple[int, int] = (300, 50)  # with jitter and without


LAYERS = tuple("relu1_1 pool1 relu2_1 pool2 relu3_1 pool3 relu4_1 pool4 relu5_1 pool5 relu6 relu7 fc8".split())
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, split="test", count=4, mean=(77.8,), layers=("relu1", "logits"), strides=(1, 8),
        weights_of_loss=(1.0, 100.0), total_variation=0.001, steps=(30, 10)
    ),
    default=Config(first=18, steps=(100, 30)),
    paper=Config(
        **base.IMAGENET, network="vgg16", weights="torchvision", count=100, mean=(123.675, 116.28, 103.53),
        layers=LAYERS, strides=(1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 32, 32), total_variation=1.0
    ),
)  # fmt: skip
