"""Backprop, deconvnet and guided backprop side by side (Springenberg et al. 2015, section 4).

    python -m experiments.springenberg2015.comparison \\
        --config=configs/springenberg2015/comparison.py:default --workdir=results/springenberg2015/comparison

smoke: seconds. default: about five minutes on 2 cores. paper: minutes on one GPU, with weights of an ImageNet All-CNN-B
(section 4.2 of the paper) given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass
class Config(base.Network, base.Photographs, base.Seeded):
    first: int = 0  # the first image
    layers: tuple[str, ...] = ("block3", "block6", "block11")  # an early, a middle and a late layer (Fig. 2 and 3)
    neurons: int = 24  # strong neurons of each layer
    pooled: str = ""  # a network with max-pooling, whose neurons are shown, too
    pooled_layers: tuple[str, ...] = ("relu2_2", "relu3_3", "relu4_3", "relu5_3")
    curve_steps: int = 8  # points of deletion and insertion curves


# Like the paper's All-CNN, EfficientNet-Lite0 has no max-pooling.
get_config = base.tiers(
    smoke=Config(
        network="digits", images="digits", count=4, layers=("relu1", "pool1", "relu2"), neurons=4
    ),
    default=Config(count=16, first=5, pooled="vgg16_hed"),
    paper=Config(
        network="allcnn_imagenet", weights="allcnn_imagenet.safetensors", images="imagenet", count=50,
        layers=("conv3", "conv6", "conv9"), neurons=10, curve_steps=28
    ),
)  # fmt: skip
