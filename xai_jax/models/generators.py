"""Generators of images from the codes of a network, by name: trained here on first use, and kept.

    generator = generators.load("fashion_fc6")
    codes = network.call(generator.encode, model.preprocess(pictures))
    images = network.call(generator.generate, codes)

Codes are those of a network that `models.load` knows, images its input. Sizes are those of small images; the published
generators of 256x256 pixels, for CaffeNet, are read by `deepsim.read_generator`.
"""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax import dgn, inversion, models, network
from xai_jax.data import datasets
from xai_jax.generator import Recipe, fit
from xai_jax.models.deepsim import Discriminator, Generator

SEED = 0
BOUNDED_BY = 5000  # images whose codes say how far each unit reaches


class LoadedGenerator(NamedTuple):
    """`generate`: codes (N, ...) -> input of the network (N, S, S, C); `encode`: the reverse.

    `upper` bounds each unit of a code from above, `network` and `layer` say whose codes they are.
    """

    generate: Partial
    encode: Partial
    upper: Array
    network: str
    layer: str


class _Entry(NamedTuple):
    """What is trained. `mean` is the images' mean pixel, which is taken off."""

    network: str
    layer: str
    compared: str
    data: str
    mean: float
    module: Generator
    discriminator: Discriminator
    recipe: Recipe


# Losses weigh about as much as the published ones do at the start, for whose sizes and features see `Recipe`.
_ENTRIES = {
    "fashion_fc6": _Entry(
        "fashion_maxpool", "relu6", "pool2", "fashion_mnist", 72.9,
        Generator((7, 7, 64), (256, 256), (), ((64, 64),), 1), Discriminator(((5, 32, 2), (3, 64, 1), (3, 64, 2)), 64),
        Recipe(steps=8000, batch=32, features=10.0, image=3e-4, halvings=(4000, 6000)),
    ),
    "digits_conv2": _Entry(
        "digits", "relu2", "pool1", "digits", 77.8,
        Generator((4, 4, 32), (), ((32, 1), (32, 1)), (), 1), Discriminator(((3, 16, 2), (3, 16, 1)), 16),
        Recipe(steps=300, batch=32, features=10.0, image=3e-3, rate=2e-3, halvings=(150, 225)),
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Names that `load` takes."""
    return tuple(_ENTRIES)


@functools.cache
def load(name: str) -> LoadedGenerator:
    """The generator `name`, trained on first use: "digits_conv2" in seconds, "fashion_fc6" in ten minutes on two cores.

    Raises ValueError for an unknown name, FileNotFoundError if there are no images to train on.
    """
    if name not in _ENTRIES:
        raise ValueError(f"Expected one of {', '.join(_ENTRIES)}, got {name!r}.")
    entry = _ENTRIES[name]
    model, data = models.load(entry.network), datasets.load(entry.data, "train")
    encode, compare = (inversion.of_layer(model.net, layer, (255.0,), (entry.mean,)) for layer in entry[1:3])
    prepare = Partial(_less, jnp.float32(entry.mean))
    where = folder(name)
    variables = fit(
        entry.module, entry.discriminator, encode, compare, data, entry.recipe, where, seed=SEED, prepare=prepare
    )
    some = np.stack([data[i][0] for i in range(min(BOUNDED_BY, len(data)))])
    upper = dgn.upper_bounds(network.call(encode, prepare(some)))
    generate = dgn.of_generator(Partial(entry.module.apply, variables), some.shape[1:3], (255.0,), (entry.mean,))
    return LoadedGenerator(generate, network.features(model.net, entry.layer), upper, entry.network, entry.layer)


def _less(mean, images):
    return images.astype(jnp.float32) - mean


def folder(name: str) -> Path:
    """Where a generator is trained and kept: under $XDG_CACHE_HOME, usually ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xai_jax" / name


def abstract(name: str) -> tuple[Generator, Any, tuple[int, ...]]:
    """(module, its variables as shapes, shape of a code), without training; for dry runs."""
    entry = _ENTRIES[name]
    net, variables, shape = models.abstract(entry.network)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    code = network.layer_names(Partial(net.apply, variables), x)[entry.layer]
    return entry.module, jax.eval_shape(entry.module.init, jax.random.key(0), code), code.shape[1:]
