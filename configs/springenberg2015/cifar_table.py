"""Errors of the twelve networks that differ in how they halve their maps (Springenberg et al. 2015, Table 3).

    python -m experiments.springenberg2015.cifar_table \\
        --config=configs/springenberg2015/cifar_table.py:default --workdir=results/springenberg2015/cifar_table

smoke: seconds. default: about ten minutes on 2 cores; a quarter of the networks' width, on Fashion-MNIST at half its
size. paper: about half a day on one A100 (12 networks, nine times each), with CIFAR-10 prepared by TFDS.
"""

import dataclasses

from configs.training import PAPER, Training


@dataclasses.dataclass
class Config(Training):
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    bases: tuple[str, ...] = ("A", "B", "C")  # base models of Table 1
    margin: float = 1.0  # points of error; costs that are surely smaller count as none. Set before any run


TIERS = {
    "smoke": Config(
        images=1400,
        held_out=200,
        tested=360,
        side=12,
        width=0.1,
        epochs=3,
        batch=20,
        rates=(0.02,),
        seeds=2,
        data="digits",
        bases=("A",),
    ),
    "default": Config(),
    "paper": Config(**dataclasses.asdict(PAPER), data="cifar10"),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
