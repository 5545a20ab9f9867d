"""Networks that learn from pictures with captions (Kim et al. 2018, section 4.3), for configurations of experiments."""

import dataclasses

FEW = (0.0, 0.3, 1.0)  # the noises that the paper's text names


@dataclasses.dataclass
class Networks:
    """The defaults train small networks on composites of cut-out objects, in about ten seconds each.

    The paper is silent about networks, training and counts of images: they are ours.
    """

    data: str = "composites"  # of cut-outs, with other objects to test than to train, or a data set's name
    classes: tuple[str, ...] = ("fruit", "flower", "mammal")  # of it; the paper: zebra, cab, cucumber
    words: tuple[str, ...] = ("fruit", "flower", "mammal")  # the caption of each class
    canvas: tuple[int, int, int, int] = (64, 64, 16, 11)  # pixels: width, height of picture and strip, size of letters
    noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)  # shares of wrong captions, a network for each
    images: int = 6000  # of the training images, to learn
    checked: int = 900  # of the test images, to count errors of
    widths: tuple[int, ...] = (16, 32, 64)  # of a PhotoNet: 5x5 filters with stride 2, then 3x3, a pooling after each
    hidden: int = 64
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 0.02  # falls along half a cosine
    weight_decay: float = 0.0005
    half: bool = False  # training in bfloat16, for accelerators


CLOTHES = Networks(
    data="fashion_mnist",
    classes=("Sandal", "Sneaker", "Ankle boot"),
    words=("sandal", "sneaker", "boot"),
    canvas=(56, 40, 16, 11),
    images=9000,
    checked=3000,
)
SMOKE = Networks(
    data="digits",
    classes=("1", "4", "7"),
    words=("one", "four", "seven"),
    canvas=(36, 20, 12, 8),
    noises=FEW,
    images=300,
    checked=100,
    widths=(8, 8, 16),
    hidden=32,
    epochs=2,
    learning_rate=0.01,
)
PAPER = Networks(
    data="imagenet2012",
    classes=("zebra", "cab", "cucumber"),
    words=("zebra", "cab", "cucumber"),
    canvas=(224, 176, 48, 33),
    images=3900,
    checked=150,
    widths=(64, 128, 256, 512, 512),
    hidden=4096,
    epochs=60,
    batch_size=64,
    learning_rate=0.01,
)
