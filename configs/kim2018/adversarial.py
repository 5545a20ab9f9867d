"""Whether TCAV distinguishes adversarial images from natural ones (Kim et al. 2018, appendix).

    python -m experiments.kim2018.adversarial \\
        --config=configs/kim2018/adversarial.py:default --workdir=results/kim2018/adversarial

smoke: seconds. default: three minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network):
    data: str = "photographs"  # and cut-outs on them, or a data set, whose last split has the images
    targets: tuple[str, ...] = (  # classes of which natural images are predicted rightly, and that images are made for
        *("zebra", "tiger", "brown bear", "bison", "Arabian camel", "beaver", "fox squirrel", "wombat", "drake"),
        *("strawberry", "lemon", "orange", "Granny Smith", "broccoli", "bell pepper", "bolete"),
        *("fire engine", "balloon", "basketball", "soccer ball"),
    )
    concepts: tuple[str, ...] = ("stripes", "dots", "zigzags", "meshes")
    layers: tuple[str, ...] = ("block5", "block11", "block15")
    shown: str = "block11"  # the layer of the figure of scores
    examples: int = 30  # images of each concept
    random: int = 60  # random images of its CAV
    images: int = 10  # of each group and class
    candidates: int = 1  # times as many are attacked; those that are classified as the target are used first
    most: float = 8.0  # that a pixel may change, of 255
    most_noise: float = 16.0  # the same for noise
    steps: int = 6  # of equal length (the paper: one)
    seeds: tuple[int, ...] = (0,)  # of all images


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, targets=("0", "1", "2"), concepts=("stripes", "dots"), layers=("relu1", "relu2"),
        shown="relu2", examples=6, random=8, images=8, candidates=2, most=100.0,
        most_noise=255.0, steps=10, seeds=(0, 1)
    ),
    default=Config(),
    paper=Config(
        network="googlenet", weights="torchvision", data="imagenet2012",
        targets=("zebra", "fire engine", "dalmatian", "dumbbell", "apron", "dogsled", "school bus", "ping-pong ball"),
        layers=("inception4a", "inception4d", "inception5a"), shown="inception4d", examples=50, random=100, images=25,
        candidates=2, most_noise=255.0, steps=1, seeds=tuple(range(10))
    ),
)  # fmt: skip
