"""Hand-designed priors and a learned one (Nguyen et al. 2016, DGN-AM, and its baselines).

    python -m experiments.nguyen2016.priors \\
        --config=configs/nguyen2016/priors.py:default --workdir=results/nguyen2016/priors

smoke: seconds. default: four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from configs.maximisation_baselines import PAPERS, SMOKE, Baselines
from xai_jax.synthesis.dgn_am import DGN


@dataclasses.dataclass(kw_only=True)
class Config(base.EvaluationNetwork, base.Generator, base.Seeded):
    known: int = 3900  # training images, whose means the form of mean images starts from
    mean: tuple[float, ...] = base.COMPOSITES_MEAN  # taken off
    classes: tuple[int, ...] = ()  # none means all
    starts: int = 5  # for each class
    groups: int = 5  # of starts, each measured by itself
    strong: float = 20.0  # logit, for the form that wants shares of it
    baselines: Baselines = dataclasses.field(default_factory=Baselines)
    dgn: DGN = DGN(learning_rate=0.6, steps=100, decay_factor=0.95)  # as in classes.py
    steps: float = 1.0  # multiplies the numbers of steps of all forms
    batch_size: int = 125  # images at once


# The classes of the paper's tier are units of the paper's script.
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_EVALUATION, data="digits", natural_images=100, generator="digits_conv2", known=1000,
        mean=(77.8,), starts=4, groups=2, baselines=SMOKE, dgn=DGN(learning_rate=2.0, steps=30)
    ),
    # Natural images are composites, which all networks were trained on and the generator was not. Settings were chosen
    # on seed 0.
    default=Config(**base.PHOTO_GENERATOR | {"data": "composites_64", "split": "all"}, seed=5),
    paper=Config(
        **base.IMAGENET | base.GOOGLENET_EVALUATION | base.CAFFENET_GENERATOR, known=100_000,
        mean=(122.679, 116.669, 104.007), classes=(643, 624, 304, 629, 437), starts=10, baselines=PAPERS, dgn=DGN(),
        batch_size=10
    ),
)  # fmt: skip
