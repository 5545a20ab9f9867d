"""Features of a trained network on other data sets, with new classifiers (Zeiler & Fergus 2014, Tables 4 to 7, Fig. 9).

    python -m experiments.zeiler2014.transfer \\
        --config=configs/zeiler2014/transfer.py:default --workdir=results/zeiler2014/transfer

smoke: seconds. default: about two minutes on 2 cores. paper: an hour on one A100 for the networks and, not measured,
longer for the linear
classifiers on its CPU, with some 30 GB of memory. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.Pixels, base.Seeded):
    # Of Table 7; Tables 4 to 6 use the last.
    layers: tuple[str, ...] = ("stem", "block3", "block6", "block11", "block16", "pool")
    data: tuple[str, ...] = ("fashion_mnist",)  # to transfer to: names of xai_jax.data.datasets, or caltech101
    splits: tuple[str, ...] = ("test",)  # of each data set, where folds are drawn
    images: tuple[int, ...] = (1250,)  # the first of each split; all where there are fewer
    classes: tuple[int, ...] = (10,)  # of each data set, for the dry run
    counts: tuple[tuple[int, ...], ...] = ((6, 15, 30, 60),)  # images per class to learn (section 5.2)
    tested: int = 50  # images per class to test, at most (section 5.2)
    folds: int = 5  # section 5.2
    scenes: str = "tiles"  # images of several objects: made of the first data set, or voc/2012 (section 5.2)
    scene_split: str = ""  # of voc/2012
    scene_count: int = 800  # half to learn, half to test
    scratch: str = "fashion_maxpool"  # trained on the same images alone; Tables 4 and 5 take the same network
    steps: int = 200  # of its training; the paper is silent about this and the following
    batch_size: int = 30
    learning_rate: float = 0.01  # falls along half a cosine
    weight_decay: float = 5e-4
    half: bool = False  # training in bfloat16, for accelerators
    renormalise: float = 0.0  # largest RMS of a filter (section 3), 0: any
    mean: tuple[float, ...] = (0.0,)  # subtracted from its pixels
    standard_deviation: float = 255.0  # that its pixels are divided by
    short: int = 28  # side that its images are resized to, before one of ten crops (section 3)
    side: int = 28  # of the crops


# The smoke tier's network was trained on the same images: there are too few others.
get_config = base.tiers(
    smoke=Config(
        network="digits", layers=("pool1", "relu2"), data=("digits",), splits=("train",), images=(800,),
        counts=((3, 12),), tested=10, folds=3, scene_count=200, scratch="digits", steps=20, learning_rate=0.05,
        short=8, side=8
    ),
    default=Config(),
    paper=Config(
        **base.ZFNET, layers=("pool1", "pool2", "relu3", "relu4", "pool5", "relu7"),
        data=("caltech101", "folder:256_ObjectCategories"), splits=("train+test", "all"), images=(9144, 30_608),
        classes=(102, 257), counts=((15, 30), (6, 15, 30, 45, 60)), scenes="voc/2012", scene_split="train+validation",
        scene_count=11_540, scratch="zfnet", steps=5000, batch_size=128, weight_decay=0.0, renormalise=0.1,
        mean=(122.679, 116.669, 104.007), standard_deviation=1.0, short=256, side=224
    ),
)  # fmt: skip
