"""An all convolutional network beside one with pooling and dense layers (Springenberg et al. 2015, section 3.3).

    python -m experiments.springenberg2015.imagenet \\
        --config=configs/springenberg2015/imagenet.py:default --workdir=results/springenberg2015/imagenet

smoke: seconds. default: about three minutes on 2 cores; an eighth of the networks' width, on Fashion-MNIST enlarged.
paper: about a day on one A100 (both networks, three times each), with ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.TrainingImages):
    images: int = 6000  # of the training images
    checked: int = 2000  # of the training and of the validation images each, whose errors are counted
    standard_deviation: tuple[float, ...] = (90.0,)  # of their pixels, which are divided by it for the All-CNN
    short: int = 72  # side that images are resized to; our choice, Krizhevsky's 256
    side: int = 63  # of a random crop in training, of the centre crop in use (section 3.3: 224)
    width: float = 1 / 8  # multiplies the channels
    hidden: int = 890  # units of the dense layers: All-CNN has the same share of the parameters as at full size
    initial_std: float = 0.05  # of CaffeNet's weights at the start; narrow networks learn only with more than 0.01
    dropout: bool = False  # narrow networks do better without
    seeds: int = 5  # networks of each kind
    iterations: int = 1350  # section 3.3: 450,000
    drop_every: int = 600  # iterations until the learning rate falls to a tenth (section 3.3: 200,000)
    batch_size: int = 32  # section 3.3: 64
    learning_rate: float = 0.01  # section 3.3
    weight_decay: float = 0.0005  # section 3.3


get_config = base.tiers(
    smoke=Config(
        mean=(77.8,), standard_deviation=(95.0,), data="digits", images=320, checked=64, short=65, side=57,
        width=1 / 32, hidden=64, seeds=2, iterations=9, drop_every=4
    ),
    default=Config(),
    paper=Config(
        data="imagenet2012", classes=1000, images=1_281_167, checked=50_000, mean=(123.675, 116.28, 103.53),
        standard_deviation=(58.395, 57.12, 57.375), short=256, side=224, width=1, hidden=4096, initial_std=0.01,
        dropout=True, seeds=3, iterations=450_000, drop_every=200_000, batch_size=64
    ),
)  # fmt: skip
