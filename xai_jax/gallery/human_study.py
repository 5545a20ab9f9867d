"""Web page of a human-subject study on saliency maps (Kim et al. 2018, section 4.3).

`build` writes the page to hand out; the key with the correct concepts, which is not handed out; and a folder for answer
files, which `python -m xai_jax.gallery.human_study_report` turns into the paper's numbers.
"""

import hashlib
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from xai_jax.core.messages import quoted
from xai_jax.gallery.page import embedded, render, write
from xai_jax.gallery.pictures import data_uri, webp
from xai_jax.io.files import user_path, write_atomically

PAGE, KEY, ANSWERS = "human_study.html", "key.json", "answers"
LABELS, METHODS, SHOWN = 3, 2, 4  # classes and methods per worker, images per task
CONCEPTS = ("image", "caption")
SIDE = 224  # smaller images are enlarged to about this by repeating pixels, so that no browser blurs them


class Task(NamedTuple):
    """Images of one class with the saliency maps of one network by one method.

    Attributes:
      model: name of the network; the page does not show it.
      method: name of the saliency method; the page does not show it.
      label: name of the class.
      images: (N, H, W), (N, H, W, 1) or (N, H, W, 3), uint8 or floats in [0, 1]. Each worker sees 4 of
        the N >= 4 images, drawn at random.
      maps: the maps, in the same formats.
      concept: "image" or "caption", whichever the network relies on.
    """

    model: str
    method: str
    label: str
    images: np.ndarray
    maps: np.ndarray
    concept: str


