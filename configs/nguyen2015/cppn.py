"""Regular images evolved until a network is sure of them (Nguyen et al. 2015, Figs. 5 and 8).

    python -m experiments.nguyen2015.cppn \\
        --config=configs/nguyen2015/cppn.py:default --workdir=results/nguyen2015/cppn

smoke: seconds. default: three minutes on 2 cores, and once about 10 minutes to train the network and another one that
judges. paper: minutes on one A100, with weights of CaffeNet and of a GoogLeNet that judges given as
--config.weights=PATH and --config.evaluation_weights=PATH, and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.SmallNetwork, base.Seeded):
    middle: str = "relu5"  # its middle layer, in which they are compared, too
    hidden: int = 16  # nodes that a CPPN may have, at most (ours)
    population: int = 200  # children in a generation (the code: 200 on MNIST, 400 on ImageNet)
    # the code: 1001 on MNIST, 5001 on ImageNet
    generations: int = 1000
    seeds: int = 3  # evolutions
    shown: int = 3  # of them, in the figure


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS,
        evaluation_network="digits",
        evaluation_layer="relu2",
        middle="relu1",
        natural_images=100,
        population=100,
        generations=60,
        seeds=2,
        shown=2,
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET | base.IMAGENET | base.GOOGLENET_EVALUATION,
        middle="inception4c",
        population=400,
        generations=5000,
    ),
)
