"""Cache directories and atomic writes."""

import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from xai_jax.core.messages import quoted
from xai_jax.io.errors import excerpt

_LONGEST_NAME = 255  # of a file, in bytes


def cache_dir(name: str) -> Path:
    """Directory for results that are computed once for all runs, under $XDG_CACHE_HOME or ~/.cache.

    >>> cache_dir("compiled").parts[-2:]
    ('xai_jax', 'compiled')
    """
    return user_path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xai_jax" / name


def user_path(path: str | os.PathLike) -> Path:
    """A path that a user gave, where "~" is the home directory: no shell expands it in `--workdir=~/results`.

    Raises ValueError for names that no file may have.

    >>> user_path("~/results") == Path.home() / "results"
    True
    """
    path = Path(os.path.expanduser(path))
    is_long = len(os.fsencode(path)) > _LONGEST_NAME  # else no name is, and there may be many thousand paths
    if is_long and max(map(len, map(os.fsencode, path.parts))) > _LONGEST_NAME:  # the system would quote all of it
        raise ValueError(f"Expected a path with names of at most {_LONGEST_NAME} bytes, got {quoted(str(path))}.")
    return path


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Opens a file for reading; raises ValueError for devices and pipes, which may never end, and for directories.

    >>> open_regular("/dev/zero")
    Traceback (most recent call last):
    ValueError: /dev/zero: expected a file, got a device, a pipe or a directory.
    """
    descriptor = os.open(user_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{excerpt(path)}: expected a file, got a device, a pipe or a directory.")
    return os.fdopen(descriptor, "rb")


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a temporary file beside `path`, then renames it; after a kill the old file is intact.

    An OSError names the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "a.txt"), b"text")
    ...     Path(folder, "a.txt").read_text()
    'text'
    """
    path = user_path(path)
    partial = partial_path(path)
    try:
        with open(partial, "xb") as file:  # never an existing file, nor through a symbolic link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # that of a full disk has none
        raise
    finally:
        partial.unlink(missing_ok=True)


def partial_path(path: str | os.PathLike) -> Path:
    """A hidden name beside `path` for a file being written, which no other process, container or thread chooses.

    >>> partial_path("results/arrays.npz").match("results/.arrays.npz.*.part")
    True
    """
    path = Path(path)
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")


def clear_partial(directory: str | os.PathLike, *subdirectories: str) -> None:
    """Removes the temporary files of killed writers in a directory and the named ones below, held by a lock.

    Other subdirectories may belong to runs of their own.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     partial_path(Path(folder, "a.txt")).touch()
    ...     clear_partial(folder)
    ...     os.listdir(folder)
    []
    """
    for folder in ("", *subdirectories):
        for partial in Path(directory, folder).glob(".*.part"):
            partial.unlink(missing_ok=True)
