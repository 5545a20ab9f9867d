"""Short error messages, whatever the length and number of the names that they quote."""

import difflib
from collections.abc import Iterable

LONGEST = 200  # characters of a path or of another library's message: two of them fit into one of ours
LONGEST_NAME = 80
LONGEST_LIST = 200


class Explained(ValueError):
    """An error that needs no explanation by the functions that it passes.

    >>> isinstance(Explained("Expected one array."), ValueError)
    True
    """


def excerpt(text: object, longest: int = LONGEST) -> str:
    """Text as one short printable line: control characters and lone surrogates are escaped, the end is cut off.

    >>> excerpt("a\\x1b[31m\\nb"), excerpt("long" * 9, longest=9)
    ('a\\\\x1b[31m\\\\nb', 'longlo...')
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def first_line(error: BaseException) -> str:
    """First line of an exception's message, at most 200 characters; the exception's type where there is none.

    >>> first_line(ValueError("Expected 3 classes.\\nGot 4."))
    'Expected 3 classes.'
    """
    return excerpt((str(error).strip() or type(error).__name__).splitlines()[0])


def quoted(value: object, longest: int = LONGEST_NAME) -> str:
    """A value that a user gave, as Python writes it, cut off.

    >>> quoted("relu2"), quoted(list(range(99)), longest=12)
    ("'relu2'", '[0, 1, 2,...')
    """
    return excerpt(repr(value), longest)


def listed(names: Iterable[object]) -> str:
    """Names separated by commas: all of a few, the first of many, "none" of none.

    >>> listed(["conv1", "relu1"]), listed(f"layer{i}" for i in range(500))[-25:]
    ('conv1, relu1', 'layer22, ... (500 in all)')
    """
    names = [excerpt(name, LONGEST_NAME) for name in names]
    whole = ", ".join(names)
    if len(whole) <= LONGEST_LIST:
        return whole or "none"
    shown = whole[:LONGEST_LIST].rpartition(", ")[0]
    return f"{shown}, ... ({len(names)} in all)"


def nearest(name: object, names: Iterable[object]) -> str:
    """A sentence with the most similar name, to follow another one; "" where there is no name.

    >>> nearest("relu2", ["conv1", "relu1"])
    " Did you mean 'relu1'?"
    """
    near = difflib.get_close_matches(str(name)[:LONGEST_NAME], [str(each) for each in names], n=1, cutoff=0)
    return f" Did you mean {quoted(near[0])}?" if near else ""
