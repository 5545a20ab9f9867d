"""What switches do to a projection (Zeiler & Fergus 2014, section 2.1; a figure of ours).

    python -m experiments.zeiler2014.switches \\
        --config=configs/zeiler2014/switches.py:default --workdir=results/zeiler2014/switches

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one GPU,
with weights of a ZFNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Seeded):
    count: int = 200  # images whose activations are projected, each beside another one's switches
    shown: int = 6  # of them, in the figure
    layers: tuple[str, ...] = ("relu2_1", "relu3_1")  # above one pool or more


get_config = base.tiers(
    smoke=Config(**base.DIGITS, count=40, shown=4, layers=("relu2",)),
    default=Config(),
    paper=Config(
        **base.IMAGENET | base.ZFNET, count=500, layers=("relu2", "relu3", "relu4", "relu5")
    ),
)  # fmt: skip
