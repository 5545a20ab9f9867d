"""Facets of classes, from the codes of different images (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.facets \\
        --config=configs/nguyen2016/facets.py:default --workdir=results/nguyen2016/facets

smoke: seconds. default: a minute on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    starts_from: str = "train"  # the split whose images give codes to start from
    # Vegetables first, since the paper starts from a bell pepper
    classes: tuple[int, ...] = (5, 4, 7, 0, 1, 2, 3, 6, 8, 9, 10, 11, 12)
    pool: int = 180  # images of each class, out of which facets are chosen: as many as there are of mushrooms
    facets: int = 5  # of each class
    averaged: int = 15  # images whose mean code is a start
    shown: int = 3  # classes in the figure, the first
    learning_rate: float = 0.6  # from noise, as in classes.py
    steps: int = 50
    keep: float = 0.95  # that codes from noise are multiplied by at each step
    careful_learning_rate: float = 0.075  # from images: an eighth of that from noise, as in the code (1 and 8)
    careful_steps: int = 30  # the code's, whose factor of 0.99 they have, too
    batch_size: int = 100  # codes at once


# The classes of the paper's tier are those of the papers' scripts; the first is the one they start from an image.
get_config = base.tiers(
    smoke=Config(
        generator="digits_conv2", **base.DIGITS_EVALUATION, data="digits", natural_images=200,
        classes=tuple(range(10)), pool=50, facets=3, averaged=5, learning_rate=2.0, steps=30, keep=0.99,
        careful_learning_rate=0.25, careful_steps=10
    ),
    # Other objects than those of the images to start from; settings were chosen on seed 0.
    default=Config(**base.PHOTO_GENERATOR | {"split": "test"}, seed=9),
    paper=Config(
        **base.IMAGENET | base.GOOGLENET_EVALUATION | base.CAFFENET_GENERATOR, classes=(945, 643, 624, 304, 629, 437),
        pool=300, learning_rate=8.0, steps=200, keep=0.99, careful_learning_rate=1.0
    ),
)  # fmt: skip
