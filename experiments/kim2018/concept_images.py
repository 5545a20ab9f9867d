"""Images of concepts, of random others of their kind, and of classes, for the experiments with TCAV on known networks.

Drawn concepts come in two kinds, colours and textures. Random images are of the same kind, so that nothing but the
concept separates both sets: a drawn texture differs from any photograph in more than its pattern.
"""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.kim2018 import scenes
from experiments.lib import generator_codes
from xai_jax.core.messages import listed
from xai_jax.data import datasets, textures
from xai_jax.data.datasets import Dataset
from xai_jax.data.pictures import fit, some
from xai_jax.data.textures import Kind
from xai_jax.io.errors import UserError
from xai_jax.models import LoadedModel

PHOTOGRAPHS = "photographs"  # and cut-outs, see `scenes`, in place of a data set
SORTED, FITTED = slice(0, None, 2), slice(1, None, 2)  # halves of the table: to sort, and to fit CAVs


def kinds(config: Any, size: int, seed: int) -> list[Kind]:
    """The concepts that `config` names, `examples` images of each, with (controls + 2) `examples` random ones a kind.

    Drawn, see `textures.kinds`; or those of `config.folder`, all of one kind, with `config.images` as random ones.
    Raises UserError where a folder has too few images of a concept.
    """
    pool = (config.controls + 2) * config.examples
    if config.folder:
        return [_from_folder(config, size, pool, seed)]
    return textures.kinds(config.concepts, config.examples, pool, size, seed)


def _from_folder(config, size, pool, seed):
    found = textures.from_folder(Path(config.folder), size)
    missing = [name for name in config.concepts if len(found.get(name, ())) < config.examples]
    if missing:
        raise UserError(
            f"Expected {config.examples} images of each concept in {config.folder}, got fewer of {listed(missing)}."
        )
    others = photographs(config.images, pool + config.examples, size, seed)
    shown = {name: found[name][: config.examples] for name in config.concepts} | {"anything": others[pool:]}
    return Kind(shown, others[:pool], "anything")


def photographs(source: str, count: int, size: int, seed: int, half: slice = slice(None)) -> np.ndarray:
    """Random photographs, (count, size, size, 3) uint8: `PHOTOGRAPHS`, or those of a data set's last split.

    Of `PHOTOGRAPHS` a part can be taken, such as `FITTED`.
    """
    if source == PHOTOGRAPHS:
        return scenes.anything(count, size, seed, half=half)
    data = held_out(source)
    return np.stack([square(data[int(index)][0], size) for index in some(data, count, seed)])


def class_images(config: Any, model: LoadedModel) -> dict[str, np.ndarray]:
    """The images at which derivatives of each class in `config.pairs` are taken, `explained` of each, uint8.

    Of `config.images` those of the class. For `PHOTOGRAPHS` those that are predicted to be of the class, or others, the
    same for all classes that have none.
    """
    names, size = list(dict.fromkeys(label for _, label in config.pairs)), model.input.shape[0]
    if config.images == PHOTOGRAPHS:
        others = scenes.anything(config.explained, size, 0, without=names)
        return {
            name: scenes.named_rightly(model, name, config.explained, 0) if scenes.of_class(name) else others
            for name in names
        }
    own = datasets.only(held_out(config.images), names)
    indices = generator_codes.first_of_each_class(own, range(len(names)), config.explained)
    return {name: np.stack([square(own[i][0], size) for i in rows]) for name, rows in zip(names, indices, strict=True)}


def square(picture: np.ndarray, size: int) -> np.ndarray:
    """The centre square of a grey or colour image, resized: (H, W, C) uint8 -> (size, size, 3)."""
    found = fit(picture, size, size)
    return np.broadcast_to(found, (size, size, 3)).copy()


def held_out(source: str) -> Dataset:
    """The last split of a data set."""
    return datasets.load(source, datasets.splits(source)[-1])
