"""Locks of directories, against a second process that works there.

>>> import tempfile
>>> with tempfile.NamedTemporaryFile() as first, open(first.name) as second:
...     acquire(first), acquire(second)
(True, False)
"""

import fcntl
import os
from typing import IO


def acquire(file: IO, wait: bool = False) -> bool:
    """Locks an open file until it is closed or the process ends; False where another process has locked it.

    With `wait`, waits for that process. Raises OSError on file systems that do not have locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OSError(
            error.errno,
            f"Expected a file system with locks, got: {os.strerror(error.errno)}. Usual cause: a network file system "
            "that is mounted without them (Lustre: mount with -o flock; NFS: its lock service does not run). Choose a "
            "directory on a local disk",
            file.name,
        ) from error
    return True
