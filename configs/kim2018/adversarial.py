"""Whether TCAV distinguishes adversarial images from natural ones (Kim et al. 2018, appendix).

    python -m experiments.kim2018.adversarial \\
        --config=configs/kim2018/adversarial.py:default --workdir=results/kim2018/adversarial

smoke: seconds. default: a minute on 2 cores, and once about 5 minutes to train the network. paper: minutes on one A100,
with weights of GoogLeNet given as --config.weights=PATH, and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network):
    network: str = "fashion_maxpool"  # a name of xai_jax.models
    data: str = "fashion_mnist"  # whose last split has the images
    targets: tuple[str, ...] = ()  # classes that images are made for; none: all
    concepts: tuple[str, ...] = ("stripes", "dots", "zigzags", "meshes")
    layers: tuple[str, ...] = ("pool2", "pool3", "relu6")
    shown: str = "pool3"  # the layer of the figure of scores
    examples: int = 30  # images of each concept
    random: int = 60  # random images of its CAV
    images: int = 30  # of each group and class
    most: float = 50.0  # that a pixel may change, of 255 (noise: any)
    steps: int = 10  # of equal length (the paper: one)
    seeds: tuple[int, ...] = (0, 1, 2)  # of all images


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, targets=("0", "1", "2"), concepts=("stripes", "dots"), layers=("relu1", "relu2"),
        shown="relu2", examples=6, random=8, images=8, most=100.0, seeds=(0, 1)
    ),
    default=Config(),
    paper=Config(
        network="googlenet", weights="googlenet.pth", data="imagenet2012",
        targets=("zebra", "fire engine", "dalmatian", "dumbbell", "apron", "dogsled", "school bus", "ping-pong ball"),
        layers=("inception4a", "inception4d", "inception5a"), shown="inception4d", examples=50, random=100, images=25,
        most=8.0, steps=1, seeds=tuple(range(10))
    ),
)  # fmt: skip
