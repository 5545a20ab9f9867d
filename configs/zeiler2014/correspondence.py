"""Whether a network relates corresponding parts of objects (Zeiler & Fergus 2014, Table 1).

    python -m experiments.zeiler2014.correspondence \\
        --config=configs/zeiler2014/correspondence.py:default --workdir=results/zeiler2014/correspondence

smoke: seconds. default: under a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one GPU,
with weights of a ZFNet as --config.weights=PATH, and as --config.positions=PATH a CSV file with the columns image,
part, row, column: an image file, a part's name, and the part's centre in pixels. The paper's dogs are not published.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Seeded):
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets; its test images are aligned, unlike the paper's dogs
    label: int = 9  # ankle boots
    # Names and centres, as shares of height and width.
    parts: tuple[tuple[str, float, float], ...] = (("toe", 0.7, 0.17), ("heel", 0.72, 0.85), ("opening", 0.2, 0.72))
    positions: str = ""  # CSV file of images and parts, instead of the above
    count: int = 5  # images in a set; Table 1 has one set of five
    sets: int = 40
    side: float = 0.25  # of the square that hides a part, as a share of the image's shorter side; our choice
    grey: int = 127  # of the square; our choice
    layers: tuple[str, str] = ("relu3_1", "relu7")  # 5 and 7 in the paper


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, label=0, parts=(("top", 0.2, 0.5), ("bottom", 0.8, 0.5), ("side", 0.5, 0.25)), sets=6,
        layers=("relu1", "relu2")
    ),
    default=Config(),
    paper=Config(**base.ZFNET, parts=(), positions="parts.csv", sets=20, layers=("relu5", "relu7")),
)  # fmt: skip
