"""Whether a network relates corresponding parts of objects (Zeiler & Fergus 2014, Table 1).

    python -m experiments.zeiler2014.correspondence \\
        --config=configs/zeiler2014/correspondence.py:default --workdir=results/zeiler2014/correspondence

smoke and default: seconds. paper: minutes on one GPU. The paper's dogs are not published. Its inputs:
docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Seeded):
    data: str = "heads"  # of mammals, or a name of xai_jax.data.datasets, whose images are aligned in each class
    label: int = 0  # of the images of such a data set
    parts: tuple[tuple[str, float, float], ...] = ()  # their names and centres, as shares of height and width
    positions: str = ""  # CSV file of images and parts, instead of the above
    count: int = 5  # images in a set; Table 1 has one set of five
    sets: int = 20  # at most, without common images
    side: float = 0.25  # of the square that hides a part, as a share of the image's shorter side; our choice
    grey: int = 127  # of the square; our choice
    layers: tuple[str, str] = ("block11", "pool")  # stand for the paper's 5 (13x13) and 7


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, parts=(("top", 0.2, 0.5), ("bottom", 0.8, 0.5), ("side", 0.5, 0.25)), sets=6,
        layers=("relu1", "relu2")
    ),
    default=Config(),
    paper=Config(**base.ZFNET, positions="parts.csv", layers=("relu5", "relu7")),
)  # fmt: skip
