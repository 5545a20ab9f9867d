"""A table of the networks of `models.load`: input, number of parameters, where weights come from, licence.

>>> {row.name: row.parameters for row in rows()}["digits"]
9930
"""

import importlib.util
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax

from xai_jax.models import published
from xai_jax.models.entries import ENTRIES, Entry
from xai_jax.models.registry import abstract


class Row(NamedTuple):
    """A network: its name, input (height, width, channels), number of parameters, origin and licence of its weights.

    `ready`: whether `models.load(name)` needs neither a file nor a download nor a package that is not installed.
    """

    name: str
    shape: tuple[int, int, int]
    parameters: int
    origin: str
    licence: str
    ready: bool


def rows() -> Iterator[Row]:
    """A row for each name, in the order of `models.names()`."""
    for name, entry in ENTRIES.items():
        _, variables, shape = abstract(name)
        parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
        yield Row(name, shape, parameters, *_weights(name, entry))


def _weights(name: str, entry: Entry) -> tuple[str, str, bool]:
    if entry.package is not None:
        is_installed = importlib.util.find_spec(entry.package) is not None
        state = "" if is_installed else ", not installed"
        return f"package {entry.package.replace('_', '-')}{state}", entry.licence, is_installed
    if sources := published.of(name):
        (source, file) = next(iter(sources.items()))
        return f"--weights {source}, {file.megabytes} MB", file.licence, False
    return entry.origin, entry.licence or "-", entry.make is not None
