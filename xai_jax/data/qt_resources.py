"""Files inside a Qt resource file (.rcc), as Qt's resource compiler writes them.

A header (magic `qres`, version, offsets of tree, data and names), then nodes of a tree: a folder has a number of
children and the index of the first, a file has the offset of its data, which begin with their length. Names have a
length, a hash and UTF-16, all big-endian.
"""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

_NODE = {1: 14, 2: 22, 3: 22}  # bytes by version
_COMPRESSED, _FOLDER, _ZSTANDARD = 1, 2, 4
LIMIT = 1 << 28  # bytes of one file when unpacked
NODES = 1 << 16


class _Parts(NamedTuple):
    content: bytes
    node: int
    tree: int
    data: int
    names: int


def read(path: Path) -> dict[str, bytes]:
    """Contents by path inside the file, unpacked. Raises ValueError for what is no such file or damaged.

    >>> read(Path("gcompris-qt/rcc/erase.rcc"))["gcompris/src/activities/erase/erase.svg"][:4]  # doctest: +SKIP
    b'<svg'
    """
    content = path.read_bytes()
    try:
        magic, version, tree, data, names = struct.unpack_from(">4s4I", content)
        if magic != b"qres" or version not in _NODE:
            raise ValueError(f"it begins with {content[:8]!r}")
        parts = _Parts(content, _NODE[version], tree, data, names)
        return {name: _contents(parts, node, flags) for name, node, flags in _walk(parts)}
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"Expected a Qt resource file (magic qres, version 1 to 3) in {path}: {error}.") from error


def _walk(parts):
    """Name, offset and flags of each file. A node is visited once, whatever a damaged tree says."""
    open_folders, seen = [(0, "")], 0
    while open_folders:
        index, folder = open_folders.pop()
        node = parts.tree + index * parts.node
        name, flags = struct.unpack_from(">IH", parts.content, node)
        path = f"{folder}/{_name(parts, name)}".lstrip("/") if index else ""
        if not flags & _FOLDER:
            yield path, node, flags
            continue
        count, first = struct.unpack_from(">II", parts.content, node + 6)
        seen += count
        if seen > NODES or first <= index:
            raise ValueError(f"its tree has over {NODES} nodes or a circle")
        open_folders += [(first + i, path) for i in range(count)]


def _name(parts, offset):
    start = parts.names + offset
    (length,) = struct.unpack_from(">H", parts.content, start)
    return parts.content[start + 6 : start + 6 + 2 * length].decode("utf-16-be", errors="replace")


def _contents(parts, node, flags):
    (offset,) = struct.unpack_from(">I", parts.content, node + 10)
    start = parts.data + offset + 4
    (length,) = struct.unpack_from(">I", parts.content, start - 4)
    if start + length > len(parts.content):
        raise ValueError("it is truncated")
    content = parts.content[start : start + length]
    if flags & _ZSTANDARD:
        raise ValueError("it is compressed by Zstandard, which is not read here")
    if not flags & _COMPRESSED:
        return content
    unpacked = zlib.decompressobj().decompress(content[4:], LIMIT)  # after the unpacked length
    if len(unpacked) != struct.unpack_from(">I", content)[0]:
        raise ValueError("a file has another length than it says")
    return unpacked
