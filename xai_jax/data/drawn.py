"""Composites that are drawn once, by several processes, and kept in the cache, for training."""

import concurrent.futures
import io
import multiprocessing
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from xai_jax.data import composites, cutouts
from xai_jax.data.dataset_types import InMemory, OnDisk
from xai_jax.io.files import cache_dir, write_atomically

CHUNK = 256  # images in a file
FEW = 8  # files that one process draws sooner than others have started


class Composites(NamedTuple):
    """`composites.composites` of the objects of a `split` in turn, labelled with the objects.

    `count` of each object, of `side` pixels, from `seed`. With `classes`, `count` in all, of one object of each class
    in turn, labelled with the class. Both methods raise FileNotFoundError where cut-outs or photographs are not on
    this machine.
    """

    split: str
    count: int
    side: int
    seed: int
    classes: tuple[str, ...] = ()

    def on_access(self) -> OnDisk:
        """Images (side, side, 3) uint8, each drawn when it is read."""
        groups = [cutouts.of_class(name, split=self.split) for name in self.classes]
        turns = [group[turn % len(group)] for turn in range(max(map(len, groups), default=0)) for group in groups]
        objects = turns or cutouts.of_class(split=self.split)
        cutouts.read(objects[0])
        count = self.count if turns else self.count * len(objects)
        return composites.composites(objects, count, self.side, self.seed, by_object=not turns)

    def in_memory(self) -> InMemory:
        """The same images: drawn in seconds to minutes the first time, then read from the cache."""
        data = self.on_access()
        directory = cache_dir(f"composites-{composites.VERSION}") / "-".join(map(str, (*self[:4], *self.classes)))
        directory.mkdir(parents=True, exist_ok=True)
        spans = [(start, min(start + CHUNK, len(data))) for start in range(0, len(data), CHUNK)]
        paths = {span: directory / f"{span[0]:06d}.npy" for span in spans}
        missing = [span for span in spans if not paths[span].exists()]
        for span, content in zip(missing, self._files(missing), strict=True):
            write_atomically(paths[span], content)
        return InMemory(np.concatenate([np.load(path) for path in paths.values()]), data.labels, data.classes)

    def _files(self, spans: list[tuple[int, int]]) -> Iterator[bytes]:
        """The images of each span, as files; by several processes where that saves more than their start takes."""
        if len(spans) <= FEW:
            yield from map(self._file, spans)
            return
        self._file((0, 1))  # raises here what would be raised in another process
        with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from tqdm(pool.map(self._file, spans), "composites", len(spans), unit="chunk", leave=False)

    def _file(self, span):
        data, content = self.on_access(), io.BytesIO()
        np.save(content, np.stack([data[index][0] for index in range(*span)]))
        return content.getvalue()
