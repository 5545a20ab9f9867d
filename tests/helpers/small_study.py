"""A small human-subject study: two models that rely on different concepts, and answer files as the page saves them."""

import itertools
import json
import random
import re

import numpy as np

from xai_jax.gallery import human_study
from xai_jax.gallery.human_study import Task

TRUTH = {"noise 0 %": "caption", "noise 100 %": "image"}
METHODS, LABELS = ("integrated gradients", "SmoothGrad"), ("zebra", "cab", "cucumber")


def tasks(pictures=6, side=16):
    """Twelve tasks; images of a class are the same for both methods, maps are not."""
    made = []
    for model, concept in TRUTH.items():
        for label in LABELS:
            images = noise((pictures, side, side, 3), len(made))
            for method in METHODS:
                maps = noise((pictures, side, side), 100 + len(made)) / np.float32(255)
                made.append(Task(model, method, label, images, maps, concept))
    return made


def noise(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def build(folder):
    """Builds the study and returns its key."""
    human_study.build(folder, tasks())
    return json.loads((folder / "key.json").read_text())


def content(file):
    """The data in the page of a study."""
    return json.loads(re.search(r'<script type="application/json" id="study">(.*)</script>', file.read_text())[1])


def sheet(key, worker="a", model="noise 0 %", rate=lambda task: (3, 7, 4)):
    """A complete sheet; `rate(task of the key)` gives importance of image and caption, and confidence.

    As on the page, each worker has a seed and other images.
    """
    draw = random.Random(worker)
    seed = draw.getrandbits(32)
    answers = [
        {"task": number, "images": draw.sample(range(6), 4)}
        | dict(zip(("image", "caption", "confidence"), rate(task), strict=True))
        for number, task in enumerate(key["tasks"])
        if task["model"] == model
    ]
    return {"study": key["study"], "worker": worker, "seed": seed, "answers": answers}


def save(folder, content, name=None):
    """Writes a sheet into the folder of answers."""
    file = folder / "answers" / f"{name or content['worker']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def write_study(folder, key, sheets):
    """A folder with the key and these answer files."""
    folder.mkdir(exist_ok=True)
    (folder / "key.json").write_text(json.dumps(key))
    for content in sheets:
        save(folder, content)
    return folder


def random_sheets(key, workers, seed=0, favour=0):
    """Sheets of random ratings; `favour` is added to the right concept before they are cut to 1 to 10."""
    rng = np.random.default_rng(seed)

    def rate(task):
        image, caption = (rng.integers(1, 11) + favour * (task["concept"] == name) for name in ("image", "caption"))
        return int(min(image, 10)), int(min(caption, 10)), int(rng.integers(1, 6))

    models = itertools.cycle(TRUTH)
    return [sheet(key, f"w{i}", model, rate) for i, model in zip(range(workers), models, strict=False)]
