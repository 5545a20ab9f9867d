"""Folders of images with one subfolder for each class, the layout of ImageNet."""

from pathlib import Path

import numpy as np

from xai_jax.io.errors import excerpt
from xai_jax.io.text import encodable

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def scan(root: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Files, labels (N,) int32 and classes, all sorted by name; hidden files and other formats are skipped.

    Raises FileNotFoundError where `root` is no folder, ValueError where it has no class folders, one has no images, or
    the name of one is not UTF-8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for name in ("cat", "dog"):
    ...         Path(directory, name).mkdir()
    ...         Path(directory, name, "1.png").touch()
    ...     files, labels, classes = scan(Path(directory))
    >>> [path.name for path in files], labels.tolist(), classes
    (['1.png', '1.png'], [0, 1], ('cat', 'dog'))
    """
    if not root.is_dir():
        raise FileNotFoundError(f"Expected a folder of images by class, got {root}, which is not a folder.")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise ValueError(f"Expected one subfolder of images for each class in {root}, got no subfolder.")
    for path in folders:
        if encodable(path.name) != path.name:
            raise ValueError(
                f"Expected names of classes in UTF-8, got the folder {excerpt(path)}. Its name is in another encoding, "
                "often that of the system that wrote the archive: rename it, or convert all with convmv."
            )
    by_class = [_images(path) for path in folders]
    files = [path for paths in by_class for path in paths]
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), [len(paths) for paths in by_class])
    return files, labels, tuple(path.name for path in folders)


def _images(folder):
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    paths = sorted(path for path in visible if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(
            f"Expected images ({', '.join(SUFFIXES)}) in {folder}, got none. Class folders hold their images directly; "
            f"for {folder.parent.name}/{folder.name}/CLASS/ name {folder.name!r} as the split."
        )
    return paths
