"""Pre-images of several images of each class from the last pooling layer (Mahendran & Vedaldi 2015, Fig. 11).

    python -m experiments.mahendran2015.diversity \\
        --config=configs/mahendran2015/diversity.py:default --workdir=results/mahendran2015/diversity

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one A100,
with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Pixels, base.Seeded):
    classes: int = 10  # the first that have enough images (Fig. 11 has five images)
    each: int = 4  # images of each class, the first of the split
    restarts: int = 3  # from different noise
    shown: int = 5  # classes in the figure, two images each
    layer: str = "pool3"  # the last pooling layer, pool5 of CaffeNet's
    total_variation: float = 1.5  # lambda_V of the code, 100, times (28 / 227)^2: smaller images vary faster
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    learning_rate: float = 0.004  # of the first phase
    batch_size: int = 20  # images at once


get_config = base.tiers(
    smoke=Config(**base.DIGITS | base.DIGITS_PIXELS, classes=3, each=2, restarts=2, layer="pool1", total_variation=0.1),
    default=Config(),
    paper=Config(**base.CAFFENET_PIXELS, classes=5, layer="pool5", total_variation=100.0),
)  # fmt: skip
