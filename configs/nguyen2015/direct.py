"""Images evolved pixel by pixel to high confidence (Nguyen et al. 2015, Fig. 4).

    python -m experiments.nguyen2015.direct \\
        --config=configs/nguyen2015/direct.py:default --workdir=results/nguyen2015/direct

smoke: seconds. default: four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.PhotoEvaluation, base.Seeded):
    population: int = 100  # children in a generation (the code: 200; CPPN on ImageNet: 400)
    # the code: 1001 on MNIST, 5010 (CPPN: 5001) on ImageNet; the paper, from memory: 20,000 there
    generations: int = 200
    seeds: int = 5  # evolutions
    shown: int = 3  # of them, in the figure


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_EVALUATION, split="test", middle="relu1", natural_images=100, population=100,
        generations=60, seeds=2, shown=2
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET | base.IMAGENET | base.GOOGLENET_EVALUATION, middle="inception4c", population=200,
        generations=20000
    ),
)  # fmt: skip
