"""Errors of ZFNet, of a replication of Krizhevsky's network and of their variants (Zeiler & Fergus 2014, Tables 2, 3).

    python -m experiments.zeiler2014.imagenet \\
        --config=configs/zeiler2014/imagenet.py:default --workdir=results/zeiler2014/imagenet

smoke: seconds. default: about five minutes on 2 cores; an eighth of the networks' width, on Fashion-MNIST enlarged.
paper: about three weeks on one A100 (12 networks, five times each; --config.seeds=1 trains each once), with ImageNet
prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.TrainingImages):
    short: int = 72  # side that images are resized to, before ten crops (section 3: 256)
    side: int = 63  # of the crops (section 3: 224)
    # Of Table 3; none means all. Removed layers are left to ablation.py, whose networks are smaller still
    rows: tuple[str, ...] = ("replication", "zfnet", "zfnet_doubled", "zfnet_wider")
    width: float = 1 / 8  # multiplies channels and hidden units
    initial_std: float = 0.05  # of the initial weights; narrow networks learn only with more than the paper's 0.01
    dropout: bool = False  # of half of fc6 and fc7 (section 3); narrow networks do better without
    seeds: int = 3  # networks of each row; those of "zfnet" make the ensemble (Table 2: 5)
    epochs: int = 6  # section 3: 70
    batch_size: int = 32  # section 3: 128
    learning_rate: float = 0.003  # section 3: 0.01, for batches four times as large
    patience: int = (
        0  # epochs without a lower validation error until the learning rate is divided by ten; 0: half a cosine
    )
    renormalise: float = 0.1  # largest RMS of a filter (section 3)


get_config = base.tiers(
    smoke=Config(
        data="digits", classes=10, images=320, checked=64, mean=(77.8,), short=54, side=47,
        rows=("replication", "zfnet"), width=1 / 32, initial_std=0.1, seeds=2, epochs=1
    ),
    default=Config(),
    paper=Config(
        data="imagenet2012", classes=1000, images=1_281_167, checked=50_000, mean=(122.679, 116.669, 104.007),
        short=256, side=224, rows=(), width=1, initial_std=0.01, dropout=True, seeds=5, epochs=70, batch_size=128,
        learning_rate=0.01, patience=3
    ),
)  # fmt: skip
