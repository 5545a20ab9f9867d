"""Errors of ZFNet, of a replication of Krizhevsky's network and of their variants (Zeiler & Fergus 2014, Tables 2, 3).

    python -m experiments.zeiler2014.imagenet \\
        --config=configs/zeiler2014/imagenet.py:default --workdir=results/zeiler2014/imagenet

smoke: seconds. default: about three minutes on 2 cores; an eighth of the networks' width, on Fashion-MNIST enlarged.
paper: about three weeks on one A100 (12 networks, five times each; --config.seeds=1 trains each once), with ImageNet
prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.ZFNetTraining):
    # Of Table 3; none means all. Removed layers are left to ablation.py, whose networks are smaller still
    rows: tuple[str, ...] = ("replication", "zfnet", "zfnet_doubled", "zfnet_wider")
    width: float = 1 / 8  # multiplies channels and hidden units
    seeds: int = 3  # networks of each row; those of "zfnet" make the ensemble (Table 2: 5)


get_config = base.tiers(
    smoke=Config(
        data="digits", images=320, checked=64, mean=(77.8,), short=54, side=47,
        rows=("replication", "zfnet"), width=1 / 32, initial_std=0.1, seeds=2, epochs=1
    ),
    default=Config(),
    paper=Config(
        data="imagenet2012", classes=1000, images=1_281_167, checked=50_000, mean=(122.679, 116.669, 104.007),
        short=256, side=224, rows=(), width=1, initial_std=0.01, dropout=True, seeds=5, epochs=70, batch_size=128,
        learning_rate=0.01, patience=3
    ),
)  # fmt: skip
