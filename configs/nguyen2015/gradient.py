"""Unrecognisable images, by gradient ascent (Nguyen et al. 2015).

    python -m experiments.nguyen2015.gradient \\
        --config=configs/nguyen2015/gradient.py:default --workdir=results/nguyen2015/gradient

smoke: seconds. default: two minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.PhotoEvaluation, base.Seeded):
    classes: int = 20  # to climb for, or all where there are fewer (the code: 20)
    starts: int = 5  # for each class (the code: 5)
    shown: int = 3  # of them, in the figure
    noise: float = 1.0  # standard deviation of what is added to the mean image, in pixel values (the code: 1)
    # The code's setting without regularisation
    steps: int = 200  # the code: 500
    weight_decay: float = 0.0  # of inputs, at each step
    most: float = 0.02  # that the probability should rise in a step
    share: float = 0.1  # of what is missing to 1, if that is less
    batch_size: int = 50  # images at once


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_EVALUATION, split="test", middle="relu1", natural_images=100, starts=2, shown=2
    ),
    default=Config(seed=1, starts=12),  # the first starts of seed 0 were used in first runs
    paper=Config(
        **base.CAFFENET | base.IMAGENET | base.GOOGLENET_EVALUATION, middle="inception4c", steps=500
    ),
)  # fmt: skip
