"""Networks that are trained on fooling images, and fooled again (Nguyen et al. 2015).

    python -m experiments.nguyen2015.retrain \\
        --config=configs/nguyen2015/retrain.py:default --workdir=results/nguyen2015/retrain

smoke: seconds. default: about four minutes on 2 cores. paper: about a day on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Pixels, base.Seeded):
    network: str = "fashion_maxpool"  # a name of xai_jax.models, whose architecture is trained
    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    classes: int = 10
    images: int = 12_000  # of the training images, to learn
    checked: int = 2000  # of the validation images, to count errors of
    mean: tuple[float, ...] = (0.0,)  # taken off pixels
    standard_deviation: tuple[float, ...] = (255.0,)  # that they are then divided by
    short: int = 14  # side that images are resized to
    side: int = 14  # of their crops, and of the fooling images
    epochs: float = 3
    batch_size: int = 32
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    half: bool = False  # training in bfloat16, for accelerators
    rounds: int = 3  # of retraining (the paper, from memory: 15 on MNIST, 1 on ImageNet)
    chains: int = 3  # networks that begin
    runs: int = 3  # evolutions in each round; every one gives an image for each class
    hidden: int = 16  # nodes that a CPPN may have, at most (ours)
    population: int = 200  # children in a generation (the code: 200 on MNIST, 400 on ImageNet)
    generations: int = 200  # (the code: 1001 on MNIST, 5001 on ImageNet)


get_config = base.tiers(
    smoke=Config(
        **base.DIGITS, images=640, checked=320, short=8, side=8, epochs=2, rounds=2, chains=2, runs=2, population=50,
        generations=20
    ),
    default=Config(),
    paper=Config(
        network="caffenet", data="imagenet2012", classes=1000, images=1_281_167, checked=50_000,
        mean=(122.679, 116.669, 104.007), standard_deviation=(1.0,), short=256, side=227, epochs=90, batch_size=128,
        learning_rate=0.01, rounds=1, runs=9, population=400, generations=5000
    ),
)  # fmt: skip
