"""Photographs with a layer's features amplified: caricatures (Mahendran & Vedaldi 2016).

    python -m experiments.mahendran2015.caricature \\
        --config=configs/mahendran2015/caricature.py:default --workdir=results/mahendran2015/caricature

smoke: seconds. default: about four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.PhotographInversion):
    weight_of_loss: float = 100.0  # C; for caricatures the paper's is not known, this is one of its inversions
    steps: int = 100  # all with jitter


get_config = base.tiers(
    smoke=Config(
        network="digits", images="digits", count=4, shown=2, side=8, mean=(77.8,),
        layers=("relu1", "relu2", "logits"), strides=(1, 2, 8), total_variation=0.001, steps=30
    ),
    default=Config(**base.VGG_AND_CLASSIFIER, inner=6),
    paper=Config(
        network="vgg16", weights="torchvision", images="imagenet", count=20, inner=20, shown=5,
        layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "relu6", "fc8"),
        strides=(1, 2, 4, 8, 16, 32, 32), steps=300
    ),
)  # fmt: skip
