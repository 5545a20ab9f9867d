"""Training of the networks for CIFAR (Springenberg et al. 2015, section 3), for configurations of experiments."""

import dataclasses


@dataclasses.dataclass
class Training:
    """The defaults train small networks on Fashion-MNIST within seconds each; `PAPER` is the paper's training."""

    images: int = 20_000  # of the training images
    held_out: int = 4000  # the last of them, whose errors choose the learning rate; then all images are trained on
    tested: int = 10_000  # of the test images
    side: int = 14  # that images are resized to; CIFAR's is 32
    width: float = 0.25  # multiplies the channels
    dropout: bool = False  # section 3: of 20 % of the input and 50 % of halved maps; narrow networks do better without
    epochs: float = 1  # section 3: 350
    drops: tuple[float, ...] = (200 / 350, 250 / 350, 300 / 350)  # of the epochs: the learning rate falls to a tenth
    batch_size: int = 32  # not in the paper
    weight_decay: float = 0.001  # section 3
    half: bool = False  # training in bfloat16, for accelerators
    learning_rates: tuple[float, ...] = (0.02, 0.01)  # to choose from (section 3: 0.25, 0.1, 0.05, 0.01)
    chosen: tuple[tuple[str, float], ...] = ()  # name and learning rate of networks for which an earlier run chose
    seeds: int = 5  # networks of each kind
    seed: int = 0  # of the first of them


PAPER = Training(
    images=50_000, held_out=5000, side=32, width=1, dropout=True, epochs=350, batch_size=128,
    learning_rates=(0.25, 0.1, 0.05, 0.01)
)  # fmt: skip

SMOKE = Training(  # for scikit-learn's digits
    images=1400, held_out=200, tested=360, side=12, width=0.1, epochs=3, batch_size=20, learning_rates=(0.02,), seeds=2
)