class Question(NamedTuple):
    """A rating from 1 to `points`; `low` and `high` describe the ends of the scale."""

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

    `tasks`: for every model one task for each of 3 classes and 2 methods; a worker does the six tasks of one model.
    Raises ValueError for other counts, shapes or values, before anything is written.

    >>> import itertools, tempfile
    >>> noise = np.random.default_rng(0).random((2, 6, 32, 32), np.float32)
    >>> pairs = itertools.product(("integrated gradients", "SmoothGrad"), ("zebra", "cab", "cucumber"))
    >>> tasks = [Task("noise 0 %", method, label, *noise, "caption") for method, label in pairs]
    >>> build(tempfile.mkdtemp(), tasks).name
    'human_study.html'
    """
    tasks = list(tasks)
    _check(tasks)
    folder = user_path(folder)
    (folder / ANSWERS).mkdir(parents=True, exist_ok=True)
    shown, key = _contents(tasks), _key(tasks)
    study = hashlib.sha256(json.dumps([shown, key]).encode()).hexdigest()[:16]
    write_atomically(folder / KEY, json.dumps({"study": study} | key, indent=2).encode())
    write(folder / PAGE, _page({"id": study, "shown": SHOWN} | shown))
    return folder / PAGE


def _check(tasks: list[Task]) -> None:
    """Raises ValueError unless `tasks` form a complete study."""
    if not tasks:
        raise ValueError("Expected tasks, got none.")
    for task in tasks:
        _check_task(task)
    for model in dict.fromkeys(task.model for task in tasks):
        _check_design(model, [task for task in tasks if task.model == model])


def _check_task(task: Task) -> None:
    """Raises ValueError for invalid names, shapes and values."""
    where = f"task {quoted(task.model)}, {quoted(task.method)}, {quoted(task.label)}"
    if not all(isinstance(name, str) and name.strip() for name in task[:3]):
        raise ValueError(f"Expected names of model, method and class that are not empty, got {task[:3]}.")
    if task.concept not in CONCEPTS:
        raise ValueError(f"Expected the concept 'image' or 'caption' in {where}, got {quoted(task.concept)}.")
    for name in ("images", "maps"):
        _check_images(f"{name} of {where}", np.asarray(getattr(task, name)))
    images, maps = np.shape(task.images), np.shape(task.maps)
    if images[:3] != maps[:3]:
        raise ValueError(
            f"Expected one map of the same size for each image of {where}, got images {images} and maps {maps}."
        )


def _check_images(where: str, images: np.ndarray) -> None:
    """Raises ValueError for images of invalid number, shape, dtype or range."""
    shape = images.shape
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)) or shape[0] < SHOWN or 0 in shape:
        raise ValueError(
            f"Expected {where} as (N, H, W), (N, H, W, 1) or (N, H, W, 3) with at least {SHOWN} pictures, got {shape}."
        )
    floating = np.issubdtype(images.dtype, np.floating)
    if not floating and images.dtype != np.uint8:
        raise ValueError(f"Expected {where} as uint8 or floats, got {images.dtype}.")
    if floating and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"Expected {where} in [0, 1], got {images.min()} to {images.max()}. Usual cause: unscaled attributions; "
            "plots.signed scales them."
        )


def _check_design(model: str, tasks: list[Task]) -> None:
    """Raises ValueError unless the tasks of a model are 3 classes by 2 methods, with one concept per class."""
    pairs = {(task.label, task.method) for task in tasks}
    labels, methods = (sorted(set(names)) for names in zip(*pairs, strict=True))
    if (len(labels), len(methods)) != (LABELS, METHODS) or not len(tasks) == len(pairs) == LABELS * METHODS:
        raise ValueError(
            f"Expected for the model {quoted(model)} one task for each of {LABELS} classes and {METHODS} methods, got "
            f"{len(tasks)} tasks with the classes {labels} and the methods {methods}."
        )
    for label in labels:
        if len({task.concept for task in tasks if task.label == label}) > 1:
            raise ValueError(
                f"Expected one concept for the class {quoted(label)} of the model {quoted(model)}, got both. Usual "
                "cause: the concept that the map shows; it has to be the one that the network relies on, whatever the "
                "method."
            )


def _contents(tasks: list[Task]) -> dict[str, Any]:
    """The data of the page: distinct images as data URIs, and for each task model index, class and image indices."""
    uris: dict[str, int] = {}
    models = list(dict.fromkeys(task.model for task in tasks))

    def numbers(images):
        return [uris.setdefault(uri, len(uris)) for uri in map(_data_uri, _pixels(images))]

    entries = [
        {"model": models.index(t.model), "label": t.label, "images": numbers(t.images), "maps": numbers(t.maps)}
        for t in tasks
    ]
    return {"tasks": entries, "pictures": list(uris)}


def _key(tasks: list[Task]) -> dict[str, Any]:
    """The numbers of distinct images and maps; for each task the names and the concept that the network relies on."""
    names = ("model", "method", "label", "concept")
    entries = [{name: getattr(task, name) for name in names} | {"images": len(task.images)} for task in tasks]
    distinct = {
        name: len({image.tobytes() for task in tasks for image in _pixels(getattr(task, name))})
        for name in ("images", "maps")
    }
    return distinct | {"tasks": entries}


def _pixels(images: np.ndarray) -> np.ndarray:
    """Images as uint8 (N, H, W) or (N, H, W, 3), small ones enlarged by an integer factor."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.round(255 * images.astype(np.float64)).astype(np.uint8)
    images = images[..., 0] if images.shape[3:] == (1,) else images
    factor = max(1, SIDE // max(images.shape[1:3]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def _data_uri(image: np.ndarray) -> str:
    """A uint8 image (H, W) or (H, W, 3) as a data URI of lossless WebP."""
    return data_uri("image/webp", webp(Image.fromarray(image), lossless=True))


def _page(study: dict[str, Any]) -> str:
    """The whole page."""
    instructions, questions = ("\n".join(map(part, QUESTIONS)) for part in (_instruction, _fieldset))
    texts = {"instructions": instructions, "questions": questions, "study": embedded(study)}
    return render("human_study.html", ["human_study.css"], ["human_study.js"], **texts)


def _instruction(question: Question) -> str:
    """A question on the first screen."""
    text, low, high = map(escape, (question.text, question.low, question.high))
    return f"<li>{text} From 1, {low}, to {question.points}, {high}.</li>"


def _fieldset(question: Question) -> str:
    """A question with a row of radio buttons."""
    name, points = question.name, question.points
    text, low, high = map(escape, (question.text, question.low, question.high))
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{point}" required><span>{point}</span></label>'
        for point in range(1, points + 1)
    )
    return (
        f'<fieldset aria-describedby="{name}-ends"><legend>{text}</legend>\n<div class="scale">{buttons}</div>\n'
        f'<p class="ends" id="{name}-ends"><span>1 = {low}</span> <span>{points} = {high}</span></p></fieldset>'
    )
