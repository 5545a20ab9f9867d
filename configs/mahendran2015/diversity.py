"""Pre-images of several images of each class from the last pooling layer (Mahendran & Vedaldi 2015, Fig. 11).

    python -m experiments.mahendran2015.diversity \\
        --config=configs/mahendran2015/diversity.py:default --workdir=results/mahendran2015/diversity

smoke: seconds. default: about a minute on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    data: str = "composites_64"  # several of each class
    split: str = "test"
    classes: int = 10  # the first that have enough images (Fig. 11 has five images)
    each: int = 4  # images of each class, the first of the split
    restarts: int = 3  # from different noise
    shown: int = 5  # classes in the figure, two images each
    layer: str = "pool5"  # the last pooling layer, pool5 of CaffeNet's
    total_variation: float = 40.0  # lambda_V: 100 in the code
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    batch_size: int = 20  # images at once


get_config = base.tiers(
    smoke=Config(**base.DIGITS_DESCENT, classes=3, each=2, restarts=2, layer="pool1", total_variation=0.1),
    default=Config(steps=0.5, learning_rate=0.00025),
    paper=Config(**base.CAFFENET_DESCENT, classes=5, layer="pool5", total_variation=100.0),
)  # fmt: skip
