"""Composites that are drawn once, by several processes, and kept in the cache, for training."""

import concurrent.futures
import functools
import io
import multiprocessing

import numpy as np
from tqdm import tqdm

from xai_jax.data import composites, cutouts
from xai_jax.data.dataset_types import InMemory, OnDisk
from xai_jax.io.files import cache_dir, write_atomically

CHUNK = 256  # images in a file
FEW = 8  # files


def on_access(split: str, count: int, side: int, seed: int) -> OnDisk:
    """`composites.composites` of the objects of a split, labelled with the objects.

    Example: `on_access("test", count=40, side=64, seed=0)[0]`.

    Args:
      split: of the objects, "train", "test" or "all".
      count: composites of each object.
      side: of the images in pixels.
      seed: of all random choices.

    Returns:
      Images (side, side, 3) uint8, each drawn when it is read; objects take turns.

    Raises:
      FileNotFoundError: where the cut-outs are not on this machine.
    """
    objects = cutouts.of_class(split=None if split == "all" else split)
    cutouts.read(objects[0])
    return composites.composites(objects, count * len(objects), side, seed, by_object=True)


def in_memory(split: str, count: int, side: int, seed: int) -> InMemory:
    """The images of `on_access` in memory: drawn in seconds to minutes the first time, then read from the cache.

    Example: `in_memory("test", count=40, side=64, seed=0).images.shape` is (2000, 64, 64, 3).

    Args:
      split: of the objects, "train", "test" or "all".
      count: composites of each object.
      side: of the images in pixels.
      seed: of all random choices.

    Returns:
      Images (N, side, side, 3) uint8, labelled with the objects.

    Raises:
      FileNotFoundError: where cut-outs or photographs are not on this machine.
    """
    data = on_access(split, count, side, seed)
    data[0]  # raises here what would be raised in another process
    directory = cache_dir(f"composites-{composites.VERSION}") / f"{split}-{count}-{side}-{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    paths = {start: directory / f"{start:06d}.npy" for start in range(0, len(data), CHUNK)}
    missing = [start for start, path in paths.items() if not path.exists()]
    spans = [(start, min(start + CHUNK, len(data))) for start in missing]
    for path, content in zip([paths[start] for start in missing], _all(split, count, side, seed, spans), strict=True):
        write_atomically(path, content)
    images = np.concatenate([np.load(path) for path in paths.values()])
    return InMemory(images, data.labels, data.classes)


def _all(split, count, side, seed, spans):
    """Images of each span, as files; by several processes where that saves more than their start takes."""
    draw = functools.partial(_draw, split, count, side, seed)
    if len(spans) <= FEW:
        yield from map(draw, spans)
        return
    with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from tqdm(pool.map(draw, spans), "composites", len(spans), unit="chunk", leave=False)


def _draw(split, count, side, seed, span):
    data, content = on_access(split, count, side, seed), io.BytesIO()
    np.save(content, np.stack([data[index][0] for index in range(*span)]))
    return content.getvalue()
