"""Pre-images of the middle of every layer (Mahendran & Vedaldi 2015, Fig. 9).

    python -m experiments.mahendran2015.receptive_field \\
        --config=configs/mahendran2015/receptive_field.py:default --workdir=results/mahendran2015/receptive_field

smoke: seconds. default: about a minute on 2 cores, and once 4 minutes to train the network. paper: minutes on one A100,
with weights of CaffeNet given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.SmallNetwork, base.Pixels, base.Seeded):
    count: int = 10  # images inverted, the first of the split
    first: int = 0  # the first image
    shown: int = 3  # of them, in the figure
    layers: tuple[str, ...] = ("relu1_1", "pool1", "relu2_1", "pool2", "relu3_1", "pool3")
    middle: int = 1  # side of the square of positions that count; 5 of CaffeNet's in the paper
    total_variation: float = 1.5  # lambda_V of the code, 100, times (28 / 227)^2: smaller images vary faster
    learning_rate: float = 0.004  # multiplied by the factors of the phases
    phases: tuple[tuple[float, int], ...] = ((0.1, 200), (0.01, 200), (0.001, 200))  # learning-rate factors, steps


LAYERS = tuple("conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 conv5 relu5 pool5".split())
get_config = base.tiers(
    smoke=Config(
        **base.DIGITS | base.DIGITS_PIXELS, count=4, layers=("relu1", "relu2"), total_variation=0.1,
        phases=((0.1, 20), (0.01, 10))
    ),
    default=Config(),
    paper=Config(**base.CAFFENET_PIXELS, layers=LAYERS, middle=5, total_variation=100.0),
)  # fmt: skip
