"""Another network explained through the same generator (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.transfer \\
        --config=configs/nguyen2016/transfer.py:default --workdir=results/nguyen2016/transfer

smoke: seconds. default: two minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    explained: str = "photo_allcnn"  # another network; that for evaluation is a third one
    explained_weights: str = "pretrained"  # or the path of a checkpoint
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 10  # codes from noise for each class
    groups: int = 5  # of starts, each measured by itself
    learning_rate: float = 0.6  # as in classes.py
    steps: int = 50  # half as many, which change neither confidence nor agreement
    keep: float = 0.95  # that codes are multiplied by at each step
    batch_size: int = 130  # codes at once


# The classes of the paper's tier are units of the paper's script; the code has a learning rate of 2 for GoogLeNet.
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_EVALUATION, data="digits", natural_images=100, generator="digits_conv2", explained="digits",
        starts=4, groups=2, learning_rate=2.0, steps=30, keep=0.99
    ),
    default=Config(**base.PHOTO_GENERATOR, seed=6),  # settings were chosen on seed 0
    paper=Config(
        **base.IMAGENET | base.CAFFENET_GENERATOR, explained="googlenet", explained_weights="torchvision",
        evaluation_network="vgg16", evaluation_weights="torchvision", evaluation_layer="relu7",
        classes=(643, 624, 304, 629, 437), starts=10, learning_rate=8.0,
        steps=200, keep=0.99, batch_size=10
    ),
)  # fmt: skip
