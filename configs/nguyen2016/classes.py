"""Preferred inputs of all classes through a generator (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.classes \\
        --config=configs/nguyen2016/classes.py:default --workdir=results/nguyen2016/classes

smoke: seconds. default: a minute on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 10  # codes from noise for each class
    shown: int = 3  # of them, in the figure
    # The code's 8 and 0.99, of codes whose units reach up to 11.85 on average, saturate the images of our generator,
    # whose codes reach 11.03; see docs/decisions.md.
    learning_rate: float = 0.6
    steps: int = 100
    keep: float = 0.95  # that codes are multiplied by at each step
    batch_size: int = 100  # codes at once


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_EVALUATION, data="digits", natural_images=100, generator="digits_conv2", starts=2, shown=2,
        learning_rate=2.0, steps=30, keep=0.99
    ),
    default=Config(**base.PHOTO_GENERATOR, seed=5, starts=5, batch_size=13),  # settings were chosen on seed 0
    paper=Config(
        **base.IMAGENET | base.GOOGLENET_EVALUATION | base.CAFFENET_GENERATOR, starts=1, shown=1, learning_rate=8.0,
        steps=200, keep=0.99
    ),
)  # fmt: skip
