"""Which layer the generator should invert (Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.code_layer \\
        --config=configs/nguyen2016/code_layer.py:default --workdir=results/nguyen2016/code_layer

smoke: seconds. default: two minutes on 2 cores, and once five minutes to train five generators, besides the
network and the evaluation network. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.SmallNetwork, base.Seeded):
    # Names of xai_jax.models.generators, and what their layers are called; conv3 to fc8 in the paper
    generators: tuple[str, ...] = (
        "fashion_pool2_brief",
        "fashion_pool3_brief",
        "fashion_fc6_brief",
        "fashion_fc7_brief",
        "fashion_fc8_brief",
    )
    layers: tuple[str, ...] = ("pool2", "pool3", "fc6", "fc7", "fc8")
    files: tuple[str, ...] = ()  # paths of the generators' weights; none means trained on first use
    connected: tuple[str, ...] = ("fc6", "fc7", "fc8")  # of the layers
    best: str = "fc6"  # the best in the paper
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 20  # codes from noise for each class
    groups: int = 5  # of starts, each measured by itself
    # What a first step changes, of how far units reach on average: 8 of 11.85 in the code, here as in classes.py
    share: float = 0.13
    steps: int = 200
    keep: float = 0.99  # that codes are multiplied by at each step
    batch_size: int = 100  # codes at once


# The classes of the paper's tier are units of the paper's script.
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, generators=("digits_conv2", "digits_logits"), layers=("conv2", "logits"),
        connected=("logits",), best="logits", **base.DIGITS_EVALUATION, natural_images=100, starts=4, groups=2,
        share=0.68, steps=30
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET | base.IMAGENET | base.GOOGLENET_EVALUATION,
        generators=("caffenet_pool5", "caffenet_fc6", "caffenet_fc7"), layers=("pool5", "fc6", "fc7"),
        files=("pool5/generator.caffemodel", "fc6/generator.caffemodel", "fc7/generator.caffemodel"),
        connected=("fc6", "fc7"), classes=(643, 624, 304, 629, 437), starts=10, share=0.68, batch_size=10
    ),
)  # fmt: skip
