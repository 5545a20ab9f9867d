"""Inversions of HOG and dense SIFT (Mahendran & Vedaldi 2015, Figs. 4 and 5, Table 1).

    python -m experiments.mahendran2015.shallow \\
        --config=configs/mahendran2015/shallow.py:default --workdir=results/mahendran2015/shallow

smoke: seconds. default: about a minute on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Photographs, base.Seeded):
    count: int = 12  # images inverted (the paper: 100)
    first: int = 0  # the first image: those before it were used to choose the number of images
    shown: int = 3  # of them, in the figures
    side: int = 224  # side of the images' centre squares, resized, in pixels
    cell: int = 8  # of HOG, pixels
    bin: int = 5  # of dense SIFT, pixels; 8 in the code of 2016
    standard_deviation: float = 68.9  # RMS of natural images' pixels less their mean
    total_variations: tuple[float, ...] = (1.0, 10.0, 100.0)  # lambda_V of the code, of Fig. 4; the first in Fig. 5
    # factors of the learning rate, steps
    phases: tuple[tuple[float, int], ...] = ((1.0, 200), (0.1, 200), (0.01, 200), (0.001, 200))
    batch_size: int = 6  # images at once


get_config = base.tiers(
    smoke=Config(count=3, shown=2, side=48, total_variations=(0.05, 5.0), phases=((1.0, 30), (0.1, 10)), batch_size=3),
    # lambda_V times (128 / 227)^2: smaller images vary faster
    default=Config(first=28, side=128, total_variations=(0.3, 3.0, 30.0)),
    paper=Config(images="imagenet", count=100, batch_size=25),
)
