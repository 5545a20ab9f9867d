"""Reads and validates the results of experiments.

The problems of all experiments are collected before any is reported, so that one run shows all of them.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from xai_jax.gallery import formatting
from xai_jax.gallery.pictures import Picture, load_picture
from xai_jax.io import checksums
from xai_jax.io.errors import excerpt
from xai_jax.io.files import open_regular, user_path


class ResultsError(ValueError):
    """Invalid results; the message names each file and key. `folders` has those of the experiments concerned."""

    def __init__(self, message: str, folders: tuple[Path, ...] = ()):
        super().__init__(message)
        self.folders = folders


class Experiment(NamedTuple):
    """One validated `<paper>/<figure>` folder: `metrics` has every key of `METRICS`.

    `pages`: paths below the folder of pages that the experiment itself wrote.
    """

    paper: str
    name: str
    metrics: dict[str, Any]
    config: dict[str, Any]
    pictures: tuple[Picture, ...]
    pages: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Of its page, as a link from the front page."""
        return quote(f"{self.paper}/{self.name}/index.html")


class Kind(NamedTuple):
    """A type of JSON values: its description and its predicate."""

    description: str
    accepts: Any


def is_number(value: Any) -> bool:
    """True for finite floats and ints of their range, but not for booleans, which are ints to Python.

    >>> is_number(0.5), is_number(True), is_number(float("nan")), is_number(10**400)
    (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_text(value: Any) -> bool:
    """True for text that can be written; JSON knows halves of characters, which cannot.

    >>> is_text("Ü"), is_text("\\ud800"), is_text(1)
    (True, False, False)
    """
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def is_inside(value: Any) -> bool:
    """True for a relative path that stays in its folder.

    >>> is_inside("stages/a.npz"), is_inside("../a.npz"), is_inside("/dev/zero"), is_inside("a\\0")
    (True, False, False, False)
    """
    if not is_text(value) or not value.strip() or "\0" in value:
        return False
    return not PurePath(value).is_absolute() and ".." not in PurePath(value).parts


def optional(kind: Kind) -> Kind:
    """The kind, or null.

    >>> optional(TEXT).accepts(None), optional(TEXT).description
    (True, 'text or null')
    """
    return Kind(f"{kind.description} or null", lambda value: value is None or kind.accepts(value))


TEXT = Kind("text", is_text)
NAME = Kind("text that is not empty", lambda value: is_text(value) and value.strip() != "")
NOTE, NUMBER = optional(TEXT), optional(Kind("a finite number", is_number))
RESULT = Kind("a finite number, text or null", lambda value: is_text(value) or NUMBER.accepts(value))
SECONDS = optional(Kind("a number of seconds", lambda value: is_number(value) and value >= 0))
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
DECISION = Kind(", ".join(formatting.VERDICTS), lambda value: isinstance(value, str) and value in formatting.VERDICTS)
P_VALUE = optional(Kind("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1))
FILE = Kind(
    "the name of a file in the same folder",
    lambda value: is_inside(value) and value == Path(value).name,
)
FILES = Kind(
    "an object of paths in the same folder and their checksums",
    lambda value: isinstance(value, dict) and all(map(is_inside, value)) and all(map(is_text, value.values())),
)

TEXTS = {"experiment": NAME, "title": NAME, "figure": TEXT, "paper": NAME, "summary": TEXT}
RUN = {"tier": NAME, "command": NAME, "seconds": SECONDS, "hardware": TEXT, "seed": NUMBER}
FIGURE = {"file": FILE, "caption": TEXT, "alt": NAME}
ROW = {"name": NAME, "value": RESULT, "spread": NUMBER, "unit": NOTE, "paper": RESULT, "paper_tag": NOTE, "note": NOTE}
TEST = {"verdict": DECISION, "tested": BOOLEAN, "p": P_VALUE, "opposite_p": P_VALUE}
CLAIM = {"claim": NAME, "source": TEXT, "measured": TEXT} | TEST
METRICS = TEXTS | RUN | {"figures": [FIGURE], "numbers": [ROW], "claims": [CLAIM], "order": NUMBER}
"""Schema of `metrics.json`: a `Kind` for each value, one entry in a list for all of its items."""
LARGEST = 100_000_000  # bytes of a JSON file that is read
MOST_LINES = 20  # problems of a file that are listed
MOST_PROBLEMS = 100  # of all files that are listed


def load(results: Path) -> list[Experiment]:
    """All experiments under `results`, sorted by folder name. Example: `load(Path("results"))`.

    Raises `ResultsError` with every problem.
    """
    results = user_path(results)
    if not results.is_dir():
        raise ResultsError(f"expected a folder of results, but {results} is not a folder")
    files, problems = sorted(file for file in results.glob("*/*/metrics.json") if is_text(str(file))), []
    if not files:
        raise ResultsError(
            f"expected results at {results}/<paper>/<figure>/metrics.json, found none: "
            "no experiment has finished there yet, or this is not the folder the experiments wrote to"
        )
    experiments = {file.parent: _load_experiment(file.parent, problems) for file in files}
    refused = tuple(folder for folder, experiment in experiments.items() if experiment is None)
    check(problems, "the results", error=partial(ResultsError, folders=refused))
    return list(experiments.values())


def check(problems: list[str], where: str, advice: str = "", error: Callable[[str], ValueError] = ResultsError) -> None:
    """Raises an error with a line for each problem, if any. Example: `check(["metrics.json: missing"], "the results")`.

    Args:
      problems: one line each.
      where: what they were found in.
      advice: last line of the message.
      error: makes it from the message.

    Raises:
      ResultsError: or `error`, if there are problems.
    """
    if problems:
        shown = [f"  {line}" for line in problems[:MOST_PROBLEMS]]
        rest = [f"  and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        lines = [f"{len(problems)} problem(s) in {where}:", *shown, *rest, advice]
        raise error("\n".join(lines).rstrip("\n"))


def _load_experiment(folder: Path, problems: list[str]) -> Experiment | None:
    """The experiment in `folder`, or None after adding its problems to `problems`."""
    before = len(problems)
    metrics = read_json(folder / "metrics.json", METRICS, problems)
    config = read_json(folder / "config.json", {}, problems)
    pictures = _load_pictures(folder, metrics, problems)
    if len(problems) == before:
        problems += damages(folder, metrics)
    if len(problems) > before:
        return None
    pages = tuple(path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/*.html")) if is_text(str(path)))
    return Experiment(folder.parent.name, folder.name, metrics, config, pictures, pages)


def read_json(file: Path, schema: Any, problems: list[str], largest: int | None = None) -> Any:
    """The content of a JSON file, None if it cannot be parsed; what differs from `schema` is added to `problems`.

    Example: `read_json(folder / "metrics.json", METRICS, problems)`.

    Args:
      file: to read.
      schema: as of `mismatches`.
      problems: extended by up to 20 lines.
      largest: number of bytes that are read at most, by default `LARGEST`.

    Returns:
      The content, of whatever type.

    Raises:
      MemoryError: where `largest` does not fit.
    """
    content, largest, name = None, largest or LARGEST, excerpt(file)
    try:
        with open_regular(file) as opened:
            if os.fstat(opened.fileno()).st_size > largest:
                raise ValueError(f"it has more than {largest} bytes")
            content = json.loads(opened.read())  # read(largest) would take all of that memory
        problems += [f"{name}: {line}" for line in islice(mismatches(content, schema, ""), MOST_LINES)]
    except FileNotFoundError:
        problems.append(f"{name}: there is no such file")
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{name}: expected JSON, cannot read it ({excerpt(error)}). Usual cause: interrupted or edited")
    return content


def mismatches(value: Any, schema: Any, key: str) -> Iterator[str]:
    """Differences of a value from a schema, one line each; keys that the schema does not name are ignored.

    >>> list(mismatches({"title": ""}, {"title": NAME}, ""))
    ['title: expected text that is not empty, got ""']
    """
    if isinstance(schema, Kind):
        if not schema.accepts(value):
            yield f"{key}: expected {schema.description}, got {_shorten(value)}"
    elif isinstance(schema, list):
        if not isinstance(value, list):
            yield f"{key}: expected a list, got {_shorten(value)}"
            return
        for index, item in enumerate(value):
            yield from mismatches(item, schema[0], f"{key}[{index}]")
    elif not isinstance(value, dict):
        yield f"{key or 'top level'}: expected an object, got {_shorten(value)}"
    else:
        for name, inner in schema.items():
            path = f"{key}.{name}" if key else name
            yield from mismatches(value[name], inner, path) if name in value else [f"{path}: key is missing"]


def damages(folder: Path, metrics: dict[str, Any]) -> Iterator[str]:
    """Files whose checksums differ from the recorded ones, one line each; results without checksums are not checked.

    Example: `any(damages(folder, metrics))`. Where the checksum of the metrics differs, those of the other files are
    not trusted either.
    """
    changed = {}
    if not checksums.is_intact(metrics):
        changed["metrics.json"] = "its checksum differs"
    elif not FILES.accepts(files := metrics.get("files", {})):
        changed["metrics.json"] = f"files: expected {FILES.description}"
    elif checksums.CHECKSUM in metrics:
        for name, checksum in files.items():
            try:
                if checksums.sha256_of_file(folder / name) != checksum:
                    changed[name] = "its checksum differs"
            except (OSError, ValueError) as error:
                changed[name] = getattr(error, "strerror", None) or excerpt(error)
    advice = "Usual causes: a failing disk, or a file that was edited. Run the experiment again with --overwrite."
    for name, problem in changed.items():
        yield f"{folder / name}: expected what the experiment wrote, {problem}. {advice}"


def _shorten(value: Any) -> str:
    """A value for an error message, cut to one readable line."""
    try:
        return excerpt(json.dumps(value), 60)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return type(value).__name__


def _load_pictures(folder: Path, metrics: Any, problems: list[str]) -> tuple[Picture, ...]:
    """The valid images that `metrics` names; other problems of an entry were already reported."""
    figures, pictures = metrics.get("figures") if isinstance(metrics, dict) else None, []
    for index, figure in enumerate(figures if isinstance(figures, list) else []):
        if isinstance(figure, dict) and FILE.accepts(figure.get("file")):
            try:
                pictures.append(load_picture(folder / figure["file"]))
            except ValueError as error:
                problems.append(f"{folder / 'metrics.json'}: figures[{index}].file: {error}")
    return tuple(pictures)
