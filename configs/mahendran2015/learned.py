"""Inversion by a trained network beside optimisation (Dosovitskiy & Brox 2016; Mahendran & Vedaldi 2015).

    python -m experiments.mahendran2015.learned \\
        --config=configs/mahendran2015/learned.py:default --workdir=results/mahendran2015/learned

smoke: seconds. default: about three minutes on 2 cores, and once 4 minutes to train the network that is inverted.
paper: hours on one A100, with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS; its
training images must fit into memory.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Pixels, base.Seeded):
    count: int = 20  # images inverted, the first of the split
    first: int = 0  # the first image
    shown: int = 3  # of them, in the figure
    layers: tuple[str, ...] = ("pool2", "pool3", "fc6", "fc8")
    # lambda_V of the code for each layer, as in layers.py, times (28 / 227)^2: smaller images vary faster
    total_variations: tuple[float, ...] = (0.15, 1.5, 1.5, 1.5)
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    learning_rate: float = 0.004  # of the first phase
    batch_size: int = 20  # images optimised at once
    train: str = "train"  # split that the inverse is trained on
    examples: int = 10000  # training images, the first of the split
    train_steps: int = 600
    learning_rate: float = 2e-3  # of Adam, decays to zero
    width: int = 16  # channels of the inverse at full resolution


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_PIXELS, count=6, layers=("relu2", "logits"), total_variations=(0.01, 0.1),
        steps=0.1, batch_size=6, examples=500, train_steps=40, width=4
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET_PIXELS, count=100, layers=("conv2", "pool5", "fc6", "fc8"),
        total_variations=(1.0, 100.0, 100.0, 100.0), batch_size=10, examples=20000, train_steps=200000,
        learning_rate=1e-4, width=32
    ),
)  # fmt: skip
