"""Several pre-images of one representation (Mahendran & Vedaldi 2015, Fig. 7).

    python -m experiments.mahendran2015.multiple \\
        --config=configs/mahendran2015/multiple.py:default --workdir=results/mahendran2015/multiple

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one A100,
with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Pixels, base.Seeded):
    count: int = 10  # images inverted, the first of the split
    first: int = 0  # the first image
    shown: int = 2  # of them, in the figure
    restarts: int = 4  # from different noise (Fig. 7 shows four, unverified)
    layers: tuple[str, ...] = ("relu2_1", "pool3", "relu6", "fc8")
    total_variations: tuple[float, ...] = (0.15, 1.5, 1.5, 1.5)  # strength of the penalty for each, as in layers.py
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    learning_rate: float = 0.004  # of the first phase


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_PIXELS, count=4, restarts=3, layers=("relu1", "logits"),
        total_variations=(0.001, 0.01), steps=0.1
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET_PIXELS, layers=("pool5", "relu6", "relu7", "fc8"),
        total_variations=(1.0, 10.0, 100.0, 100.0)
    ),
)  # fmt: skip
