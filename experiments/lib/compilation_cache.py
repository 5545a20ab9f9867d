"""Persistent compilation cache, so that the next run of an experiment does not recompile its programs.

With the package zstandard, or from Python 3.14 on, JAX's files have no checksum: after a changed bit, a program crashes
or computes other numbers. So each has one here, in a file beside it that is written right after it. A run removes the
programs that do not agree with theirs before it reads any, so they are compiled again: damaged ones, and those of a run
that was killed in between.
"""

import atexit
import contextlib
import hashlib
import os
import warnings
from pathlib import Path

import jax

from xai_jax.io.files import cache_dir, clear_partial, open_regular, write_atomically

LEAST_SECONDS = 0.1  # of compiling, for a program to be cached
PROGRAM, CHECKSUM = "-cache", ".sha256"  # ends of the names of JAX's files, and of the files with their checksums
WRITTEN = "/jax/compilation_cache/cache_misses"  # JAX's event as it writes a program


def keep() -> None:
    """Enables the cache for this process.

    JAX keys a program by everything it depends on, including versions and processor. A directory set before, by
    JAX_COMPILATION_CACHE_DIR, is kept as it is, without checksums.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    directory = cache_dir("programs")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        record_new(directory, remove_damaged(directory))
    except OSError as error:  # a damaged program cannot be removed
        warnings.warn(f"Expected a cache of compiled programs, continue without: {error}", stacklevel=2)
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def remove_damaged(directory: Path) -> set[str]:
    """Removes the programs that disagree with their checksums or have none; returns the names of the others."""
    clear_partial(directory)
    names = os.listdir(directory)
    intact = {name for name in names if name.endswith(PROGRAM) and _is_intact(directory / name)}
    for name in names:
        if name.endswith((PROGRAM, PROGRAM + CHECKSUM)) and name.removesuffix(CHECKSUM) not in intact:
            (directory / name).unlink(missing_ok=True)  # another process may have removed it
    return intact


def record_new(directory: Path, known: set[str]) -> None:
    """From now on, writes the checksum of each program that appears in the directory, but of none of `known`.

    Other processes may write there, too. A checksum of a file that one of them has not finished is replaced by its
    own; were it killed before that, JAX would find the file truncated.
    """
    written = []

    def record():
        with contextlib.suppress(OSError):  # without a checksum, the next run compiles the program again
            for name in {name for name in os.listdir(directory) if name.endswith(PROGRAM)} - known:
                known.add(name)
                with contextlib.suppress(OSError, ValueError):
                    write_atomically(_recorded(directory / name), _checksum(directory / name))

    def on_event(name, **_):
        if name == WRITTEN:  # comes just before the file
            written.append(name)

    def on_duration(*_, **__):
        if written:  # the next duration is that of the whole compilation, after the file
            written.clear()
            record()

    jax.monitoring.register_event_listener(on_event)
    jax.monitoring.register_event_duration_secs_listener(on_duration)
    atexit.register(record)


def _is_intact(program: Path) -> bool:
    """Whether a program agrees with its checksum."""
    try:
        with open_regular(_recorded(program)) as file:
            return file.read(100) == _checksum(program)
    except (OSError, ValueError):
        return False


def _checksum(program: Path) -> bytes:
    """Checksum of a program and of its name, which is its key."""
    with open_regular(program) as file:
        return hashlib.file_digest(file, lambda: hashlib.sha256(os.fsencode(program.name))).hexdigest().encode()


def _recorded(program: Path) -> Path:
    """The file with the checksum of a program."""
    return program.with_name(program.name + CHECKSUM)
