"""Backprop, deconvnet and guided backprop side by side (Springenberg et al. 2015, section 4).

    python -m experiments.springenberg2015.comparison \\
        --config=configs/springenberg2015/comparison.py:default --workdir=results/springenberg2015/comparison

smoke: seconds. default: about two minutes on 2 cores. paper: minutes on one GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass
class Config(base.Network, base.Photographs, base.Seeded):
    network: str = "photo_allcnn"  # without max-pooling
    images: str = "composites_64"
    layers: tuple[str, ...] = ("relu3", "relu5", "relu7")  # an early, a middle and a late layer (Fig. 2 and 3)
    neurons: int = 24  # strong neurons of each layer
    pooled: str = ""  # a network with max-pooling, whose neurons are shown, too
    pooled_layers: tuple[str, ...] = ("relu2_2", "relu3_3", "relu4_3", "relu5_3")
    photographs: int = 16  # that they see
    first: int = 5  # the first of them: those before were used in first runs
    curve_steps: int = 8  # points of deletion and insertion curves


get_config = base.tiers(
    smoke=Config(
        network="digits", images="digits", count=4, layers=("relu1", "pool1", "relu2"), neurons=4
    ),
    default=Config(count=48, pooled="vgg16_hed"),
    paper=Config(
        network="allcnn_imagenet", images="imagenet", count=50,
        weights="results/springenberg2015/imagenet/training/allcnn-0/weights.safetensors",
        layers=("conv3", "conv6", "conv9"), neurons=10, curve_steps=28
    ),
)  # fmt: skip
