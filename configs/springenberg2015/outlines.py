"""How much of a neuron's map lies on the object that it sees (Springenberg et al. 2015, section 4, measured).

    python -m experiments.springenberg2015.outlines \\
        --config=configs/springenberg2015/outlines.py:default --workdir=results/springenberg2015/outlines

smoke: seconds. default: about two minutes on 2 cores. paper: a minute on one GPU. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass
class Config(base.Network, base.Seeded):
    network: str = "vgg16_hed"  # with max-pooling, as the deconvnet needs it
    images: str = "cutouts"  # objects with known outlines on photographs, or "digits"
    count: int = 120  # objects, one image each
    layer: str = "relu5_3"  # whose neurons are explained
    shown: int = 8  # rows of the figure


get_config = base.tiers(
    smoke=Config(network="digits", images="digits", count=12, layer="relu2", shown=4),
    default=Config(),
    paper=Config(network="vgg16", weights="torchvision", count=240),
)
