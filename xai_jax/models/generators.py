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
from jax import Array
from jax.tree_util import Partial

from xai_jax import dgn, inversion, models, network
from xai_jax.data import crops, datasets
from xai_jax.data.batches import Transform
from xai_jax.generator import Recipe, fit
from xai_jax.models import deepsim
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
    """What is trained, and on what. `mean` is the images' mean pixel, which is taken off."""

    network: str
    layer: str
    compared: str
    data: str
    mean: tuple[float, ...]
    module: Generator
    discriminator: Discriminator
    recipe: Recipe
    transform: Transform | None = None


# Losses weigh about as much as the published ones do at the start, for whose sizes and features see `Recipe`.
_ENTRIES = {
    "fashion_fc6": _Entry(
        "fashion_maxpool", "relu6", "pool2", "fashion_mnist", (72.9,),
        Generator((7, 7, 64), (256, 256), (), ((64, 64),), 1), Discriminator(((5, 32, 2), (3, 64, 1), (3, 64, 2)), 64),
        Recipe(steps=8000, batch=32, features=10.0, image=3e-4, halvings=(4000, 6000)),
    ),
    "digits_conv2": _Entry(
        "digits", "relu2", "pool1", "digits", (77.8,),
        Generator((4, 4, 32), (), ((32, 1), (32, 1)), (), 1), Discriminator(((3, 16, 2), (3, 16, 1)), 16),
        Recipe(steps=300, batch=32, features=10.0, image=3e-3, rate=2e-3, halvings=(150, 225)),
    ),
    "caffenet_fc6": _Entry(
        "caffenet", "relu6", "pool5", "imagenet2012", (122.679, 116.669, 104.007), Generator(), Discriminator(),
        Recipe(), functools.partial(crops.random_crop, side=227),
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Names that `load` takes."""
    return tuple(_ENTRIES)


@functools.cache
def load(
    name: str, file: str | os.PathLike | None = None, weights: str | os.PathLike = "pretrained"
) -> LoadedGenerator:
    """The generator `name`, from a `file` or trained on first use, for its network with these `weights`.

    Training takes seconds for "digits_conv2", ten minutes on two cores for "fashion_fc6", weeks on one GPU for
    "caffenet_fc6", whose published weights `deepsim.read_generator` reads. Raises ValueError for an unknown name and a
    file that does not fit, FileNotFoundError if there are no images to train on.
    """
    entry = _entry(name)
    model, data = models.load(entry.network, weights), datasets.load(entry.data, "train")
    deviation, shift = models.units(model, entry.mean)
    if file is None:
        variables = _trained(name, entry, model, data)
    else:
        variables = deepsim.read_generator(file, entry.module, abstract(name)[2])
    encode, generator = network.features(model.net, entry.layer), Partial(entry.module.apply, variables)
    upper = dgn.upper_bounds(jnp.concatenate(list(_codes(encode, model, data))))
    generate = dgn.of_generator(generator, models.abstract(entry.network)[2][:2], deviation, shift)
    return LoadedGenerator(generate, encode, upper, entry.network, entry.layer)


def _codes(encode, model, data):
    """Codes of the first images, by the hundred."""
    count = min(BOUNDED_BY, len(data))
    for start in range(0, count, 100):
        images = (data[i][0] for i in range(start, min(start + 100, count)))
        yield network.call(encode, model.preprocess([i[..., 0] if i.shape[-1] == 1 else i for i in images]))


def _trained(name, entry, model, data):
    layers = entry.layer, entry.compared
    encode, compare = (inversion.of_layer(model.net, layer, *models.units(model, entry.mean)) for layer in layers)
    prepare = Partial(_less, jnp.asarray(entry.mean, jnp.float32))
    players, how = (entry.module, entry.discriminator), {"prepare": prepare, "transform": entry.transform}
    return fit(*players, encode, compare, data, entry.recipe, folder(name), seed=SEED, **how)


def _entry(name):
    if name not in _ENTRIES:
        raise ValueError(f"Expected one of {', '.join(_ENTRIES)}, got {name!r}.")
    return _ENTRIES[name]


def _less(mean, images):
    return images.astype(jnp.float32) - mean


def folder(name: str) -> Path:
    """Where a generator is trained and kept: under $XDG_CACHE_HOME, usually ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xai_jax" / name


def network_of(name: str) -> str:
    """The name of the network that a generator was made for."""
    return _entry(name).network


def abstract(name: str) -> tuple[Generator, Any, tuple[int, ...]]:
    """(module, its variables as shapes, shape of a code), without training; for dry runs."""
    entry = _entry(name)
    net, variables, shape = models.abstract(entry.network)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    code = network.layer_names(Partial(net.apply, variables), x)[entry.layer]
    return entry.module, jax.eval_shape(entry.module.init, jax.random.key(0), code), code.shape[1:]
