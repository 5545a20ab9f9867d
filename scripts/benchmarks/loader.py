"""Measurement of benchmark.py: photographs read, decoded and cropped for training, beside the plain way, and scaling.

The plain way decodes a file to an array, resizes all of it, and crops: one crop, or ten of which one is kept.
"""

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from benchmarks.timing import Goal, Missing, Result, Timed, cores, loop, side_by_side

from xai_jax.core import worker_processes
from xai_jax.data import batches, crops, datasets, photographs

SIZE = 500, 375  # about that of ImageNet's
PHOTOGRAPHS = 48
IMAGES = 384  # in one loop


def loading(given, _: dict, count: int = PHOTOGRAPHS, images: int = IMAGES) -> Iterator[Result]:
    """Threads of one process beside the plain way in as many, then worker processes beside one of them."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), count)
        files = datasets.load(f"folder:{folder}", "train")
        data = datasets.select(files, np.arange(images) % count)
        for name, (crop, plain) in RECIPES.items():
            sides = [core_seconds(functools.partial(read, data, transform, 0)) for transform in (crop, plain)]
            yield side_by_side(
                given.repeats, f"loader {name}", Goal(">=", 1.5, "x"), sides, "plain", {"images": images}
            )
        for workers in range(2, cores() + 1):
            sides = [loop(functools.partial(read, data, crops.random_crop, number)) for number in (workers, 1)]
            goal = Goal(">=", 0.8 * workers, "x")
            yield side_by_side(given.repeats, f"loader {workers} processes", goal, sides, "one process")


def core_seconds(function: Callable) -> Timed:
    """As `timing.loop`, in seconds of work of this process's threads, whatever others do."""

    def timed(loops):
        start = time.process_time()
        for _ in range(loops):
            function()
        return time.process_time() - start

    return timed


def write_photographs(folder: Path, count: int) -> None:
    """Photographs of `SIZE` as JPEG in folder/train/photographs."""
    try:
        rows = [row for row in photographs.table() if row.kind == "monument"][:count]
        pixels = [photographs.read(row) for row in rows]
    except FileNotFoundError as error:
        raise Missing(str(error)) from error
    (folder / "train" / "photographs").mkdir(parents=True)
    for number, image in enumerate(pixels):
        scale = min(image.shape[1] / SIZE[0], image.shape[0] / SIZE[1])
        resized = crops.resize_centre(crops.to_pil(image), SIZE, (SIZE[0] * scale, SIZE[1] * scale))
        crops.to_pil(resized).save(folder / f"train/photographs/{number:03}.jpg", quality=95, subsampling="4:2:0")


def read(data: datasets.Dataset, transform: Callable, workers: int) -> int:
    """Number of images of an epoch."""
    with environment(worker_processes.COUNT, str(workers)):
        return sum(len(images) for images, _ in batches.batches(data, 64, 0, 0, transform=transform))


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        os.environ |= {} if before is None else {name: before}


def plain_random(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    whole = crops.resize_short(image, 256)
    top, left = (rng.integers(length - 224 + 1) for length in whole.shape[:2])
    crop = whole[top : top + 224, left : left + 224]
    return crop[:, ::-1] if rng.integers(2) else crop


def plain_one_of_ten(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    square = crops.centre_crop(crops.resize_short(image, 256), 256)
    return crops.ten_crop(square)[rng.integers(10)]


RECIPES = {"random crop": (crops.random_crop, plain_random), "one of ten": (crops.one_of_ten, plain_one_of_ten)}
