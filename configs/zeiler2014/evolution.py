"""How the features of each layer change during training (Zeiler & Fergus 2014, Fig. 4).

    python -m experiments.zeiler2014.evolution \\
        --config=configs/zeiler2014/evolution.py:default --workdir=results/zeiler2014/evolution

smoke: seconds. default: about four minutes on 2 cores, most of them to train the network. paper: hours on one
GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Seeded):
    weights: str = ""  # directory of a run that kept its epochs; empty: small networks are trained here
    images: int = 10_000  # how many there are, for the dry run
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    maps: int = 12  # of each layer, chosen at random
    epochs: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)  # the columns; section 4.1 has 1, 2, 5, 10, 20, 30, 40, 64
    probes: int = 256  # images over which maps are compared with their final selves
    batch_size: int = 128  # images searched at once


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, split="train", images=1437, layers=("relu1", "relu2"), maps=6, epochs=(1, 2, 4), probes=64
    ),
    default=Config(),
    paper=Config(
        network="zfnet", weights="results/zeiler2014/imagenet/training/zfnet-0", data="imagenet2012", split="train",
        images=1_281_167, layers=("relu1", "relu2", "relu3", "relu4", "relu5"), maps=6,
        epochs=(1, 2, 5, 10, 20, 30, 40, 64), probes=256, batch_size=256
    ),
)  # fmt: skip
