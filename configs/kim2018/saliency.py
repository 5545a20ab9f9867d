"""What saliency maps show of networks whose concept is known (Kim et al. 2018, section 4.3).

    python -m experiments.kim2018.saliency \\
        --config=configs/kim2018/saliency.py:default --workdir=results/kim2018/saliency

smoke: seconds. default: a minute on 2 cores, and once one more to train networks that kim2018/captions uses, too.
paper: an hour on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from configs.captioned import FEW, PAPER, SMOKE, Networks


@dataclasses.dataclass(kw_only=True)
class Config(Networks, base.Seeded):
    seed: int = 10  # of networks that kim2018/captions trains
    noises: tuple[float, ...] = FEW
    explained: int = 20  # test images of each class
    steps: int = 32  # of integrated gradients
    samples: int = 16  # of SmoothGrad
    standard_deviation: float = 0.15  # of its noise, as a share of the image's range


get_config = base.tiers(
    smoke=Config(**dataclasses.asdict(SMOKE), explained=4, steps=4, samples=3),
    default=Config(),
    paper=Config(**dataclasses.asdict(PAPER) | {"noises": FEW}, steps=64, samples=50),
)
