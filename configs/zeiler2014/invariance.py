"""How features change as the image is moved, enlarged and turned (Zeiler & Fergus 2014, Fig. 5).

    python -m experiments.zeiler2014.invariance \\
        --config=configs/zeiler2014/invariance.py:default --workdir=results/zeiler2014/invariance

smoke: seconds. default: half a minute on 2 cores. paper: minutes on one GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Photographs, base.Seeded):
    first: int = 0  # the first image
    shown: int = 5  # of them, in the figure
    layers: tuple[str, str] = ("stem", "pool")  # the first and the last layer of features (1 and 7 in the paper)
    translation: tuple[float, float] = (-60.0, 60.0)  # pixels; the ranges are the axes of Fig. 5, unverified
    scale: tuple[float, float] = (1.0, 1.8)
    rotation: tuple[float, float] = (0.0, 350.0)  # degrees
    steps: int = 25  # amounts in each range


get_config = base.tiers(
    smoke=Config(
        network="digits", images="digits", count=4, layers=("relu1", "relu2"), translation=(-2.0, 2.0), steps=9
    ),
    default=Config(count=24, first=5),
    paper=Config(**base.ZFNET_EXAMPLES, layers=("relu1", "relu7"), steps=61),
)  # fmt: skip
