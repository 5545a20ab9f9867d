"""Pre-images of either half of a layer's channels (Mahendran & Vedaldi 2015, Fig. 10).

    python -m experiments.mahendran2015.streams \\
        --config=configs/mahendran2015/streams.py:default --workdir=results/mahendran2015/streams

smoke: seconds. default: about four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    count: int = 10  # images inverted (the paper: two photographs of its own)
    first: int = 0  # the first image
    shown: int = 2  # of them, in the figure
    layers: tuple[str, ...] = ("conv1", "pool1", "pool2")  # Fig. 10: conv1, norm1, norm2
    groups: int = 1  # groups of the network's filters: 2 in CaffeNet, from conv2 on
    splits: int = 19  # random halves of the channels, a control of ours
    total_variation: float = 1.0  # lambda_V of the code
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_DESCENT, count=4, layers=("relu1", "pool1"), splits=3, total_variation=0.001
    ),
    default=Config(first=18, steps=0.5, learning_rate=0.002),
    paper=Config(
        **base.CAFFENET_DESCENT, layers=("conv1", "norm1", "norm2"), groups=2, splits=39, total_variation=1.0
    ),
)  # fmt: skip
