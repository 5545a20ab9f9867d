"""Several pre-images of one representation (Mahendran & Vedaldi 2015, Fig. 7).

    python -m experiments.mahendran2015.multiple \\
        --config=configs/mahendran2015/multiple.py:default --workdir=results/mahendran2015/multiple

smoke: seconds. default: about four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    count: int = 10  # images inverted
    first: int = 0  # the first image
    shown: int = 2  # of them, in the figure
    restarts: int = 4  # from different noise (Fig. 7 shows four, unverified)
    layers: tuple[str, ...] = ("pool5", "relu6", "relu7", "fc8")
    total_variations: tuple[float, ...] = (20.0, 20.0, 20.0, 20.0)  # lambda_V for each
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_DESCENT, count=4, restarts=3, layers=("relu1", "logits"),
        total_variations=(0.001, 0.01), steps=0.1
    ),
    default=Config(first=42, count=12, learning_rate=0.0005),
    paper=Config(
        **base.CAFFENET_DESCENT, layers=("pool5", "relu6", "relu7", "fc8"),
        total_variations=(1.0, 10.0, 100.0, 100.0)
    ),
)  # fmt: skip
