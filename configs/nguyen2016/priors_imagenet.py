"""Hand-designed priors on an ImageNet network (baselines of Nguyen et al. 2016, DGN-AM).

    python -m experiments.nguyen2016.priors_imagenet \\
        --config=configs/nguyen2016/priors_imagenet.py:default --workdir=results/nguyen2016/priors_imagenet

smoke: seconds. default: about four minutes on 2 cores. paper: minutes on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base
from configs.maximisation_baselines import PAPERS, SMOKE, Baselines
from xai_jax import activation_maximisation
from xai_jax.synthesis.activation_maximisation import Simonyan, Yosinski
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import MFV, Stage

# Of 224x224 pixels, in fewer steps than the papers'. Of a few settings of each, those were taken with which the
# explained network was confident and the evaluation network agreed most, on three of the classes from other starts.
BRIEF = Baselines(
    Simonyan(penalty=0.0, steps=120),
    Simonyan(penalty=1e-6, steps=120),
    Yosinski(steps=120, increase=300.0, max_learning_rate=1e6),
    IJCV(total_variation=50.0, steps=(120, 0)),
    IJCV(total_variation=200.0, jitter=16, steps=(120, 0)),
    None,  # no photographs of the classes at hand
    MFV(
        (
            Stage(40, (22.0, 22.0), (0.02, 0.1)),
            Stage(40, (22.0, 11.0), (0.05, 0.2), 1.2),
            Stage(30, (11.0, 6.0), (0.1, 2.0), 1.2),
            Stage(10, (6.0, 3.0), (0.1, 2.0)),
        ),
        10,
    ),
    activation_maximisation.Fourier(0.02, 120),
)


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Photographs, base.Seeded):
    evaluation_network: str = "efficientnet_lite1"  # a network that was trained by itself
    evaluation_weights: str = "pretrained"  # or the path of a checkpoint
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # mean colour of ImageNet, taken off
    classes: tuple[int, ...] = (945, 629, 437, 643, 304)  # bell pepper and units of the papers' script
    starts: int = 1  # for each class
    groups: int = 1
    strong: float = 20.0  # logit, for the form that wants shares of it
    baselines: Baselines = dataclasses.field(default_factory=lambda: BRIEF)
    steps: float = 1.0  # multiplies the numbers of steps of all forms
    batch_size: int = 5  # images at once


get_config = base.tiers(
    smoke=Config(
        network="digits", evaluation_network="digits", images="digits", mean=(77.8,), classes=(0, 1, 2, 3, 4),
        baselines=dataclasses.replace(SMOKE, mean_image=None)
    ),
    default=Config(),
    paper=Config(
        **base.CAFFENET, evaluation_network="googlenet", evaluation_weights="torchvision", images="imagenet",
        count=100, baselines=dataclasses.replace(PAPERS, mean_image=None)
    ),
)  # fmt: skip
