"""What excites the feature maps of each layer (Zeiler & Fergus 2014, Fig. 2).

    python -m experiments.zeiler2014.features \\
        --config=configs/zeiler2014/features.py:default --workdir=results/zeiler2014/features

smoke: seconds. default: seven minutes on 2 cores. paper: minutes on one GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Seeded):
    network: str = "vgg16_hed"
    # Names of xai_jax.data.datasets: the first is searched for the figure, each for the claim about classes
    data: tuple[str, ...] = ("photographs", "composites")
    split: str = "all"
    images: int = 1465  # how many there are in all, for the dry run
    layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    maps: int = 16  # of each layer, chosen at random
    k: int = 9  # strongest activations of a map
    batch_size: int = 16  # images searched at once


get_config = base.tiers(
    smoke=Config(network="digits", data=("digits",), split="test", images=360, layers=("relu1", "relu2"), maps=9),
    default=Config(),
    paper=Config(
        **base.ZFNET, data=("imagenet2012",), split="validation", images=50_000,
        layers=("relu1", "relu2", "relu3", "relu4", "relu5"), batch_size=256
    ),
)  # fmt: skip
