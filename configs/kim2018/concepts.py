"""TCAV of colours and textures for classes of an ImageNet network (Kim et al. 2018, section 4.2, Figure 4).

    python -m experiments.kim2018.concepts \\
        --config=configs/kim2018/concepts.py:default --workdir=results/kim2018/concepts

smoke: seconds. default: three minutes on 2 cores. paper: an hour on one A100. Its inputs: docs/paper_tier.md.
"""

import dataclasses

from configs import base

Pairs = tuple[tuple[str, str], ...]


@dataclasses.dataclass(kw_only=True)
class Config(base.Network, base.CAVs):
    concepts: tuple[str, ...] = ("red", "orange", "yellow", "green", "blue", "stripes", "zigzags", "dots", "meshes")
    folder: str = ""  # with a folder of images for each concept; none: they are drawn
    images: str = "photographs"  # at which derivatives are taken: these and cut-outs, or a data set's of each class
    # What everybody knows of classes, fixed before any result: the paper's red and stripes, and ten of ours
    pairs: Pairs = (
        ("red", "fire engine"),
        ("stripes", "zebra"),
        ("stripes", "tiger"),
        ("dots", "cheetah"),
        ("red", "strawberry"),
        ("orange", "orange"),
        ("yellow", "lemon"),
        ("green", "Granny Smith"),
        ("green", "broccoli"),
        ("yellow", "school bus"),
        ("dots", "dalmatian"),
        ("meshes", "chainlink fence"),
    )
    pictured: str = "zebra"  # the class whose images are shown beside its scores
    layers: tuple[str, ...] = ("block8", "block11", "block15")
    shown: str = "block11"  # in which concepts are compared with each other
    controls: int = 3  # random sets of each seed that are substituted for the concept, for the null distribution
    explained: int = 30  # images of each class, whose derivatives count
    seeds: tuple[int, ...] = tuple(range(6, 18))  # of concept images and random sets; earlier ones were seen


get_config = base.tiers(
    smoke=Config(
        network="digits", concepts=("stripes", "dots", "meshes"), images="digits",
        pairs=(("stripes", "1"), ("dots", "0")), pictured="1", layers=("relu1", "relu2"), shown="relu2", examples=6,
        runs=2, controls=4, explained=10, seeds=(0, 1)
    ),
    default=Config(),
    paper=Config(
        network="googlenet", weights="torchvision",
        concepts=("red", "yellow", "blue", "green", "striped", "dotted", "zigzagged", "siberian husky", "arms"),
        folder="concepts", images="imagenet2012",
        pairs=(("red", "fire engine"), ("striped", "zebra"), ("dotted", "dalmatian"),
               ("siberian husky", "dogsled"), ("arms", "dumbbell")),
        layers=tuple(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")),
        shown="inception5b", examples=50, runs=500, controls=20, explained=50, seeds=(3, 4, 5)
    ),
)  # fmt: skip
