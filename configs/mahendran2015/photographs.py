"""Pre-images of photographs from layers of an ImageNet network (Mahendran & Vedaldi 2016).

    python -m experiments.mahendran2015.photographs \\
        --config=configs/mahendran2015/photographs.py:default --workdir=results/mahendran2015/photographs

smoke: seconds. default: about six minutes on 2 cores. paper: less than an hour on one A100. Its inputs:
docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.PhotographInversion):
    weights_of_loss: tuple[float, ...] = (100.0,)  # C: 1, 20, 100 and 300 in the paper
    steps: tuple[int, int] = (150, 50)  # with jitter and without


get_config = base.tiers(
    smoke=Config(
        network="digits", images="digits", count=4, shown=2, side=8, mean=(77.8,),
        layers=("relu1", "relu2", "logits"), strides=(1, 2, 8), total_variation=0.001, steps=(30, 10)
    ),
    default=Config(**base.VGG_AND_CLASSIFIER),
    paper=Config(
        network="vgg16", weights="torchvision", images="imagenet", count=100, inner=100, shown=5,
        layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "relu6", "fc8"),
        strides=(1, 2, 4, 8, 16, 32, 32), weights_of_loss=(100.0, 300.0), steps=(300, 50)
    ),
)  # fmt: skip
