"""Dreams of concepts from noise (Kim et al. 2018, section 4.1.2).

    python -m experiments.kim2018.dream \\
        --config=configs/kim2018/dream.py:default --workdir=results/kim2018/dream

smoke: seconds. default: three minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from xai_jax.synthesis.activation_maximisation import Fourier


@dataclasses.dataclass(kw_only=True)
class Config(base.Network):
    layer: str = "block8"
    concepts: tuple[str, ...] = ("red", "stripes", "dots", "zigzags", "meshes")
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # mean colour of ImageNet, taken off
    form: Fourier = Fourier(0.05, 48, 17)  # learning rate, steps, pixels of jitter
    steps: float = 1.0  # multiplies its number of steps
    examples: int = 20  # images of each concept of its CAV
    images: str = "photographs"  # and cut-outs on them, or a data set, as negatives
    random: int = 40  # of these its CAV separates them from, and as many of other concepts at most
    held_out: int = 5  # other images of each concept, to compare with
    evaluation_network: str = "vgg16_hed"  # that should identify the concepts of dreams
    evaluation_layer: str = "relu4_3"
    seeds: tuple[int, ...] = (5, 6, 7)  # of concept images and of the noise; earlier ones were seen


get_config = base.tiers(
    smoke=Config(
        network="digits", layer="relu1", concepts=("stripes", "dots"), mean=(77.8,), form=Fourier(0.05, 20, 2),
        examples=8, images="digits", random=8, evaluation_network="digits", evaluation_layer="relu2", seeds=(0, 1)
    ),
    default=Config(),
    paper=Config(
        network="googlenet", weights="torchvision", layer="inception4d",
        concepts=("red", "yellow", "green", "blue", "stripes", "dots", "zigzags", "meshes"), form=Fourier(),
        examples=50, random=100, held_out=50, seeds=tuple(range(10))
    ),
)  # fmt: skip
