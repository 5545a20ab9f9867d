"""Where files go, and how they are written so that nobody ever finds half of one."""

import os
from pathlib import Path


def cache(name: str) -> Path:
    """Where what is made once for all runs is kept: under $XDG_CACHE_HOME, usually ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xai_jax" / name


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes beside `path`, then renames: a kill or full disk leaves the old file or none. OSError names the file."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
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


def clear_partial(folder: str | os.PathLike) -> None:
    """Removes what writes that were killed left anywhere below `folder`, which nobody else may be writing to."""
    for partial in Path(folder).rglob(".*.part"):
        partial.unlink(missing_ok=True)
