"""Another network explained through the same generator (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.transfer \\
        --config=configs/nguyen2016/transfer.py:default --workdir=results/nguyen2016/transfer

smoke: seconds. default: two minutes on 2 cores, and once about 25 minutes to train three networks and the generator.
paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator, of GoogLeNet and of a VGG16 for evaluation,
and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    explained: str = "fashion_allcnn"  # another network
    explained_weights: str = "pretrained"  # or the path of a checkpoint
    evaluation_network: str = "fashion_evaluation"  # a third one
    evaluation_layer: str = "relu7"  # its layer in which images are compared
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 20  # codes from noise for each class
    groups: int = 5  # of starts, each measured by itself
    learning_rate: float = 0.1  # as in classes.py
    steps: int = 200
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 125  # codes at once


# The classes of the paper's tier are units of the paper's script; the code has a learning rate of 2 for GoogLeNet.
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_EVALUATION, data="digits", natural_images=100, generator="digits_conv2", explained="digits",
        starts=4, groups=2, learning_rate=2.0, steps=30
    ),
    default=Config(),
    paper=Config(
        **base.IMAGENET | base.CAFFENET_GENERATOR, explained="googlenet", explained_weights="googlenet.pth",
        evaluation_network="vgg16", evaluation_weights="vgg16.pth", classes=(643, 624, 304, 629, 437), starts=10,
        learning_rate=8.0, batch_size=10
    ),
)  # fmt: skip
