"""Reads and validates the answer files of a study. A file is counted, rejected, or listed as excluded."""

from pathlib import Path
from typing import Any, NamedTuple

from xai_jax.gallery.human_study import ANSWERS, CONCEPTS, KEY, LABELS, METHODS, QUESTIONS, SHOWN
from xai_jax.gallery.results import NAME, Kind, check, read_json

TASKS = LABELS * METHODS  # of one worker


class AnswersError(ValueError):
    """Invalid answer files; the message names each file and key."""


class Sheet(NamedTuple):
    """The answers of one worker, in the order of the tasks; `answers` as in the file."""

    worker: str
    file: Path
    answers: list[dict[str, Any]]


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
SHEET = {"study": NAME, "worker": NAME, "seed": INDEX, "answers": [{"task": INDEX, "images": PICTURES} | RATINGS]}
CONCEPT = Kind('"image" or "caption"', lambda value: value in CONCEPTS)
TASK = {"model": NAME, "method": NAME, "label": NAME, "concept": CONCEPT, "images": INDEX}
SOLUTION = {"study": NAME, "images": INDEX, "maps": INDEX, "tasks": [TASK]}


def read(folder: str | Path) -> Answers:
    """The answers in `folder/answers` to the study of `folder/key.json`. Example: `read("results/study").sheets`.

    Files in subfolders count. Raises `AnswersError` with every problem found in any file.
    """
    folder, problems = Path(folder), []
    key = _read_valid(folder / KEY, SOLUTION, problems)
    if key is None:
        raise AnswersError(f"Expected {KEY} in {folder} as human_study.build wrote it: {'; '.join(problems)}")
    files = sorted(path for path in (folder / ANSWERS).rglob("*") if path.is_file() and path.name[0] != ".")
    sheets = [sheet for file in files if (sheet := _read_sheet(file, key, problems))]
    counted, excluded = _first_of_each_worker(sheets, problems)
    check(problems, "the answers", "Correct or remove these files.", AnswersError)
    return Answers(key, counted, excluded)


def _read_valid(file: Path, schema: Any, problems: list[str]) -> Any:
    """The content of `file` if it fits the schema, else None after adding to `problems`."""
    before = len(problems)
    content = read_json(file, schema, problems)
    return content if len(problems) == before else None


def _read_sheet(file: Path, key: dict[str, Any], problems: list[str]) -> Sheet | None:
    """The sheet in `file`, complete or not, or None after adding its problems to `problems`."""
    content = _read_valid(file, SHEET, problems)
    if content is None:
        return None
    found = _conflicts(content, key)
    problems.extend(f"{file}: {line}" for line in found)
    return None if found else Sheet(content["worker"], file, content["answers"])


def _conflicts(content: dict[str, Any], key: dict[str, Any]) -> list[str]:
    """Inconsistencies of a well-formed sheet with the study, one line each."""
    if content["study"] != key["study"]:
        return [f"study: expected {key['study']!r}, got {content['study']!r}. Usual cause: the page was built again"]
    answers, tasks = content["answers"], key["tasks"]
    numbers = [answer["task"] for answer in answers]
    if any(number >= len(tasks) for number in numbers):
        return [f"answers: expected tasks below {len(tasks)}, got {numbers}"]
    found = []
    if len({*numbers}) < len(numbers) or len({tasks[number]["model"] for number in numbers}) > 1:
        found.append(f"answers: expected different tasks of one model, got {numbers}")
    for i, answer in enumerate(answers):
        if max(answer["images"]) >= (count := tasks[answer["task"]]["images"]):
            found.append(f"answers[{i}].images: expected numbers below {count}, got {answer['images']}")
    return found


def _first_of_each_worker(sheets: list[Sheet], problems: list[str]) -> tuple[list[Sheet], list[str]]:
    """The first complete sheet of each worker, and the reason why each other sheet is excluded.

    Different complete sheets of one worker are added to `problems`: only the people who ran the study can choose.
    """
    counted: dict[str, Sheet] = {}
    excluded = []
    for sheet in sorted(sheets, key=lambda sheet: len(sheet.answers) < TASKS):  # stable: complete ones first
        first = counted.setdefault(sheet.worker, sheet) if len(sheet.answers) == TASKS else counted.get(sheet.worker)
        if first is None:
            excluded.append(f"{sheet.file}: incomplete, {len(sheet.answers)} of {TASKS} tasks")
        elif first is not sheet and len(sheet.answers) == TASKS and sheet.answers != first.answers:
            problems.append(f"{sheet.file}: answers differ from {first.file} by the same worker {sheet.worker!r}")
        elif first is not sheet:
            excluded.append(f"{sheet.file}: the same worker as {first.file}")
    return list(counted.values()), excluded
