"""Effect of the total variation prior on pre-images (Mahendran & Vedaldi 2015, Figs. 2 and 8).

    python -m experiments.mahendran2015.regulariser \\
        --config=configs/mahendran2015/regulariser.py:default --workdir=results/mahendran2015/regulariser

smoke: seconds. default: about three minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    count: int = 10  # images inverted
    first: int = 0  # the first image
    shown: int = 2  # of them, in the figures
    lower: str = "pool1"  # layer of Fig. 2 (norm1), where a penalty with beta 1 leaves spikes
    upper: str = "fc8"  # layer of Fig. 8
    betas: tuple[float, ...] = (1.0, 1.5, 2.0)  # powers of the gradients' lengths; Fig. 2 has 1 and 2
    total_variations: tuple[float, ...] = (10.0, 30.0, 100.0)  # lambda_V: 1, 10 and 100 in the code
    steps: float = 1.0  # multiplies the schedule's 100, 200 and 100 steps


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_DESCENT, count=4, lower="pool1", upper="logits", betas=(1.0, 2.0),
        total_variations=(0.001, 0.1), steps=0.1
    ),
    default=Config(first=30, count=12),
    paper=Config(**base.CAFFENET_DESCENT, lower="norm1", total_variations=(1.0, 10.0, 100.0)),
)  # fmt: skip
