"""The explorer of units: one page that shows every unit of some networks by every method.

`experiments.explorer.units` writes its index and sheets of images. The page embeds the index and loads the sheets from
its folder, so it works without a server.
"""

import re
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xai_jax.gallery.page import UNITS, counted, embedded, remove_generated, render, write
from xai_jax.gallery.results import NAME, Kind, ResultsError, check, is_number, optional, read_json
from xai_jax.io.files import user_path

FOLDER, INDEX = "explorer/units", "units.json"
KINDS = "patches", "deconvnet", "guided", "preimage", "preferred"

COUNT = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0)
VALUE = Kind("a finite number", is_number)
BOX = Kind("four numbers", lambda value: isinstance(value, list) and len(value) == 4 and all(map(is_number, value)))
NEAR = Kind(
    "a concept's number and a finite number",
    lambda value: isinstance(value, list) and len(value) == 2 and COUNT.accepts(value[0]) and is_number(value[1]),
)
SHEET = Kind(
    "the path of a sheet, sheets/NAME.webp",
    lambda value: isinstance(value, str) and re.fullmatch(r"sheets/[^/\\\0]+\.webp", value) is not None,
)
CHUNK = Kind("a whole number above 0", lambda value: COUNT.accepts(value) and value > 0)
BY_UNIT = {"strongest": [VALUE], "error": [VALUE], "reached": [VALUE], "labels": [[COUNT]], "concepts": [[NEAR]]}
LAYER = {"network": NAME, "layer": NAME, "count": COUNT, "chunk": CHUNK, "channels": [COUNT], **BY_UNIT}
LAYER |= {"cells": dict.fromkeys(KINDS, [COUNT]), "sheets": [dict.fromkeys(KINDS, SHEET)], "field": [COUNT]}
LAYER |= {"box": optional(BOX)}
SCHEMA = {"concepts": [NAME], "classes": COUNT, "bounds": [VALUE], "layers": [LAYER]}


def build(results: str | Path) -> Path | None:
    """Writes `results/units.html` and returns its path; None without a finished `results/explorer/units`.

    A page without results is removed, otherwise it is replaced atomically. Raises `ResultsError` with every problem of
    the index and every missing sheet, and `OSError` if the folder cannot be written. Example: `build("results")`.
    """
    results = user_path(results)
    folder = results / FOLDER
    if not (folder / "metrics.json").exists():
        remove_generated(results / UNITS)
        return None
    write(results / UNITS, _page(load(folder)))
    return results / UNITS


def load(folder: Path) -> dict[str, Any]:
    """The validated index of a folder of sheets. Example: `load(Path("results/explorer/units"))`.

    Raises `ResultsError` with every problem.
    """
    problems: list[str] = []
    index = read_json(folder / INDEX, SCHEMA, problems)
    for number, layer in enumerate([] if problems else index["layers"]):
        problems += [f"{folder / INDEX}: layers[{number}]: {line}" for line in _inconsistencies(layer, index, folder)]
    check(problems, "the units", error=partial(ResultsError, folders=(folder,)))
    return index


def _inconsistencies(layer: dict[str, Any], index: dict[str, Any], folder: Path) -> list[str]:
    """Inconsistencies between the entries of a layer whose keys and types are valid."""
    units = len(layer["channels"])
    wrong = [name for name in BY_UNIT if len(layer[name]) != units]
    problems = [f"{name}: expected {units} entries, one for each unit" for name in wrong]
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


def _page(index: dict[str, Any]) -> str:
    """The whole page."""
    options = "".join(f'<option value="{escape(name)}"></option>' for name in index["concepts"])
    texts = {"tally": escape(_unit_count(index)), "chance": escape(_concept_note(index)), "concepts": options}
    scripts = ["explorer_unit.js", "explorer.js"]
    return render("explorer.html", ["explorer.css"], scripts, **texts, data=embedded(index | {"folder": quote(FOLDER)}))


def _unit_count(index: dict[str, Any]) -> str:
    """One sentence with the number of units."""
    layers = index["layers"]
    units = sum(len(layer["channels"]) for layer in layers)
    networks = len({layer["network"] for layer in layers})
    return f"{units:,} units in {counted(len(layers), 'layer')} of {counted(networks, 'network')}."


def _concept_note(index: dict[str, Any]) -> str:
    """The meaning of a concept's number."""
    classes, bounds = index["classes"], index["bounds"]
    kinds = [("a class", bounds[:classes]), ("a texture or colour", bounds[classes:])]
    limits = " or ".join(f"{max(each):.2f} for {kind}" for kind, each in kinds if each)
    return (
        "Area under the ROC curve: probability that an image of the concept activates the unit more than another image "
        f"does, 0.50 at chance level. Only values significantly above it are listed: above {limits}."
    )
