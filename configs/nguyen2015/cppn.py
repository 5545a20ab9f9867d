"""Regular images evolved to high confidence (Nguyen et al. 2015, Figs. 5 and 8).

    python -m experiments.nguyen2015.cppn \\
        --config=configs/nguyen2015/cppn.py:default --workdir=results/nguyen2015/cppn

smoke: seconds. default: four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from configs.nguyen2015 import direct


@dataclasses.dataclass(kw_only=True)
class Config(direct.Config):  # as in direct, but for the encoding
    hidden: int = 16  # nodes that a CPPN may have, at most (ours)


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_EVALUATION, split="test", middle="relu1", natural_images=100, population=100,
        generations=60, seeds=2, shown=2
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET | base.IMAGENET | base.GOOGLENET_EVALUATION, middle="inception4c", population=400,
        generations=5000
    ),
)  # fmt: skip
