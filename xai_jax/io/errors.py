"""Exceptions that end a run with a message instead of a traceback, and short messages from untrusted files."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from xai_jax.core.messages import excerpt as excerpt
from xai_jax.core.messages import first_line as first_line


class UserError(Exception):
    """A problem that only the user can solve, such as a missing file or an inconsistent configuration."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message gives the cause and a remedy."""


@contextlib.contextmanager
def reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns whatever the content of a file raises into a ValueError of one short line that names the file.

    Errors of the operating system, which name their file, stay as they are.

    >>> with reading("a.pth", "a PyTorch file"):
    ...     {}["missing"]
    Traceback (most recent call last):
    ValueError: a.pth: expected a PyTorch file, got a damaged or another one (KeyError: 'missing').
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{excerpt(path, 200)}: {excerpt(error)}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = excerpt(f"{type(error).__name__}: {error}")
        raise ValueError(f"{excerpt(path, 200)}: expected {kind}, got a damaged or another one ({reason}).") from error


def differences(found: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """Entries in which a description of earlier work differs from that of the present, or "".

    >>> differences({"seed": 0, "steps": 9}, {"seed": 1, "steps": 9})
    'seed: 0 there, 1 now'
    >>> differences({"recipe": {"decay": 0, "steps": 9}}, {"recipe": {"decay": 1, "steps": 9}})
    'recipe.decay: 0 there, 1 now'
    """
    lines = [
        f"{excerpt(name, 60)}: {excerpt(old, 60)} there, {excerpt(new, 60)} now"
        for name, old, new in _differing(found, wanted)
    ]
    return "; ".join(lines[:2]) + (f"; and {len(lines) - 2} more" if len(lines) > 2 else "")


def _differing(found, wanted, outer=""):
    """Of entries that have entries themselves the parts that differ: the whole would be cut off before them."""
    for key in {**found, **wanted}:
        old, new = found.get(key), wanted.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differing(old, new, f"{outer}{key}.")
        elif old != new:
            yield f"{outer}{key}", old, new
