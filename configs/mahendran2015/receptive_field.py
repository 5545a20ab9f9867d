"""Pre-images of the middle of every layer (Mahendran & Vedaldi 2015, Fig. 9).

    python -m experiments.mahendran2015.receptive_field \\
        --config=configs/mahendran2015/receptive_field.py:default --workdir=results/mahendran2015/receptive_field

smoke: seconds. default: about half a minute on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Descent):
    count: int = 10  # images inverted
    first: int = 0  # the first image
    shown: int = 3  # of them, in the figure
    layers: tuple[str, ...] = ("relu1", "pool1", "relu2", "pool2", "relu3", "relu4", "relu5", "pool5")
    middle: int = 2  # side of the square of positions that count; 5 of CaffeNet's in the paper
    total_variation: float = 10.0  # lambda_V: 100 in the code
    phases: tuple[tuple[float, int], ...] = ((0.1, 200), (0.01, 200), (0.001, 200))  # learning-rate factors, steps


LAYERS = tuple("conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5".split())
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS_DESCENT, count=4, layers=("relu1", "relu2"), middle=1, total_variation=0.1,
        phases=((0.1, 20), (0.01, 10))
    ),
    default=Config(first=18, count=12, phases=((0.4, 100), (0.1, 60))),
    paper=Config(**base.CAFFENET_DESCENT, layers=LAYERS, middle=5, total_variation=100.0),
)  # fmt: skip
