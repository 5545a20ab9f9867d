"""Layers of a small network removed and resized as in Table 3 of Zeiler & Fergus 2014.

    python -m experiments.zeiler2014.ablation \\
        --config=configs/zeiler2014/ablation.py:default --workdir=results/zeiler2014/ablation

smoke: seconds. default: about four minutes on 2 cores. paper: minutes on one A100; the table itself, on ImageNet, is
that of zeiler2014/imagenet. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.ZFNetTraining):
    short: int = 54  # side that images are resized to, before ten crops
    side: int = 47  # of the crops, the smallest that five convolutions leave something of
    # Of layers; none means all. Without the last of them, of which there is no claim
    changes: tuple[str, ...] = tuple("without_34 without_7 without_67 without_3467 halved doubled wider".split())
    width: float = 1 / 8  # multiplies channels and hidden units


get_config = base.tiers(
    smoke=Config(
        data="digits", images=320, checked=64, mean=(77.8,), changes=("without_3467",), width=1 / 32, seeds=2, epochs=1
    ),
    default=Config(),
    paper=Config(
        data="cifar10", images=50_000, checked=10_000, mean=(125.3, 123.0, 113.9), short=72, side=63,
        changes=(), width=0.5, seeds=5, epochs=40, batch_size=128, learning_rate=0.01
    ),
)  # fmt: skip
