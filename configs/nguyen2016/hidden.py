"""Preferred inputs of the units of every layer, beside their top images (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.hidden \\
        --config=configs/nguyen2016/hidden.py:default --workdir=results/nguyen2016/hidden

smoke: seconds. default: two minutes on 2 cores. paper: hours on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Generator, base.Data, base.Seeded):
    evaluation_network: str = "photo_evaluation"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_layer: str = "relu5"  # its layer in which images are compared, by means over positions
    images: int = 4900  # how many there are, for the dry run
    # Before they are rectified, as in the code: else no gradient would reach a unit that is silent at the start
    layers: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    units: int = 0  # of each layer, chosen at random; 0 means all
    k: int = 9  # strongest natural images of a unit
    shown: int = 8  # units of each layer in the figures, chosen at random
    learning_rate: float = 0.6  # as in classes.py
    steps: int = 50
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 256  # codes, or images searched, at once


get_config = base.tiers(
    smoke=Config(
        generator="digits_conv2", **base.DIGITS_EVALUATION, data="digits", images=360,
        layers=("conv1", "conv2", "logits"), shown=4, learning_rate=2.0, steps=30, batch_size=32
    ),
    # Settings were chosen on seed 0.
    default=Config(data="composites_64", split="all", units=40, seed=8),
    paper=Config(
        **base.IMAGENET | base.GOOGLENET_EVALUATION | base.CAFFENET_GENERATOR, images=50_000, learning_rate=8.0,
        steps=200, batch_size=128
    ),
)  # fmt: skip
