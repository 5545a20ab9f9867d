"""A page that asks people what a network relies on, from saliency maps alone (Kim et al. 2018, human subjects).

`build` writes the page, which is handed out; the key, which says what is right and stays; and a folder for the answers,
which `python -m xai_jax.gallery.human_study_report` turns into the paper's numbers.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from xai_jax.gallery.page import resource
from xai_jax.gallery.pictures import data_uri
from xai_jax.io.files import write_atomically

PAGE, KEY, ANSWERS = "human_study.html", "key.json", "answers"
LABELS, METHODS, SHOWN = 3, 2, 4  # classes and methods of one worker, pictures of one task
CONCEPTS = ("image", "caption")
SIDE = 224  # smaller pictures are enlarged to about this by repeating pixels, so that no browser blurs them


class Task(NamedTuple):
    """Pictures of one class with the maps of one network by one method.

    `images`, `maps`: (N, H, W), (N, H, W, 1) or (N, H, W, 3), uint8 or floats in [0, 1], as they are to be seen. Of the
    N >= 4 each person sees 4, drawn at random. `concept`, "image" or "caption": what the network in truth relies on.
    """

    model: str
    method: str
    label: str
    images: np.ndarray
    maps: np.ndarray
    concept: str


class Question(NamedTuple):
    """A rating from 1 to `points`; `low` and `high` say what the ends mean."""

    name: str
    text: str
    points: int
    low: str
    high: str


QUESTIONS = (
    Question("image", "How important to the program was what the picture shows?", 10, "not at all", "extremely"),
    Question("caption", "How important to the program was the caption?", 10, "not at all", "extremely"),
    Question("confidence", "How confident are you in these two answers?", 5, "not at all", "very confident"),
)


def build(folder: str | Path, tasks: Iterable[Task]) -> Path:
    """Writes `human_study.html`, `key.json` and the empty folder `answers` into `folder`; returns the page's path.

    `tasks`: for every model one task for each of 3 classes and 2 methods, the six that one person does. The page names
    neither models nor methods. Raises ValueError for other counts, shapes or values, before anything is written.
    """
    tasks = list(tasks)
    check(tasks)
    folder = Path(folder)
    (folder / ANSWERS).mkdir(parents=True, exist_ok=True)
    shown, key = contents(tasks), solution(tasks)
    study = hashlib.sha256(json.dumps([shown, key]).encode()).hexdigest()[:16]
    write_atomically(folder / KEY, json.dumps({"study": study} | key, indent=2).encode())
    write_atomically(folder / PAGE, page({"id": study, "shown": SHOWN} | shown).encode())
    return folder / PAGE


def check(tasks: list[Task]) -> None:
    """Raises ValueError unless `tasks` make a study."""
    if not tasks:
        raise ValueError("Expected tasks, got none.")
    for task in tasks:
        check_task(task)
    for model in dict.fromkeys(task.model for task in tasks):
        check_design(model, [task for task in tasks if task.model == model])


def check_task(task: Task) -> None:
    """Raises ValueError for names, shapes and values that cannot be shown."""
    where = f"task {task.model!r}, {task.method!r}, {task.label!r}"
    if not all(isinstance(name, str) and name.strip() for name in task[:3]):
        raise ValueError(f"Expected names of model, method and class that are not empty, got {task[:3]}.")
    if task.concept not in CONCEPTS:
        raise ValueError(f"Expected the concept 'image' or 'caption' in {where}, got {task.concept!r}.")
    for name, pictures in (("images", task.images), ("maps", task.maps)):
        check_pictures(f"{name} of {where}", np.asarray(pictures))
    if np.shape(task.images)[:3] != np.shape(task.maps)[:3]:
        raise ValueError(
            f"Expected one map of the same size for each image of {where}, got images {np.shape(task.images)} and maps "
            f"{np.shape(task.maps)}."
        )


def check_pictures(where: str, pictures: np.ndarray) -> None:
    """Raises ValueError unless at least four pictures (N, H, W, C) with values that can be shown."""
    shape = pictures.shape
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or shape[0] < SHOWN or 0 in shape:
        raise ValueError(
            f"Expected {where} as (N, H, W), (N, H, W, 1) or (N, H, W, 3) with at least {SHOWN} pictures, got {shape}."
        )
    floating = np.issubdtype(pictures.dtype, np.floating)
    if not floating and pictures.dtype != np.uint8:
        raise ValueError(f"Expected {where} as uint8 or floats, got {pictures.dtype}.")
    if floating and not (pictures.min() >= 0 and pictures.max() <= 1):
        raise ValueError(
            f"Expected {where} in [0, 1], got {pictures.min()} to {pictures.max()}. Usual cause: attributions as they "
            "are; plots.signed makes pictures of them."
        )


def check_design(model: str, tasks: list[Task]) -> None:
    """Raises ValueError unless the tasks of one model are three classes by two methods, with one truth per class."""
    labels, methods = ({getattr(task, name) for task in tasks} for name in ("label", "method"))
    repeated = [pair for pair, count in Counter((task.label, task.method) for task in tasks).items() if count > 1]
    if len(labels) != LABELS or len(methods) != METHODS or len(tasks) != LABELS * METHODS or repeated:
        raise ValueError(
            f"Expected for the model {model!r} one task for each of {LABELS} classes and {METHODS} methods, got "
            f"{len(tasks)} tasks with the classes {sorted(labels)} and the methods {sorted(methods)}."
        )
    for label in labels:
        if len({task.concept for task in tasks if task.label == label}) > 1:
            raise ValueError(
                f"Expected one concept for the class {label!r} of the model {model!r}, got both. Usual cause: what the "
                "map shows was given; the concept is what the network relies on, whatever the method."
            )


def contents(tasks: list[Task]) -> dict[str, Any]:
    """What the page holds: every different picture once, and per task its model's number, class and pictures."""
    uris: dict[str, int] = {}
    models = list(dict.fromkeys(task.model for task in tasks))

    def numbers(pictures):
        return [uris.setdefault(uri, len(uris)) for uri in map(encode, pixels(pictures))]

    entries = [
        {
            "model": models.index(task.model),
            "label": task.label,
            "images": numbers(task.images),
            "maps": numbers(task.maps),
        }
        for task in tasks
    ]
    return {"tasks": entries, "pictures": list(uris)}


