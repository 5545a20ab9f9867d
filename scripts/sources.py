"""Where the inputs of the paper tier come from, by their keys in inputs.toml; docs/paper_tier.md has the checksums."""

import os
from pathlib import Path

_DEEPSIM = (
    "https://lmb.informatik.uni-freiburg.de/resources/binaries/arxiv2016_alexnet_inversion_with_gans/"
    "release_deepsim_v0.zip, of it {}/generator.caffemodel"
)

SOURCES = {
    **{f"weights.caffenet_{layer}": _DEEPSIM.format(layer) for layer in ("pool5", "fc6", "fc7")},
    # Before the command of TFDS, which has the addresses of the others.
    "data.imagenet2012": (
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar of https://image-net.org/download-images (an account) in "
        "the folder downloads/manual of TFDS, then "
    ),
    "data.diabetic_retinopathy_detection": (
        "the archives of https://www.kaggle.com/c/diabetic-retinopathy-detection/data (an account), unpacked, in the "
        "folder downloads/manual of TFDS, then "
    ),
    "paths.256_ObjectCategories": (
        "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar, unpacked: a folder for each class"
    ),
    "paths.concepts": (
        "a folder of images for each concept, such as striped of https://www.robots.ox.ac.uk/~vgg/data/dtd/; "
        "docs/paper_tier.md lists them"
    ),
    "paths.lesions": "a folder of images for each lesion; those of the paper are not published",
    "paths.parts": "a CSV file of positions of parts (docs/paper_tier.md); the paper's images are not published",
}

# Data sets that a folder can replace; others have several labels for an image, or splits that are combined.
AS_FOLDERS = ("data.imagenet2012", "data.cifar10", "data.cifar100", "data.diabetic_retinopathy_detection")


def published(root: Path, network: str, source: str) -> dict[str, str] | None:
    """The file of weights that a source publishes for a network, as `xai_jax.models.published` has it."""
    lines = (root / "xai_jax/models/published.tsv").read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split("\t") for line in lines)
    return next((dict(zip(header, row, strict=True)) for row in rows if row[:2] == [network, source]), None)


def downloaded(address: str) -> bool:
    """Whether the file of an address is in the cache of weights."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (cache / "xai_jax/weights" / address.rpartition("/")[2]).exists()
