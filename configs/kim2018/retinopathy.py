"""TCAV of lesions for the levels of diabetic retinopathy (Kim et al. 2018).

    python -m experiments.kim2018.retinopathy \\
        --config=configs/kim2018/retinopathy.py:default --workdir=results/kim2018/retinopathy

smoke: seconds. default: five minutes on 2 cores. paper: hours on one A100. The paper's grader (Krause et al. 2017)
and its images are not public. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.CAVs):
    data: str = "drawn"  # or a name of xai_jax.data.datasets with the five levels
    folder: str = ""  # with a folder of images for each lesion; none: they are drawn
    # Lesions of xai_jax.data.retina, the concepts
    lesions: tuple[str, ...] = (
        *("microaneurysms", "haemorrhages", "exudates", "venous beading"),
        *("new vessels", "laser scars", "vitreous haemorrhage"),
    )
    # Of the second grader's images with the first label, the last number is the share that are of the second level
    wrong: tuple[int, int, float] = (1, 2, 0.8)
    side: int = 72  # pixels
    images: int = 6000  # to learn
    checked: int = 1000  # to test with
    stages: tuple[int, ...] = (1, 1, 1, 1)  # of a VGG: the convolutions between two poolings
    widths: tuple[int, ...] = (16, 32, 48, 64)
    hidden: int = 256
    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 0.01  # falls along half a cosine
    weight_decay: float = 0.0005
    half: bool = False  # training in bfloat16, for accelerators
    layers: tuple[str, ...] = ("pool4", "relu6")
    shown: str = "relu6"  # the layer of the figures: the first without positions, as lesions can be anywhere
    examples: int = 60  # images of each lesion, and of each random set
    controls: int = 20  # random sets substituted for a lesion, for the test
    explained: int = 100  # test images of each level, whose derivatives count
    seeds: tuple[int, ...] = (0, 1)  # two graders for each


get_config = base.tiers(
    smoke=Config(
        lesions=("microaneurysms", "haemorrhages", "laser scars"), side=48, images=100, checked=50,
        widths=(4, 8, 8, 8), hidden=16, epochs=1, examples=6, runs=2, controls=4, explained=10, seeds=(0,)
    ),
    default=Config(),
    paper=Config(
        data="diabetic_retinopathy_detection/btgraham-300", folder="lesions", wrong=(1, 2, 0.6), side=288,
        images=35_126, checked=10_906, stages=(2, 2, 3, 3, 3), widths=(64, 128, 256, 512, 512), hidden=4096,
        epochs=60, layers=("pool3", "pool4", "pool5", "relu6", "relu7"), examples=50, runs=500, seeds=(0, 1, 2)
    ),
)  # fmt: skip
