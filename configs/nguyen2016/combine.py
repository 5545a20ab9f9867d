"""Pictures that excite two classes at once (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.combine \\
        --config=configs/nguyen2016/combine.py:default --workdir=results/nguyen2016/combine

smoke: seconds. default: a minute on 2 cores, and once about 25 minutes to train the network, another one that judges,
and the generator. paper: minutes on one A100, with weights of CaffeNet, of its fc6 generator and of a GoogLeNet that
judges given as --config.weights=PATH and so on.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    generator: str = "fashion_fc6"  # a name of xai_jax.models.generators, which says whose codes and what network
    generator_weights: str = ""  # the path of a file; nothing means trained on first use
    weights: str = "pretrained"  # of the network, or the path of a checkpoint
    evaluation_network: str = "fashion_allcnn"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    classes: tuple[int, ...] = tuple(range(10))  # all pairs of them
    starts: int = 4  # codes from noise for each pair
    rate: float = 0.1  # as in classes.py
    steps: int = 200
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 110  # codes at once
    seed: int = 0


TIERS = {
    "smoke": Config(
        generator="digits_conv2", evaluation_network="digits", classes=(0, 1, 2, 3), starts=2, rate=2.0, steps=30
    ),
    "default": Config(),
    "paper": Config(
        generator="caffenet_fc6",
        generator_weights="generator.caffemodel",
        weights="bvlc_reference_caffenet.caffemodel",
        evaluation_network="googlenet",
        evaluation_weights="googlenet.pth",
        classes=(643, 624, 304, 629, 437, 945),  # of the papers' scripts
        starts=2,
        rate=8.0,
        batch_size=42,
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
