"""Every unit, seen by every method: what the page `units.html` of the gallery is made of.

    python -m experiments.explorer.units --config=configs/explorer/units.py:default --workdir=results/explorer/units

smoke: seconds. default: nine minutes on 2 cores. paper: hours on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base


@dataclasses.dataclass(kw_only=True)
class Config(base.Generator, base.Data, base.Seeded):
    generator: str = "photo_fc6"
    data: str = "composites_64"
    split: str = "all"
    # NETWORK/LAYER, before it is rectified: a rectified or pooled copy of a channel is the same unit
    layers: tuple[str, ...] = (
        *(f"photo_maxpool/{layer}" for layer in ("conv1", "conv2", "conv5", "fc6", "fc8")),
        *(f"photo_allcnn/{layer}" for layer in ("conv1", "conv3", "conv5", "fc8")),
    )
    images: int = 4440  # how many there are, for the dry run
    k: int = 9  # strongest natural images of a unit (Zeiler & Fergus 2014, Fig. 2)
    mean: tuple[float, ...] = base.COMPOSITES_MEAN  # taken off for pre-images
    # C of Mahendran & Vedaldi 2016, the least of theirs: one channel determines little, and the prior has to determine
    # the rest.
    weight_of_loss: float = 1.0
    total_variation: float = 0.082  # multiplies their penalty: (64 / 224)^2, since smaller images vary faster
    inversion: tuple[int, int] = (40, 10)  # steps, then steps at a tenth of the learning rate; theirs are 300 and 50
    learning_rate: float = 0.6  # of preferred inputs (Nguyen et al. 2016), as in configs/nguyen2016/classes.py
    steps: int = 50  # a quarter of theirs: so many units would take long
    keep: float = 0.95  # that codes are multiplied by at each step
    # Concepts beside the classes
    textures: tuple[str, ...] = ("stripes", "dots", "zigzags", "meshes", "red", "yellow", "green", "blue")
    drawn: int = 200  # images of each texture
    chunk: int = 64  # units at once, in one stage and on one sheet
    cell: int = 48  # pixels of the largest side of a picture; larger ones are made smaller
    batch_size: int = 128  # images at once


get_config = base.tiers(
    smoke=Config(
        layers=("digits/conv1", "digits/conv2", "digits/logits"), generator="digits_conv2", data="digits",
        split="test", images=360, mean=(77.8,), total_variation=0.001, inversion=(30, 10), learning_rate=2.0, steps=20,
        keep=0.99, textures=("stripes", "dots", "zigzags", "meshes"), drawn=30, chunk=16
    ),
    default=Config(seed=5),  # settings were chosen on seed 0
    paper=Config(
        **base.IMAGENET | base.CAFFENET_GENERATOR,
        layers=tuple(f"caffenet/{layer}" for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc8")),
        images=50_000, mean=(122.679, 116.669, 104.007), total_variation=1.0, inversion=(300, 50), learning_rate=8.0,
        steps=200, keep=0.99, cell=64
    ),
)  # fmt: skip
