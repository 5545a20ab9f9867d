"""Pictures that excite two classes at once (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.combine \\
        --config=configs/nguyen2016/combine.py:default --workdir=results/nguyen2016/combine

smoke: seconds. default: three minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Generator, base.Seeded):
    data: str = "fashion_mnist"  # whose training images bound the codes of a generator from a file
    evaluation_network: str = "photo_evaluation"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    classes: tuple[int, ...] = tuple(range(13))  # all pairs of them
    starts: int = 3  # codes from noise for each pair
    learning_rate: float = 0.6
    steps: int = 50
    keep: float = 0.95  # that codes are multiplied by at each step
    batch_size: int = 91  # codes at once


# The classes of the paper's tier are those of the papers' scripts.
get_config = base.tiers(
    smoke=Config(
        generator="digits_conv2", data="digits", evaluation_network="digits", classes=(0, 1, 2, 3), starts=2,
        learning_rate=2.0, steps=30, keep=0.99
    ),
    default=Config(seed=7),  # settings were chosen on seed 0
    paper=Config(
        **base.CAFFENET_GENERATOR, data="imagenet2012", evaluation_network="googlenet",
        evaluation_weights="torchvision", classes=(643, 624, 304, 629, 437, 945), starts=2, learning_rate=8.0,
        steps=200, keep=0.99, batch_size=42
    ),
)  # fmt: skip
