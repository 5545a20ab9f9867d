"""Pre-images of every layer at three strengths of the prior (Mahendran & Vedaldi 2015, Fig. 6 and Table 3).

    python -m experiments.mahendran2015.layers \\
        --config=configs/mahendran2015/layers.py:default --workdir=results/mahendran2015/layers

smoke: seconds. default: about three minutes on 2 cores, and once 4 minutes to train the network. paper: less than an
hour on one A100, with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Pixels, base.Seeded):
    count: int = 10  # images inverted, the first of the split (the paper: 100)
    first: int = 0  # the first image
    shown: int = 2  # of them, in the figure
    layers: tuple[str, ...] = ()  # none means all
    # lambda_V of the code, 1, 10 and 100 (0.5, 5 and 50 in the paper), times (28 / 227)^2: smaller images vary faster
    total_variations: tuple[float, ...] = (0.015, 0.15, 1.5)
    lower: int = 4  # layers shown with the first of them; as many with the second, the others with the last
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    learning_rate: float = 0.004  # of the first phase
    batch_size: int = 10  # images at once


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_PIXELS, count=4, total_variations=(0.001, 0.01, 0.1), lower=2, steps=0.1,
        batch_size=4
    ),
    default=Config(),
    paper=Config(**base.CAFFENET_PIXELS, count=100, total_variations=(1.0, 10.0, 100.0), lower=6),
)  # fmt: skip
