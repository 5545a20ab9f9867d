"""Inversion by a trained network beside optimisation (Dosovitskiy & Brox 2016; Mahendran & Vedaldi 2015).

    python -m experiments.mahendran2015.learned \\
        --config=configs/mahendran2015/learned.py:default --workdir=results/mahendran2015/learned

smoke: seconds. default: about seven minutes on 2 cores. paper: hours on one A100; its training images must fit into
memory. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    count: int = 20  # images inverted
    first: int = 0  # the first image
    shown: int = 3  # of them, in the figure
    layers: tuple[str, ...] = ("pool2", "pool5", "fc6", "fc8")
    total_variations: tuple[float, ...] = (10.0, 10.0, 30.0, 30.0)  # lambda_V for each layer, as in layers.py
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    batch_size: int = 20  # images optimised at once
    train_data: str = "composites_64"  # data set that the inverse is trained on, which has none of the images
    train: str = "train"  # split of it
    examples: int = 3900  # training images, the first of the split
    train_steps: int = 300
    train_learning_rate: float = 2e-3  # of Adam, decays to zero
    width: int = 16  # channels of the inverse at full resolution


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_DESCENT, count=6, layers=("relu2", "logits"), total_variations=(0.01, 0.1), steps=0.1,
        batch_size=6, train_data="digits", examples=500, train_steps=40, width=4
    ),
    default=Config(first=18, seed=5),  # settings were chosen on the first 18, seed 0
    paper=Config(
        **base.CAFFENET_DESCENT, count=100, layers=("conv2", "pool5", "fc6", "fc8"),
        total_variations=(1.0, 100.0, 100.0, 100.0), batch_size=10, train_data="imagenet2012", examples=20000,
        train_steps=200000, train_learning_rate=1e-4, width=32
    ),
)  # fmt: skip
