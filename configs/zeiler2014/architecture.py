"""How the first layer's filters depend on their size, stride and renormalisation (Zeiler & Fergus 2014, Fig. 6).

    python -m experiments.zeiler2014.architecture \\
        --config=configs/zeiler2014/architecture.py:default --workdir=results/zeiler2014/architecture

smoke: seconds. default: about two minutes on 2 cores. paper: about nine hours on one A100. Its inputs:
docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.ZFNetTraining):
    widths: tuple[int, ...] = (32, 32, 48, 48, 32)  # channels of the five convolutions (paper: 96, 256, 384, 384, 256)
    hidden: int = 256  # units of fc6 and fc7 (paper: 4096)
    initial_std: float = 0.04  # of the initial weights above layer 1; narrow networks learn only with more than 0.01
    learning_rate: float = 0.005  # section 3: 0.01, for batches four times as large
    renormalise: float = 0.04  # largest RMS of a filter (section 3: 0.1, which so short a training does not reach)
    maps: int = 9  # of layer 2 in the figure, chosen at random
    probes: int = 64  # images whose responses are analysed


get_config = base.tiers(
    smoke=Config(
        data="digits", images=320, checked=64, mean=(77.8,), short=54, side=47, widths=(8, 8, 8, 8, 8),
        hidden=32, seeds=2, epochs=1, maps=4, probes=16
    ),
    default=Config(),
    paper=Config(
        data="imagenet2012", classes=1000, images=1_281_167, checked=50_000, mean=(122.679, 116.669, 104.007),
        short=256, side=224, widths=(96, 256, 384, 384, 256), hidden=4096, initial_std=0.01, dropout=True,
        renormalise=0.1, seeds=1, epochs=70, batch_size=128, learning_rate=0.01, patience=3
    ),
)  # fmt: skip
