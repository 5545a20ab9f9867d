"""Exceptions that end a run with a message instead of a traceback, and short messages from untrusted files."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from xai_jax.io.text import encodable

LONGEST = 300  # characters of a message that quotes a file or a user


class UserError(Exception):
    """A problem that only the user can solve, such as a missing file or an inconsistent configuration."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message gives the cause and a remedy."""


def excerpt(text: object, longest: int = LONGEST) -> str:
    """Text as one short printable line: control characters and lone surrogates are escaped, the end is cut off.

    >>> excerpt("a\\x1b[31m\\nb"), excerpt("long" * 9, longest=9)
    ('a\\\\x1b[31m\\\\nb', 'longlo...')
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


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
        raise ValueError(f"{excerpt(path)}: {excerpt(error)}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = excerpt(f"{type(error).__name__}: {error}")
        raise ValueError(f"{excerpt(path)}: expected {kind}, got a damaged or another one ({reason}).") from error


def differences(found: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """Entries in which a description of earlier work differs from that of the present, or "".

    >>> differences({"seed": 0, "steps": 9}, {"seed": 1, "steps": 9})
    'seed: 0 there, 1 now'
    """
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    lines = "; ".join(f"{key}: {found.get(key)} there, {wanted.get(key)} now" for key in keys)
    return encodable(lines)


def first_line(error: BaseException) -> str:
    """First line of an exception's message, at most 300 characters; the exception's type where there is none.

    >>> first_line(ValueError("Expected 3 classes.\\nGot 4."))
    'Expected 3 classes.'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:LONGEST]
