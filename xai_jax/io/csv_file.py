"""Tables as CSV that spreadsheets, too, show as it is.

Spreadsheets take a cell for a formula if it begins with one of the characters of `FORMULA`, and run it. Text that does
is written with a single quote before it, as OWASP advises (CSV Injection), which `read` removes; numbers stay numbers.

>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "scores.csv")
...     _ = path.write_bytes(encode([("concept", "mean"), ("=1+1", -0.5)]))
...     read(path)
[{'concept': '=1+1', 'mean': '-0.5'}]
"""

import csv
import io
import os
import re
from collections.abc import Iterable

from xai_jax.io.errors import reading
from xai_jax.io.files import open_regular
from xai_jax.io.text import encodable

FORMULA = "=+-@\t\r\n＝＋－＠"
_ESCAPED = re.compile(f"'+[{re.escape(FORMULA)}]")
_FORMULA = re.compile(f"'*[{re.escape(FORMULA)}]")


def encode(rows: Iterable[Iterable[object]]) -> bytes:
    """Rows, the header first, as CSV in UTF-8; text that would be a formula has a single quote before it.

    >>> encode([("concept", "mean"), ("=1+1", -0.5), ("a, b", 0.5)])
    b'concept,mean\\r\\n\\'=1+1,-0.5\\r\\n"a, b",0.5\\r\\n'
    """
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([_cell(each) for each in row] for row in rows)
    return buffer.getvalue().encode()


def read(path: str | os.PathLike) -> list[dict[str, str]]:
    """Rows of a CSV file by the names in its header, without the quotes that `encode` puts before formulas.

    Raises ValueError for files that are not CSV in UTF-8 with one cell a column. See the module for an example.
    """
    with reading(path, "a CSV file in UTF-8"), open_regular(path) as file:
        lines = csv.reader(io.StringIO(file.read().decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = [[cell[bool(_ESCAPED.match(cell)) :] for cell in line] for line in lines if line] or [[]]
        for number, row in enumerate(rows, start=1):
            if len(row) != len(header):
                raise ValueError(
                    f"Expected {len(header)} cells in row {number} below the header, got {len(row)}. "
                    "Text with a comma has to be in double quotes."
                )
    return [dict(zip(header, row, strict=True)) for row in rows]


def _cell(value):
    if not isinstance(value, str):
        return value
    return encodable(f"'{value}" if _FORMULA.match(value) else value)
