"""Every unit, seen by every method: what the page `units.html` of the gallery is made of.

    python -m experiments.explorer.units --config=configs/explorer/units.py:default --workdir=results/explorer/units

smoke: seconds. default: four minutes on 2 cores, and once a quarter of an hour to train networks and generator. paper:
hours on one A100, with weights of CaffeNet and of its fc6 generator given as --config.weights=PATH and
--config.generator_weights=PATH, and ImageNet prepared by TFDS.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Generator, base.Data, base.Seeded):
    # NETWORK/LAYER, before it is rectified: a rectified or pooled copy of a channel is the same unit
    layers: tuple[str, ...] = (
        *(f"fashion_maxpool/{layer}" for layer in ("conv1_1", "conv2_1", "conv3_1", "fc6", "fc7", "fc8")),
        *(f"fashion_allcnn/{layer}" for layer in (*(f"conv{n}" for n in range(1, 9)), "logits")),
    )
    images: int = 10_000  # how many there are, for the dry run
    k: int = 9  # strongest natural images of a unit (Zeiler & Fergus 2014, Fig. 2)
    mean: tuple[float, ...] = (72.9,)  # mean pixel, taken off for pre-images
    # C of Mahendran & Vedaldi 2016, the least of theirs. With 100, the pre-images of single channels are noise (seen in
    # trials on the first 600 images): one channel determines little, and the prior has to determine the rest.
    weight_of_loss: float = 1.0
    total_variation: float = 0.016  # multiplies their penalty: (28 / 224)^2, since smaller images vary faster
    inversion: tuple[int, int] = (80, 20)  # steps, then steps at a tenth of the learning rate; theirs are 300 and 50
    learning_rate: float = 0.1  # of preferred inputs (Nguyen et al. 2016), as in configs/nguyen2016/classes.py
    steps: int = 100  # half of theirs: so many units would take long
    keep: float = 0.99  # that codes are multiplied by at each step
    textures: tuple[str, ...] = ("stripes", "dots", "zigzags", "meshes")  # concepts beside the classes
    drawn: int = 200  # images of each texture
    chunk: int = 64  # units at once, in one stage and on one sheet
    cell: int = 64  # pixels of the largest side of a picture; larger ones are made smaller
    batch_size: int = 128  # images at once


get_config = base.tiers(
    smoke=Config(
        layers=("digits/conv1", "digits/conv2", "digits/logits"), generator="digits_conv2", data="digits", images=360,
        mean=(77.8,), total_variation=0.001, inversion=(30, 10), learning_rate=2.0, steps=20, drawn=30, chunk=16
    ),
    default=Config(),
    paper=Config(
        **base.IMAGENET | base.CAFFENET_GENERATOR,
        layers=tuple(f"caffenet/{layer}" for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc8")),
        images=50_000, mean=(122.679, 116.669, 104.007), total_variation=1.0, inversion=(300, 50), learning_rate=8.0,
        steps=200, textures=("stripes", "dots", "zigzags", "meshes", "red", "yellow", "green", "blue")
    ),
)  # fmt: skip
