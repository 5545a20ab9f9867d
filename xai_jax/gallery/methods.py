"""Descriptions of the reproduced methods on the front page, from `methods.toml`."""

import tomllib
from pathlib import Path
from typing import NamedTuple


class Method(NamedTuple):
    """A paper's method for the front page.

    Attributes:
      name: of the method.
      paragraph: what it computes.
      letters: symbols of the formula.
      formula: MathML.
      figures: pairs (experiment, file), of which the first available one is shown.
    """

    name: str
    paragraph: str
    letters: str
    formula: str
    figures: list[tuple[str, str]]


def _read() -> dict[str, Method]:
    """All methods by paper, with the line breaks of the file removed."""
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    for entry in entries.values():
        entry |= {name: entry[name].replace("\n", " ") for name in ("paragraph", "letters")}
        entry["formula"] = entry["formula"].replace("\n", "")
        entry["figures"] = [(experiment, file) for experiment, file in entry["figures"]]
    return {paper: Method(**entry) for paper, entry in entries.items()}


METHODS = _read()
OTHERS = {"explorer": "Every unit, by every method"}


def method_name(paper: str) -> str:
    """The method of a known paper, else the name of its folder.

    >>> method_name("kim2018"), method_name("someone2030")
    ('Concept vectors (TCAV)', 'someone2030')
    """
    return METHODS[paper].name if paper in METHODS else OTHERS.get(paper, paper)
