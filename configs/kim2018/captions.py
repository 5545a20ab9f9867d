"""TCAV where the truth is known: networks trained on images with captions (Kim et al. 2018, section 4.3).

    python -m experiments.kim2018.captions \\
        --config=configs/kim2018/captions.py:default --workdir=results/kim2018/captions

smoke: seconds. default: two minutes a seed on 2 cores. clothes: the same with pictures of clothes, Fashion-MNIST's.
paper: hours on one A100; the paper is silent about its networks. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from configs.captioned import CLOTHES, PAPER, SMOKE, Networks


@dataclasses.dataclass(kw_only=True)
class Config(Networks, base.CAVs):
    layers: tuple[str, ...] = ("pool2", "pool3", "relu6")
    shown: str = "pool3"  # the layer whose scores are compared with the truth: the last with positions
    examples: int = 60  # images of each concept, and of each random set
    inverse_penalty: float = 0.01  # C of the logistic regression whose normal is the CAV
    runs: int = 3
    controls: int = 12  # random sets substituted for a concept, for the test
    explained: int = 100  # test pictures of each class, whose derivatives over the words of other classes count
    seeds: tuple[int, ...] = (10, 11, 12)  # networks of every noise for each; settings were chosen on 0 to 2


get_config = base.tiers(
    smoke=Config(
        **dataclasses.asdict(SMOKE), layers=("pool2", "pool3"), examples=6, runs=2, controls=4, explained=10,
        seeds=(0,)
    ),
    default=Config(),
    clothes=Config(**dataclasses.asdict(CLOTHES)),
    paper=Config(
        **dataclasses.asdict(PAPER), layers=("pool1", "pool2", "pool3", "pool4", "pool5", "relu6"),
        shown="pool5", examples=50, runs=500, controls=20, explained=50
    ),
)  # fmt: skip
