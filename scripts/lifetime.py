"""Children that end with their parent, one run at a time in a directory, and overwrites that were interrupted."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

LOCK_SECONDS = 2  # in which the children of a killed run end
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def alone(path: Path) -> IO[str] | None:
    """The file, locked until all processes that have it open end; None if others have locked it and do not end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, deadline = open(path, "a"), time.monotonic() + LOCK_SECONDS  # noqa: SIM115
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                return None
            time.sleep(0.05)


def killed_with_parent() -> Callable[[], None] | None:
    """What a child calls before its command to be killed when this process ends; None where only `watch` can do it."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare():
        prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # ended before the call
            os._exit(1)

    return prepare


def watch(pid: int) -> subprocess.Popen | None:
    """A process that kills the child `pid` once its input ends without a line; None where the kernel does it."""
    if sys.platform == "linux":
        return None
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(["/bin/sh", "-c", f"read line || kill -9 {pid}"], start_new_session=True, **quiet)


def unwatch(watcher: subprocess.Popen | None) -> None:
    """Ends a watcher of a child that has ended."""
    if watcher is not None:
        watcher.communicate(b"\n")


def overwriting(marker: Path, selection: str) -> bool:
    """Whether `marker` says that an overwrite of this selection has begun and not ended."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return marker.read_text() == selection
    return False


def newer(paths: dict[str, Path], marker: Path) -> set[str]:
    """The names of those files that were written after `marker`."""
    began = marker.stat().st_mtime_ns
    return {name for name, path in paths.items() if path.stat().st_mtime_ns > began}
