"""Data sets that TFDS has prepared on this machine, by random access."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xai_jax.io.errors import excerpt
from xai_jax.io.logs import quiet


@dataclass(frozen=True)
class Prepared:
    """Examples of a data set, identified by its name with version, and its split: `[i] -> {"image", ...}`."""

    name: str
    split: str
    source: Any = field(compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[index]

    @property
    def features(self) -> Any:
        """TFDS's description of the parts of an example."""
        return self.source.dataset_info.features


def open_prepared(name: str, split: str, images: bool = True) -> Prepared:
    """A data set's examples by random access; images are decoded on access.

    With `images=False` they are not decoded, for reading labels alone. Raises FileNotFoundError, with the command that
    prepares or converts it, where the data set has not been prepared as array_record files.

    >>> open_prepared("caltech101", "test")[0]["image"].shape  # doctest: +SKIP
    (300, 187, 3)
    """
    import tensorflow_datasets as tfds

    try:
        with quiet():  # TFDS warns of missing data, which callers handle
            decoders = None if images else {"image": tfds.decode.SkipDecoding()}
            # TFDS itself would download by default.
            source = tfds.data_source(name, split=split, decoders=decoders, download=False)
    except Exception as error:  # TFDS raises errors of many classes where files are missing
        raise FileNotFoundError(_remedy(name, split, error)) from error
    return Prepared(source.dataset_info.full_name, split, source)


def _remedy(name, split, error):
    needed = "It needs TensorFlow: `pip install xai_jax[prepare]`."
    if copy := _as_tfrecord(name):
        return (
            f"Expected {name} as array_record files, which are read at random, got TFRecord files in "
            f"{excerpt(copy, 150)}. Convert them, beside the others: `tfds convert_format "
            f"--dataset_version_dir={excerpt(copy, 150)} --out_file_format=array_record`. {needed}"
        )
    return (
        f"Expected {name} ({split}) prepared by TFDS, or folder:PATH. Prepare it once: `tfds build {name} "
        f"--file_format=array_record`. {needed} The archives of ImageNet and of retinas have to be downloaded by hand "
        f"first. TFDS says: {excerpt(error, 200)}"
    )


def _as_tfrecord(name):
    """The folder of a copy in TFDS's usual format, which has no random access; None where there is none."""
    import tensorflow_datasets as tfds

    try:
        folder = Path(tfds.builder(name).data_dir)
    except Exception:  # TFDS raises errors of many classes for unknown names and damaged files
        return None
    return folder if any(folder.glob("*.tfrecord*")) else None


def download(name: str) -> None:
    """Downloads and prepares a data set with TFDS, which checks what it gets and shows it only when complete.

    >>> download("caltech101")  # doctest: +SKIP
    """
    import tensorflow_datasets as tfds

    tfds.builder(name, file_format="array_record").download_and_prepare()
