"""Sensitivity of a feature map and of the class probability to occlusion (Zeiler & Fergus 2014, Fig. 7).

    python -m experiments.zeiler2014.occlusion \\
        --config=configs/zeiler2014/occlusion.py:default --workdir=results/zeiler2014/occlusion

smoke: seconds. default: about three minutes on 2 cores. paper: minutes on one GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass
class Config(base.Network, base.Photographs, base.Seeded):
    layer: str = "block11"  # stands for the paper's layer 5 (13x13): the last maps of 14x14
    first: int = 0  # the first image: those before it were used to choose `patch`
    patch: int = 64  # side of the square in pixels; not in the paper, chosen on five photographs
    stride: int = 8  # step of the square in pixels; our choice
    others: int = 3  # projections of the same map from other images (panel c)
    batch_size: int = 32  # occluded images in one forward pass


get_config = base.tiers(
    smoke=Config(network="digits", images="digits", count=3, layer="relu2", patch=3, stride=1, others=2, batch_size=64),
    default=Config(count=24, first=5),
    paper=Config(**base.ZFNET_EXAMPLES, layer="relu5", batch_size=128),
)  # fmt: skip