def solution(tasks: list[Task]) -> dict[str, Any]:
    """What the page does not tell: names, and which concept is right; with the number of different pictures."""
    names = ("model", "method", "label", "concept")
    entries = [{name: getattr(task, name) for name in names} | {"images": len(task.images)} for task in tasks]
    images, maps = (
        len({picture.tobytes() for task in tasks for picture in pixels(getattr(task, name))})
        for name in ("images", "maps")
    )
    return {"images": images, "maps": maps, "tasks": entries}


def pixels(pictures: np.ndarray) -> np.ndarray:
    """Pictures as uint8 (N, H, W) or (N, H, W, 3), small ones enlarged by a whole factor."""
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8:
        pictures = np.round(255 * pictures.astype(np.float64)).astype(np.uint8)
    pictures = pictures[..., 0] if pictures.ndim == 4 and pictures.shape[3] == 1 else pictures
    factor = max(1, SIDE // max(pictures.shape[1:3]))
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def encode(picture: np.ndarray) -> str:
    """One picture (H, W, C) as the data URI of a WebP file that loses nothing."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=True)
    return data_uri("image/webp", buffer.getvalue())


def page(study: dict[str, Any]) -> str:
    """The whole page. Its data is JSON in a script element, which a "<" in a name must not end."""
    return Template(resource("human_study.html")).substitute(
        style=resource("style.css") + "\n" + resource("human_study.css"),
        instructions="\n".join(map(instruction, QUESTIONS)),
        questions="\n".join(map(scale, QUESTIONS)),
        study=json.dumps(study).replace("<", "\\u003c"),
        script=resource("human_study.js"),
    )


def instruction(question: Question) -> str:
    """A question as the first screen announces it."""
    text, low, high = (escape(words) for words in (question.text, question.low, question.high))
    return f"<li>{text} From 1, {low}, to {question.points}, {high}.</li>"


def scale(question: Question) -> str:
    """A question as a row of radio buttons under its text."""
    name = question.name
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{point}" required><span>{point}</span></label>'
        for point in range(1, question.points + 1)
    )
    return (
        f'<fieldset aria-describedby="{name}-ends"><legend>{escape(question.text)}</legend>\n'
        f'<div class="scale">{buttons}</div>\n<p class="ends" id="{name}-ends"><span>1 = {escape(question.low)}</span> '
        f"<span>{question.points} = {escape(question.high)}</span></p></fieldset>"
    )
