"""Reads and validates the answer files of a study. A file is counted, rejected, or listed as excluded."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xai_jax.gallery.human_study import ANSWERS, CONCEPTS, KEY, LABELS, METHODS, QUESTIONS, SHOWN
from xai_jax.gallery.results import NAME, Kind, check, read_json
from xai_jax.io.errors import excerpt
from xai_jax.io.files import user_path

TASKS = LABELS * METHODS  # of one worker
LARGEST = 1_000_000  # bytes of an answer file; a complete one has about 2000
COLUMNS = ("task", *(question.name for question in QUESTIONS))  # of a sheet's array


class AnswersError(ValueError):
    """Invalid answer files; the message names each file and key."""


class Sheet(NamedTuple):
    """The answers of one worker, in the order in which they were given, without the text of the file.

    Attributes:
      worker: as in the file.
      file: that they were read from.
      answers: (tasks, 4) integers, with the columns `COLUMNS`.
      digest: of the answers and of the images that were shown: the same only for copies, since order and images of
        each worker are random.
    """

    worker: str
    file: Path
    answers: np.ndarray
    digest: bytes


class Answers(NamedTuple):
    """The key, one complete sheet per worker, and one line for each excluded file, with the reason."""

    key: dict[str, Any]
    sheets: list[Sheet]
    excluded: list[str]


def _integer(low: int, high: float, description: str) -> Kind:
    """An integer from `low` to `high`; not JSON's true or 7.0."""
    return Kind(description, lambda value: type(value) is int and low <= value <= high)


INDEX = _integer(0, float("inf"), "a whole number, 0 or more")
PICTURES = Kind(
    f"{SHOWN} different whole numbers",
    lambda value: isinstance(value, list) and all(map(INDEX.accepts, value)) and len(value) == len({*value}) == SHOWN,
)
RATINGS = {q.name: _integer(1, q.points, f"a whole number from 1 to {q.points}") for q in QUESTIONS}
WORKER = Kind(
    "text that is not empty, of at most 200 characters", lambda value: NAME.accepts(value) and len(value) <= 200
)
SHEET = {"study": NAME, "worker": WORKER, "seed": INDEX, "answers": [{"task": INDEX, "images": PICTURES} | RATINGS]}
CONCEPT = Kind('"image" or "caption"', lambda value: value in CONCEPTS)
TASK = {"model": NAME, "method": NAME, "label": NAME, "concept": CONCEPT, "images": INDEX}
SOLUTION = {"study": NAME, "images": INDEX, "maps": INDEX, "tasks": [TASK]}


def read(folder: str | Path) -> Answers:
    """The answers in `folder/answers` to the study of `folder/key.json`. Example: `read("results/study").sheets`.

    Files in subfolders count; copies count once, also under another worker's name. Files are read one at a time, of up
    to 1 MB. Raises `AnswersError` with every problem found in any file.
    """
    folder, problems = user_path(folder), []
    key = _read_valid(folder / KEY, SOLUTION, problems)
    if key is None:
        found = "; ".join(problems)
        raise AnswersError(f"Expected {KEY} in {excerpt(folder)} as human_study.build wrote it: {found}")
    files = sorted(path for path in (folder / ANSWERS).rglob("*") if path.is_file() and path.name[0] != ".")
    sheets = [sheet for file in files if (sheet := _read_sheet(file, key, problems))]
    counted, excluded = _without_copies(sheets, problems)
    check(problems, "the answers", "Correct or remove these files.", AnswersError)
    return Answers(key, counted, excluded)


def _read_valid(file: Path, schema: Any, problems: list[str], largest: int | None = None) -> Any:
    """The content of `file` if it fits the schema, else None after adding to `problems`."""
    before = len(problems)
    content = read_json(file, schema, problems, largest)
    return content if len(problems) == before else None


def _read_sheet(file: Path, key: dict[str, Any], problems: list[str]) -> Sheet | None:
    """The sheet in `file`, complete or not, or None after adding its problems to `problems`."""
    content = _read_valid(file, SHEET, problems, LARGEST)
    if content is None:
        return None
    found = _conflicts(content, key)
    problems.extend(f"{excerpt(file)}: {line}" for line in found)
    if found:
        return None
    rows = [[answer[name] for name in COLUMNS] for answer in content["answers"]]
    shown = [answer["images"] for answer in content["answers"]]
    digest = hashlib.sha256(repr((rows, shown)).encode()).digest()
    return Sheet(content["worker"], file, np.array(rows, np.int32).reshape(-1, len(COLUMNS)), digest)


def _conflicts(content: dict[str, Any], key: dict[str, Any]) -> list[str]:
    """Inconsistencies of a well-formed sheet with the study, one line each."""
    if content["study"] != key["study"]:
        names = (excerpt(repr(name), 60) for name in (key["study"], content["study"]))
        return ["study: expected {}, got {}. Usual cause: the page was built again".format(*names)]
    answers, tasks = content["answers"], key["tasks"]
    numbers = [answer["task"] for answer in answers]
    if any(number >= len(tasks) for number in numbers):
        return [f"answers: expected tasks below {len(tasks)}, got {excerpt(numbers, 60)}"]
    if len({*numbers}) < len(numbers) or len({tasks[number]["model"] for number in numbers}) > 1:
        return [f"answers: expected different tasks of one model, got {excerpt(numbers, 60)}"]
    found = []
    for i, answer in enumerate(answers):
        if max(answer["images"]) >= (count := tasks[answer["task"]]["images"]):
            found.append(f"answers[{i}].images: expected numbers below {count}, got {excerpt(answer['images'], 60)}")
    return found


def _without_copies(sheets: list[Sheet], problems: list[str]) -> tuple[list[Sheet], list[str]]:
    """The first complete sheet of each worker, and the reason why each other sheet is excluded.

    A copy is excluded under any worker's name. Different complete sheets of one worker are added to `problems`: only
    the people who ran the study can choose.
    """
    counted, excluded = [], []
    workers: dict[str, Sheet] = {}
    digests: dict[bytes, Sheet] = {}
    for sheet in sorted(sheets, key=lambda sheet: len(sheet.answers) < TASKS):  # stable: complete ones first
        complete, name = len(sheet.answers) == TASKS, excerpt(sheet.file)
        own = workers.setdefault(sheet.worker, sheet) if complete else workers.get(sheet.worker)
        if own is None:
            excluded.append(f"{name}: incomplete, {len(sheet.answers)} of {TASKS} tasks")
        elif complete and sheet.digest != own.digest:
            worker = excerpt(repr(sheet.worker), 60)
            problems.append(f"{name}: answers differ from {excerpt(own.file)} by the same worker {worker}")
        elif own is not sheet:
            excluded.append(f"{name}: the same worker as {excerpt(own.file)}")
        elif (first := digests.setdefault(sheet.digest, sheet)) is not sheet:
            excluded.append(f"{name}: the same answers as {excerpt(first.file)}, under another worker's name")
        else:
            counted.append(sheet)
    return counted, excluded
