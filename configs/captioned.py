"""Networks that learn from pictures with captions (Kim et al. 2018, section 4.3), for configurations of experiments."""

import dataclasses


@dataclasses.dataclass
class Networks:
    """The defaults train small networks on three classes of Fashion-MNIST in colour, in about a minute each.

    The paper is silent about networks, training and counts of images: they are ours.
    """

    data: str = "fashion_mnist"  # a name of xai_jax.data.datasets
    classes: tuple[str, ...] = ("Sandal", "Sneaker", "Ankle boot")  # of it; the paper: zebra, cab, cucumber
    words: tuple[str, ...] = ("sandal", "sneaker", "boot")  # the caption of each class
    canvas: tuple[int, int, int, int] = (56, 40, 16, 11)  # pixels: width, height of picture and strip, size of letters
    noises: tuple[float, ...] = (0.0, 0.3, 1.0)  # shares of captions that are other words, a network for each
    images: int = 9000  # of the training images, to learn
    checked: int = 3000  # of the test images, to count errors of
    stages: tuple[int, ...] = (1, 1, 1)  # of a VGG: the convolutions between two poolings
    widths: tuple[int, ...] = (16, 32, 64)
    hidden: int = 256
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 0.01  # falls along half a cosine
    weight_decay: float = 0.0005


SMOKE = Networks(
    data="digits",
    classes=("1", "4", "7"),
    words=("one", "four", "seven"),
    canvas=(36, 20, 12, 8),
    images=300,
    checked=100,
    widths=(8, 8, 16),
    hidden=32,
    epochs=2,
    batch_size=32,
    learning_rate=0.01,
)
PAPER = Networks(
    data="imagenet2012",
    classes=("zebra", "cab", "cucumber"),
    words=("zebra", "cab", "cucumber"),
    canvas=(224, 176, 48, 33),
    images=3900,
    checked=150,
    stages=(1, 1, 2, 2, 2),
    widths=(64, 128, 256, 512, 512),
    hidden=4096,
    epochs=60,
    batch_size=64,
    learning_rate=0.01,
)
