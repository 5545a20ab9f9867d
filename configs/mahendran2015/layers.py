"""Pre-images of every layer at three strengths of the prior (Mahendran & Vedaldi 2015, Fig. 6 and Table 3).

    python -m experiments.mahendran2015.layers \\
        --config=configs/mahendran2015/layers.py:default --workdir=results/mahendran2015/layers

smoke: seconds. default: about nine minutes on 2 cores. paper: less than an hour on one A100. Its inputs:
docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    count: int = 10  # images inverted (the paper: 100)
    first: int = 0  # the first image
    shown: int = 2  # of them, in the figure
    layers: tuple[str, ...] = ()  # none means all
    total_variations: tuple[float, ...] = (1.0, 10.0, 30.0)  # lambda_V: 1, 10 and 100 in the code, halves in the paper
    lower: int = 4  # layers shown with the first of them; as many with the second, the others with the last
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps
    batch_size: int = 10  # images at once


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_DESCENT, count=4, total_variations=(0.001, 0.01, 0.1), lower=2, steps=0.1,
        batch_size=4
    ),
    default=Config(
        first=35, count=18, batch_size=18,
        layers=("conv1", "relu1", "pool1", "relu2", "pool2", "relu4", "relu5", "pool5", "relu6", "relu7", "fc8")
    ),
    paper=Config(**base.CAFFENET_DESCENT, count=100, total_variations=(1.0, 10.0, 100.0), lower=6),
)  # fmt: skip
