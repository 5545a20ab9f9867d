"""Weights that others publish: what `models.load(name, source)` downloads, with digests, sizes and licences.

The table is published.tsv. The files were trained on ImageNet, whose terms may apply to them.

>>> of("resnet18")["torchvision"].megabytes
47
"""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

from xai_jax.core.messages import listed, quoted
from xai_jax.weights import download

TABLE = Path(__file__).with_name("published.tsv")


class Published(NamedTuple):
    """A file: the network and the source that publishes it, size, licence, SHA-256 and address."""

    network: str
    source: str
    megabytes: int
    licence: str
    sha256: str
    address: str


@functools.cache
def table() -> tuple[Published, ...]:
    """All files.

    >>> table()[0].address.rpartition("/")[2]
    'vgg16-397923af.pth'
    """
    _, *rows = (line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines())
    return tuple(Published(network, source, int(megabytes), *rest) for network, source, megabytes, *rest in rows)


def of(network: str) -> dict[str, Published]:
    """Files for a network by source.

    >>> list(of("caffenet")), list(of("zfnet"))
    (['caffe'], [])
    """
    return {row.source: row for row in table() if row.network == network}


def path(network: str, weights: Any) -> str | os.PathLike:
    """The path of a file of weights: `weights` itself, or what the source of that name publishes, in the cache.

    Raises ValueError for a source that publishes nothing for the network, and the errors of `download.fetch`.

    >>> path("vgg16", "mine.pth")
    'mine.pth'
    """
    sources = of(network)
    if not isinstance(weights, str) or weights not in {row.source for row in table()}:
        return weights
    if weights in sources:
        return download.fetch(sources[weights].address, sources[weights].sha256)
    known = f"it has {listed(map(quoted, sources))}" if sources else "it has none"
    raise ValueError(
        f"Expected the source of weights that are published for {network}; {known}; got {quoted(weights)}. A file of "
        f"that name is given as ./{weights}."
    )
