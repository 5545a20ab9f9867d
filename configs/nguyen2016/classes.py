"""Preferred inputs of all classes through a generator (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.classes \\
        --config=configs/nguyen2016/classes.py:default --workdir=results/nguyen2016/classes

smoke: seconds. default: a minute on 2 cores, and once about 25 minutes to train the network, the evaluation network,
and the generator. paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator and of a GoogLeNet for
evaluation given as --config.weights=PATH and so on, and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    starts: int = 10  # codes from noise for each class
    shown: int = 3  # of them, in the figure
    # The code's 8, of codes whose units reach up to 11.85 on average; here they reach 0.8, which would mean 0.54. Of
    # learning rates from 0.05 to 0.54, smaller ones made images more realistic at the same confidence.
    learning_rate: float = 0.1
    steps: int = 200
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 100  # codes at once


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_EVALUATION, data="digits", natural_images=100, generator="digits_conv2", starts=2, shown=2,
        learning_rate=2.0, steps=30
    ),
    default=Config(),
    paper=Config(
        **base.IMAGENET | base.GOOGLENET_EVALUATION | base.CAFFENET_GENERATOR, starts=1, shown=1, learning_rate=8.0
    ),
)  # fmt: skip
