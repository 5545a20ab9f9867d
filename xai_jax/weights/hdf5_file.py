"""Arrays of a published HDF5 file.

HDF5 is read by a large C library and may refer to other files: only a file with the expected checksum is opened.
"""

from pathlib import Path

import numpy as np

from xai_jax.io.checksums import sha256_of_file


def read(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Arrays by path inside the file. Raises ValueError for a file of another content.

    Example: `hdf5_file.read(path, "4502df9d...")["block1/layers/conv2d/vars/0"]`.
    """
    import h5py  # of the extra that brings such files

    found = sha256_of_file(path)
    if found != sha256:
        raise ValueError(
            f"Expected the SHA-256 {sha256} of {path}, got {found}. The file is damaged or of another version."
        )
    arrays: dict[str, np.ndarray] = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return arrays
