"""Errors of the twelve networks that differ in how they halve their maps (Springenberg et al. 2015, Table 3).

    python -m experiments.springenberg2015.cifar_table \\
        --config=configs/springenberg2015/cifar_table.py:default --workdir=results/springenberg2015/cifar_table

smoke: seconds. default: about six minutes on 2 cores; a quarter of the networks' width, on Fashion-MNIST at half its
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


# Learning rates that were chosen in the trial of docs/decisions.md.
CHOSEN = (
    ("model_a", 0.01), ("strided_cnn_a", 0.02), ("convpool_cnn_a", 0.01), ("all_cnn_a", 0.02),
    ("model_b", 0.01), ("strided_cnn_b", 0.02), ("convpool_cnn_b", 0.02), ("all_cnn_b", 0.02),
    ("model_c", 0.01), ("strided_cnn_c", 0.02), ("convpool_cnn_c", 0.02), ("all_cnn_c", 0.02)
)  # fmt: skip

get_config = base.tiers(
    smoke=Config(**dataclasses.asdict(SMOKE), data="digits", bases=("A",)),
    default=Config(chosen=CHOSEN),
    paper=Config(**dataclasses.asdict(PAPER), data="cifar10"),
)
