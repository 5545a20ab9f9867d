"""Errors of the twelve networks that differ in how they halve their maps (Springenberg et al. 2015, Table 3).

    python -m experiments.springenberg2015.cifar_table \\
        --config=configs/springenberg2015/cifar_table.py:default --workdir=results/springenberg2015/cifar_table

smoke: seconds. default: about ten minutes on 2 cores; a quarter of the networks' width, on Fashion-MNIST at half its
size. paper: about half a day on one A100 (12 networks, nine times each), with CIFAR-10 prepared by TFDS.
"""

import dataclasses

from configs import base
from configs.training import PAPER, SMOKE, Training


@dataclasses.dataclass
class Config(Training):
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    bases: tuple[str, ...] = ("A", "B", "C")  # base models of Table 1
    margin: float = 1.0  # points of error; a significantly smaller cost counts as none. Set before any run


get_config = base.tiers(
    smoke=Config(**dataclasses.asdict(SMOKE), data="digits", bases=("A",)),
    default=Config(),
    paper=Config(**dataclasses.asdict(PAPER), data="cifar10"),
)
