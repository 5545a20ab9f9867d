"""Images sorted by concepts (Kim et al. 2018, section 4.1.1).

    python -m experiments.kim2018.sorting \\
        --config=configs/kim2018/sorting.py:default --workdir=results/kim2018/sorting

smoke: seconds. default: a minute on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network):
    layer: str = "block8"
    concepts: tuple[str, ...] = ("stripes", "zigzags", "dots", "meshes", "red", "orange", "yellow", "green", "blue")
    images: str = "photographs"  # to sort: these and cut-outs, or those of a data set
    examples: int = 20  # images of each concept of its CAV
    random: int = 60  # photographs that its CAV separates them from, and as many of other concepts at most
    marked: int = 6  # photographs for each concept, that show it in a quarter of them
    plain: int = 24  # photographs as they are
    seeds: tuple[int, ...] = tuple(range(9, 15))  # of concept images and photographs; earlier ones were seen


get_config = base.tiers(
    smoke=Config(
        network="digits", layer="relu1", concepts=("stripes", "dots"), images="digits", examples=8, random=8,
        plain=12, seeds=(0, 1)
    ),
    default=Config(),
    paper=Config(
        network="googlenet", weights="torchvision", layer="inception4d", images="imagenet2012", examples=50,
        random=100, marked=50, plain=1000, seeds=tuple(range(10))
    ),
)  # fmt: skip
