"""Priors that people thought of, and a learnt one (Nguyen et al. 2016, DGN-AM, and its rivals).

    python -m experiments.nguyen2016.priors \\
        --config=configs/nguyen2016/priors.py:default --workdir=results/nguyen2016/priors

smoke: seconds. default: three minutes on 2 cores, and once about 25 minutes to train the network, another one that
judges, and the generator. paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator and of a GoogLeNet
that judges, and ImageNet prepared by TFDS.
"""

import dataclasses

from configs.maximisation_baselines import PAPERS, SMOKE, Baselines
from xai_jax.synthesis.dgn_am import DGN


@dataclasses.dataclass
class Config:
    generator: str = "fashion_fc6"  # a name of xai_jax.models.generators, which says whose codes and what network
    generator_weights: str = ""  # the path of a file; nothing means trained on first use
    weights: str = "pretrained"  # of the network, or the path of a checkpoint
    evaluation_network: str = "fashion_allcnn"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_layer: str = "relu8"  # its layer in which images are compared, by means over positions
    data: str = "fashion_mnist"  # natural images to compare with
    split: str = "test"
    natural_images: int = 2000  # of them
    known: int = 5000  # training images, whose means the form of mean images starts from
    mean: tuple[float, ...] = (72.9,)  # colour, taken off
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 20  # for each class
    groups: int = 5  # of starts, each measured by itself
    strong: float = 20.0  # logit, for the form that wants shares of it
    baselines: Baselines = dataclasses.field(default_factory=Baselines)
    dgn: DGN = DGN(learning_rate=0.1)  # as in classes.py
    batch_size: int = 125  # images at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        generator="digits_conv2",
        evaluation_network="digits",
        evaluation_layer="relu2",
        data="digits",
        natural_images=100,
        known=1000,
        mean=(77.8,),
        starts=4,
        groups=2,
        baselines=SMOKE,
        dgn=DGN(learning_rate=2.0, steps=30),
    ),
    "default": Config(),
    "paper": Config(
        generator="caffenet_fc6",
        generator_weights="generator.caffemodel",
        weights="bvlc_reference_caffenet.caffemodel",
        evaluation_network="googlenet",
        evaluation_weights="googlenet.pth",
        evaluation_layer="inception5b",
        data="imagenet2012",
        split="validation",
        known=100_000,
        mean=(122.679, 116.669, 104.007),
        classes=(643, 624, 304, 629, 437),  # units of the paper's script
        starts=10,
        baselines=PAPERS,
        dgn=DGN(),
        batch_size=10,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
