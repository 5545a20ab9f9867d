"""Backprop, deconvnet and guided backprop side by side (Springenberg et al. 2015, section 4).

    python -m experiments.springenberg2015.comparison \\
        --config=configs/springenberg2015/comparison.py:default --workdir=results/springenberg2015/comparison

smoke: seconds. default: about a minute on 2 cores. paper: minutes on one GPU, with weights of an ImageNet All-CNN-B
(section 4.2 of the paper) given as --config.weights=PATH and ImageNet prepared by TFDS.
"""

import dataclasses


@dataclasses.dataclass
class Config:
    network: str = "efficientnet_lite0"  # a name of xai_jax.models; like the paper's All-CNN, it has no max-pooling
    weights: str = "pretrained"  # or the path of a checkpoint
    images: str = "photographs"  # a source of xai_jax.data.examples
    count: int = 5  # images, one row of the figure each
    layers: tuple[str, ...] = ("block3", "block6", "block11")  # an early, a middle and a late layer (Fig. 2 and 3)
    neurons: int = 5  # strong neurons of each layer
    curve_steps: int = 16  # points of deletion and insertion curves
    seed: int = 0


TIERS = {
    "smoke": Config("digits", "pretrained", "digits", 4, ("relu1", "pool1", "relu2"), 4, 8),
    "default": Config(),
    "paper": Config(
        "allcnn_imagenet", "allcnn_imagenet.safetensors", "imagenet", 50, ("conv3", "conv6", "conv9"), 10, 28
    ),
}


def get_config(tier: str = "default") -> Config:
    """The configuration of a tier: smoke, default or paper."""
    if tier not in TIERS:
        raise ValueError(f"Expected a tier out of {', '.join(TIERS)}, got {tier!r}.")
    return TIERS[tier]
