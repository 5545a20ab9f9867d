"""TCAV of an attribute that has nothing to do with the class, planted with known strength (Kim et al. 2018).

    python -m experiments.kim2018.bias --config=configs/kim2018/bias.py:default --workdir=results/kim2018/bias

smoke: seconds. default: three minutes on 2 cores. paper: hours on one A100; the paper has no such experiment, its
question concerns a large network. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.CAVs):
    data: str = "composites"  # of cut-outs, with other objects to test than to train, or a data set's name
    classes: tuple[str, ...] = ("fruit", "flower", "mammal")  # the first is biased
    side: int = 32  # pixels
    biased: str = "badge"  # the attribute that goes with the first class
    shares: tuple[float, ...] = (1 / 3, 0.5, 0.7, 0.9)  # of the first class that have it, a network for each
    irrelevant: str = "star"  # the attribute that half of every class have
    images: int = 4000  # to learn
    checked: int = 900  # to test with
    stages: tuple[int, ...] = (1, 1, 1)  # of a VGG: the convolutions between two poolings
    widths: tuple[int, ...] = (16, 32, 64)
    hidden: int = 64
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 0.01  # falls along half a cosine
    weight_decay: float = 0.0005
    half: bool = False  # training in bfloat16, for accelerators
    layers: tuple[str, ...] = ("pool2", "pool3", "relu6")
    shown: str = "pool3"  # the layer whose scores are compared with the truth: the last with positions
    examples: int = 30  # images of each attribute, and of each random set
    controls: int = 15  # random sets substituted for an attribute, for the test
    explained: int = 100  # test images of each class, whose derivatives count
    seeds: tuple[int, ...] = tuple(range(3, 8))  # a network of each share for each


get_config = base.tiers(
    smoke=Config(
        data="digits", classes=("1", "4", "7"), side=20, shares=(1 / 3, 0.9), images=300, checked=100,
        widths=(8, 8, 16), hidden=32, epochs=2, layers=("pool2", "pool3"), examples=6, runs=2, controls=4,
        explained=20, seeds=(0,)
    ),
    default=Config(),
    paper=Config(
        data="imagenet2012", classes=("Siberian husky", "malamute", "Eskimo dog"), side=224, images=3900, checked=150,
        stages=(1, 1, 2, 2, 2), widths=(64, 128, 256, 512, 512), hidden=4096, epochs=60,
        layers=("pool3", "pool4", "pool5", "relu6"), shown="pool5", examples=50, runs=500, controls=20, explained=50
    ),
)  # fmt: skip
