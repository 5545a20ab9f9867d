"""Folders of images with one subfolder for each class, the layout of ImageNet."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
from absl import logging

from xai_jax.core.messages import listed
from xai_jax.io.errors import excerpt
from xai_jax.io.text import encodable

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
TRAINING = ("train", "training", "Train", "Training")  # folders whose classes number those of the folders beside them
VALIDATION = ("validation", "val", "valid", "Validation", "Val")


def scan(root: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Files, labels (N,) int32 and classes, all sorted by name: "B" before "a", "10" before "2", as torchvision does.

    Held-out images have the labels of training, also where they lack a class: beside a folder `train` (see `TRAINING`)
    that shares a class with `root`, classes are numbered as there, and those that `root` alone has come last.
    Hidden files are skipped; a warning counts other formats, and images that are not directly in a class folder.
    Raises FileNotFoundError where `root` is no folder, ValueError where it has no class folders, one has no images, or
    the name of one is not UTF-8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for name in ("train/cat", "train/dog", "test/dog"):
    ...         Path(directory, name).mkdir(parents=True)
    ...         Path(directory, name, "1.png").touch()
    ...     files, labels, classes = scan(Path(directory, "test"))
    >>> [path.name for path in files], labels.tolist(), classes
    (['1.png'], [1], ('cat', 'dog'))
    """
    _require_folder(root, "a folder of images by class")
    folders, loose = _class_folders(root), sum(path.suffix.lower() in SUFFIXES for path in root.iterdir())
    if not folders:
        raise ValueError(f"Expected one subfolder of images for each class in {excerpt(root)}, got no subfolder.")
    passed_over = Counter({"beside the class folders": loose})
    by_class = {name: _images(path, passed_over) for name, path in folders.items()}
    _warn(root, +passed_over)
    classes = _numbered(root, tuple(folders))
    files = [path for paths in by_class.values() for path in paths]
    labels = [np.full(len(paths), classes.index(name), np.int32) for name, paths in by_class.items()]
    return files, np.concatenate(labels), classes


def _require_folder(root, what):
    if not root.is_dir():
        beside = _folders_in(root.parent) if root.parent.is_dir() else []
        where = "The current folder" if root.parent == Path() else excerpt(root.parent)
        has = f" {where} has the folders {listed(beside)}." if beside else ""
        raise FileNotFoundError(f"Expected {what}, got {excerpt(root)}, which is not a folder.{has}")


def _folders_in(root):
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def images(root: Path) -> list[Path]:
    """The image files that are directly in a folder, sorted by name; hidden files and other formats are skipped.

    Raises FileNotFoundError where `root` is no folder, ValueError where it has no images.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for name in ("2.png", "1.jpg", "notes.txt"):
    ...         Path(directory, name).touch()
    ...     [path.name for path in images(Path(directory))]
    ['1.jpg', '2.png']
    """
    _require_folder(root, "a folder of images")
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not found:
        raise ValueError(
            f"Expected images ({listed(SUFFIXES)}) directly in {excerpt(root, 120)}, got none. It has the folders: "
            f"{listed(_folders_in(root))}."
        )
    return found


def splits(root: Path) -> tuple[str, str]:
    """Names of the folders in `root` to train and to test on. Example: `splits(root) == ("train", "val")`.

    Raises FileNotFoundError where `root` is no folder, ValueError where one of them is missing.
    """
    _require_folder(root, "a folder with images to train and to test on")
    known = TRAINING, (*VALIDATION, "test", "Test")
    found = [next((name for name in names if (root / name).is_dir()), None) for names in known]
    if None in found:
        raise ValueError(
            f"Expected folders to train and to test on, such as train and val, in {excerpt(root, 120)}, got "
            f"{listed(_folders_in(root))}."
        )
    return found[0], found[1]


def of_split(root: Path, split: str) -> Path:
    """The folder of a split: `root` itself for "all", or a folder with that name or another name of the same split.

    >>> of_split(Path("photos"), "all").name
    'photos'
    """
    if split == "all":
        return root
    names = next((names for names in (TRAINING, VALIDATION) if split in names), ())
    return next((root / name for name in (split, *names) if (root / name).is_dir()), root / split)


def _class_folders(root):
    """By the name of the class, composed: systems differ in how they store "é"."""
    folders, found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")), {}
    for path in folders:
        if encodable(path.name) != path.name:
            raise ValueError(
                f"Expected names of classes in UTF-8, got the folder {excerpt(path)}. Its name is in another encoding, "
                "often that of the system that wrote the archive: rename it, or convert all with convmv."
            )
        name = unicodedata.normalize("NFC", path.name)
        if name in found:
            raise ValueError(f"Expected one folder for each class, got two called {excerpt(name)} in {excerpt(root)}.")
        found[name] = path
    return found


def _numbered(root, classes):
    beside = (Path(os.path.abspath(root)).parent / name for name in TRAINING)
    known = next((tuple(_class_folders(path)) for path in beside if os.path.isdir(path)), ())
    return (*known, *(name for name in classes if name not in known)) if {*known} & {*classes} else classes


def _images(folder, passed_over):
    found, others = [], Counter()
    for entry in os.scandir(folder):
        suffix = Path(entry.name).suffix.lower()
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            others["in folders within class folders"] += sum(len(files) for *_, files in os.walk(entry.path))
        elif suffix in SUFFIXES and entry.is_file():
            found.append(folder / entry.name)
        else:
            others[suffix or "without a suffix"] += 1
    if not found:
        raise ValueError(
            f"Expected images ({listed(SUFFIXES)}) in {excerpt(folder, 90)}, got {_listed(+others) or 'none'}. "
            f"Class folders hold their images directly; for {excerpt(folder.parent.name, 40)}/"
            f"{excerpt(folder.name, 40)}/CLASS/ name {excerpt(folder.name, 40)!r} as the split."
        )
    passed_over.update(others)
    return sorted(found)


def _listed(counts):
    kinds = [f"{count} {excerpt(kind, 32)}" for kind, count in counts.most_common(5)]
    return ", ".join(kinds) + (", ..." if len(counts) > 5 else "")


def _warn(root, passed_over):
    if passed_over:
        logging.warning(
            "Passed over %d files in %s: %s. Images are %s directly in class folders.",
            *(passed_over.total(), excerpt(root), _listed(passed_over), ", ".join(SUFFIXES)),
        )
