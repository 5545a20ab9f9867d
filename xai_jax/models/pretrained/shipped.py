"""Weights that come with this package: one safetensors file for each network, in float16, with how it was trained.

>>> sorted(read("photo_maxpool")[1])
['accuracy', 'data', 'losses', 'network', 'recipe', 'trained_with']
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xai_jax.io import checksums
from xai_jax.weights import safetensors_file

FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """The file of a network.

    >>> path("photo_maxpool").name
    'photo_maxpool.safetensors'
    """
    return FOLDER / f"{name}.safetensors"


def read(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables of a network in float32, and what is known of its training. Raises ValueError for a damaged file."""
    arrays, about = checksums.read(path(name))
    arrays = {entry: array.astype(np.float32) for entry, array in arrays.items()}
    return safetensors_file.unflatten(arrays), {key: json.loads(value) for key, value in about.items()}


def write(file: Path, variables: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Writes what `read` reads; `about` holds what JSON can hold. Example: `write(path(name), variables, about)`."""
    arrays = jax.tree.map(lambda array: np.asarray(array, np.float16), dict(variables))
    safetensors_file.write(
        file, safetensors_file.flatten(arrays), {key: json.dumps(value) for key, value in about.items()}
    )
