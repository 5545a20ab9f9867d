"""The explorer of units: one page on which every unit of some networks is seen by every method.

`experiments.explorer.units` writes what the page is made of. The page holds the numbers itself and finds the sheets of
pictures beside it, so it works from disk.
"""

import json
import re
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from xai_jax.gallery.page import counted, resource
from xai_jax.gallery.results import NAME, Kind, ResultsError, is_number, read_json
from xai_jax.io.files import write_atomically

PAGE, FOLDER, INDEX = "units.html", "explorer/units", "units.json"
OURS = b'<meta name="generator" content="xai_jax.gallery">'
KINDS = "patches", "deconvnet", "guided", "preimage", "preferred"

COUNT = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0)
VALUE = Kind("a finite number", is_number)
SHARES = Kind(
    "four numbers or null",
    lambda value: value is None or (isinstance(value, list) and len(value) == 4 and all(map(is_number, value))),
)
NEAR = Kind(
    "a concept's number and a finite number",
    lambda value: isinstance(value, list) and len(value) == 2 and COUNT.accepts(value[0]) and is_number(value[1]),
)
SHEET = Kind(
    "the path of a sheet, sheets/NAME.webp",
    lambda value: isinstance(value, str) and re.fullmatch(r"sheets/[^/\\\0]+\.webp", value) is not None,
)
LAYER = {
    "network": NAME,
    "layer": NAME,
    "count": COUNT,
    "chunk": Kind("a whole number above 0", lambda value: COUNT.accepts(value) and value > 0),
    "channels": [COUNT],
    "strongest": [VALUE],
    "error": [VALUE],
    "reached": [VALUE],
    "labels": [[COUNT]],
    "concepts": [[NEAR]],
    "cells": dict.fromkeys(KINDS, [COUNT]),
    "field": [COUNT],
    "box": SHARES,
    "sheets": [dict.fromkeys(KINDS, SHEET)],
}
SCHEMA = {"concepts": [NAME], "classes": COUNT, "bounds": [VALUE], "layers": [LAYER]}
BY_UNIT = "strongest", "error", "reached", "labels", "concepts"


def build(results: str | Path) -> Path | None:
    """Writes `results/units.html` and returns its path; None where `results/explorer/units` has no finished index.

    A page of units that are there no more is removed, else it is replaced in one step. Raises `ResultsError` with every
    problem of the index, and where a sheet is gone, and `OSError` if the folder cannot be written.
    """
    results = Path(results)
    folder = results / FOLDER
    if not (folder / "metrics.json").exists():
        if (results / PAGE).exists() and OURS in (results / PAGE).read_bytes():
            (results / PAGE).unlink()
        return None
    write_atomically(results / PAGE, page(load(folder)).encode("utf-8", "xmlcharrefreplace"))
    return results / PAGE


def load(folder: Path) -> dict[str, Any]:
    """The checked index of a folder of sheets; raises `ResultsError`."""
    problems: list[str] = []
    index = read_json(folder / INDEX, SCHEMA, problems)
    if not problems:
        for number, layer in enumerate(index["layers"]):
            problems += [f"{folder / INDEX}: layers[{number}]: {line}" for line in unfit(layer, index, folder)]
    if problems:
        lines = "\n".join(f"  {line}" for line in problems)
        raise ResultsError(f"{len(problems)} problem(s) in the units:\n{lines}")
    return index


def unfit(layer: dict[str, Any], index: dict[str, Any], folder: Path) -> list[str]:
    """What does not fit together in a layer whose keys and kinds are right."""
    units, problems = len(layer["channels"]), []
    problems += [
        f"{name}: expected {units} entries, one for each unit" for name in BY_UNIT if len(layer[name]) != units
    ]
    sheets = -(-units // layer["chunk"])
    if len(layer["sheets"]) != sheets:
        problems.append(f"sheets: expected {sheets}, got {len(layer['sheets'])}")
    numbers = [number for near in layer["concepts"] for number, _ in near]
    if max(numbers, default=-1) >= len(index["concepts"]) or index["classes"] > len(index["concepts"]):
        problems.append(f"concepts: expected numbers below {len(index['concepts'])}")
    if any(label >= index["classes"] for labels in layer["labels"] for label in labels):
        problems.append(f"labels: expected numbers below {index['classes']}")
    paths = [path for sheet in layer["sheets"] for kind, path in sheet.items() if kind in KINDS]
    return problems + [f"expected a sheet at {folder / path}" for path in paths if not (folder / path).is_file()]


def page(index: dict[str, Any]) -> str:
    """The whole page. Its data is JSON in a script element, which a "<" in a name must not end."""
    return Template(resource("explorer.html")).substitute(
        style=resource("style.css") + "\n" + resource("explorer.css"),
        tally=escape(tally(index)),
        chance=escape(chance(index)),
        concepts="".join(f'<option value="{escape(name)}"></option>' for name in index["concepts"]),
        data=json.dumps(index | {"folder": quote(FOLDER)}, separators=(",", ":")).replace("<", "\\u003c"),
        script=resource("explorer_unit.js") + "\n" + resource("explorer.js"),
    )


def tally(index: dict[str, Any]) -> str:
    """One sentence: how many units there are."""
    layers = index["layers"]
    units = sum(len(layer["channels"]) for layer in layers)
    networks = len({layer["network"] for layer in layers})
    return f"{units:,} units in {counted(len(layers), 'layer')} of {counted(networks, 'network')}."


def chance(index: dict[str, Any]) -> str:
    """What the number of a concept means."""
    classes, bounds = index["classes"], index["bounds"]
    kinds = [("a class", bounds[:classes]), ("a texture", bounds[classes:])]
    limits = " or ".join(f"{max(each):.2f} for {kind}" for kind, each in kinds if each)
    return (
        "How often this unit answers an image of the concept more than another image. Chance gives 0.50. Only "
        f"values that chance hardly brings about, above {limits}, are listed."
    )
