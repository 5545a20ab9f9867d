"""Tables as CSV: no formulas for spreadsheets, numbers as numbers, and names that come back as they were."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_jax.io import csv_file

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = ("=1+1", "@a", "+1", "-1", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("x,y")', "'=1", "''@")
PLAIN = ("stripes", "", "'quoted'", '"', "a, b", "two\nlines", "a\rb", "1", " =1", "cost $5 or $6", "é", "NUL\0", "ﬁ")


def plain_cells(content):
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("name", FORMULAS)
def test_text_is_no_formula(name):
    rows = plain_cells(csv_file.encode([[name], [name, name]]))
    assert rows == [[f"'{name}"], [f"'{name}"] * 2]


@pytest.mark.parametrize("name", PLAIN)
def test_other_text_stays_as_it_is(name):
    assert plain_cells(csv_file.encode([["a", "b"], [name, name]]))[1] == [name, name]


def test_numbers_stay_numbers():
    values = [-1, -0.5, float("-inf"), 1e-9, True, None]
    assert plain_cells(csv_file.encode([values])) == [["-1", "-0.5", "-inf", "1e-09", "True", ""]]


def test_names_that_are_not_utf8_are_escaped():
    assert csv_file.encode([["caf\udce9", "=\ud800"]]) == b"caf\\udce9,'=\\ud800\r\n"


@given(st.lists(st.tuples(st.text(), st.text(alphabet="'=+-@\t\r\n＝a,\"")), min_size=1))
def test_names_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(csv_file.encode([("a", "=b"), *rows]))
    assert csv_file.read(path) == [{"a": first, "=b": second} for first, second in rows]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"a,b\n1,2\n3\n", "Expected 2 cells in row 2 below the header, got 1"),
        (b"a,b\n1,2,3\n", "Expected 2 cells in row 1 below the header, got 3"),
        (b"a\n\xe9\n", "UnicodeDecodeError|can't decode byte 0xe9"),
        (b'a\n"b"c\n', "expected a CSV file in UTF-8"),
        (b"a\n" + b"b" * 200_000, "expected a CSV file in UTF-8"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"table.csv: .*({words})"):
        csv_file.read(path)


def test_files_of_spreadsheets_are_read(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("\ufeffa;b,c\r\n\r\né,2\r\n".encode())  # a byte order mark, an empty line
    assert csv_file.read(path) == [{"a;b": "é", "c": "2"}]
    path.write_bytes(b"")
    assert csv_file.read(path) == []


def test_all_tables_of_the_project_are_written_and_read_here():
    paths = [path for folder in ("xai_jax", "experiments", "scripts") for path in (ROOT / folder).rglob("*.py")]
    other = re.compile(r"^\s*(import csv|from csv import)\b|np\.savetxt|\.to_csv\((?!rows)", re.MULTILINE)
    found = {path.relative_to(ROOT).as_posix() for path in paths if other.search(path.read_text(encoding="utf-8"))}
    assert found == {"xai_jax/io/csv_file.py"}
