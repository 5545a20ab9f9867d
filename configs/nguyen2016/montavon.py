"""Prototypes of classes in pixels and in codes, over penalties (Montavon et al. 2018).

    python -m experiments.nguyen2016.montavon \\
        --config=configs/nguyen2016/montavon.py:default --workdir=results/nguyen2016/montavon

smoke: seconds. default: four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    means_from: str = "train"  # the split of images whose means are compared with
    averaged: int = 60  # images in each mean
    classes: tuple[int, ...] = tuple(range(13))
    starts: int = 3  # from noise, for each class
    shown: int = 13  # classes in the figure, the first
    pixel_penalties: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)  # of the squared length of the network's input
    code_penalties: tuple[float, ...] = (0.0, 1e-3, 1e-2, 1e-1, 1.0)  # of that of codes
    penalty: float = 0.01  # of the tutorial's notebook, which takes the mean code off; one of those of codes
    pixel_learning_rate: float = 0.05  # of Adam
    code_learning_rate: float = 0.2
    learning_rate: float = 0.6  # of DGN's steps, and the next two as in classes.py
    keep: float = 0.95
    steps: int = 100  # of all
    batch_size: int = 100  # codes at once


get_config = base.tiers(
    smoke=Config(
        generator="digits_conv2", **base.DIGITS_EVALUATION, data="digits", classes=tuple(range(10)), natural_images=200,
        averaged=20, starts=2, pixel_penalties=(0.0, 1e-2), code_penalties=(0.0, 1e-2), code_learning_rate=0.05,
        learning_rate=2.0, keep=0.99, steps=30
    ),
    default=Config(**base.PHOTO_GENERATOR, seed=5),  # settings were chosen on seed 0
    paper=Config(
        **base.IMAGENET | base.GOOGLENET_EVALUATION | base.CAFFENET_GENERATOR, classes=(643, 624, 304, 629, 437, 945),
        starts=2, pixel_penalties=(0.0, 1e-10, 1e-9, 1e-8, 1e-7), pixel_learning_rate=5.0,
        code_learning_rate=0.5, learning_rate=8.0, keep=0.99, steps=200
    ),
)  # fmt: skip
