"""What switches do to a projection (Zeiler & Fergus 2014, section 2.1; a figure of ours).

    python -m experiments.zeiler2014.switches \\
        --config=configs/zeiler2014/switches.py:default --workdir=results/zeiler2014/switches

smoke: seconds. default: two minutes on 2 cores. paper: minutes on one GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Data, base.Seeded):
    network: str = "vgg16_hed"
    data: str = "photographs"
    split: str = "all"
    count: int = 60  # images whose activations are projected, each beside another one's switches
    shown: int = 6  # of them, in the figure
    layers: tuple[str, ...] = ("relu3_3", "relu5_3")  # above two pools and above four


get_config = base.tiers(
    smoke=Config(**base.DIGITS, split="test", count=40, shown=4, layers=("relu2",)),
    default=Config(),
    paper=Config(
        **base.IMAGENET | base.ZFNET, count=500, layers=("relu2", "relu3", "relu4", "relu5")
    ),
)  # fmt: skip
