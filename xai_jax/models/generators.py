"""Generators of images from the codes of a network, by name; trained on first use, and cached.

    generator = generators.load("photo_fc6")
    codes = network.call(generator.encode, model.preprocess(photographs))
    images = network.call(generator.generate, codes)

Codes are activations of a network of `models.load`, images its input. The published generators of 256x256 pixels, for
CaffeNet, are read by `architectures.deepsim.read_generator`.

>>> network_of("photo_fc6"), abstract("photo_fc6")[2]
('photo_maxpool', (384,))
"""

import dataclasses
import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from xai_jax import models
from xai_jax.architectures import deepsim
from xai_jax.architectures.deepsim import Discriminator, Generator
from xai_jax.core import network
from xai_jax.core.messages import listed, quoted
from xai_jax.data import crops, datasets
from xai_jax.data.batches import Transform
from xai_jax.models import published
from xai_jax.models.pretrained import shipped as shipped_files
from xai_jax.synthesis import dgn_am, inversion
from xai_jax.training import deepsim as deepsim_training
from xai_jax.training.deepsim import Recipe
from xai_jax.weights import shards

SEED = 0
BOUNDED_BY = 5000  # images whose codes give the upper bound of each unit


class LoadedGenerator(NamedTuple):
    """`generate`: codes (N, ...) -> input of the network (N, S, S, C); `encode`: the reverse.

    `upper` is the upper bound of each unit; the codes are activations of `layer` in `network`.
    """

    generate: Partial
    encode: Partial
    upper: Array
    network: str
    layer: str


class _Entry(NamedTuple):
    """Networks, data and recipe of a training. `mean` is the images' mean pixel, which is subtracted."""

    network: str
    layer: str
    compared: str
    data: str
    mean: tuple[float, ...]
    module: Generator
    discriminator: Discriminator
    recipe: Recipe
    transform: Transform | None = None
    shipped: bool = False


def _fashion(layer: str, **module) -> _Entry:
    """A generator of 28x28 pixels for codes of "fashion_maxpool", for comparisons of layers."""
    generator = Generator((7, 7, 64), stages=((64, 64),), channels=1, **module)
    discriminator = Discriminator(((5, 32, 2), (3, 64, 1), (3, 64, 2)), 64)
    return _Entry("fashion_maxpool", layer, "pool2", "fashion_mnist", (72.9,), generator, discriminator, _BRIEF)


def _photo(layer: str) -> _Entry:
    """A generator of 64x64 pixels for codes of "photo_maxpool", which comes with this package."""
    generator = Generator((4, 4, 128), (384,), stages=((128, 96), (64, 64), (48, 32)))
    discriminator = Discriminator(((5, 32, 2), (3, 64, 1), (3, 96, 2), (3, 96, 1), (3, 128, 2)), 128)
    recipe = Recipe(
        steps=10_000, batch_size=16, features=0.1, image=2e-4, learning_rate=6e-4, halvings=(5000, 6500, 8000, 9000)
    )
    networks = generator, discriminator, recipe
    return _Entry("photo_maxpool", layer, "pool2", "portraits_64", (125.0,) * 3, *networks, shipped=True)


def _digits(layer: str, **module) -> _Entry:
    """A generator of 8x8 pixels for codes of "digits"."""
    generator = Generator((4, 4, 32), stages=(), channels=1, **module)
    discriminator = Discriminator(((3, 16, 2), (3, 16, 1)), 16)
    recipe = Recipe(steps=300, batch_size=32, features=10.0, image=3e-3, learning_rate=2e-3, halvings=(150, 225))
    return _Entry("digits", layer, "pool1", "digits", (77.8,), generator, discriminator, recipe)


def _caffenet(layer: str, **module) -> _Entry:
    """The published generators, of 256x256 pixels."""
    mean, crop = (122.679, 116.669, 104.007), functools.partial(crops.random_crop, side=227)
    networks = Generator(**module), Discriminator()
    return _Entry("caffenet", layer, "pool5", "imagenet2012", mean, *networks, Recipe(), crop)


# Initial losses have about the published ratios.
_BRIEF = Recipe(steps=700, batch_size=32, features=10.0, image=3e-4, halvings=(350, 525))
_WIDE = (256, 256)

_ENTRIES = {
    "photo_fc6": _photo("relu6"),
    "fashion_pool2_brief": _fashion("pool2", convs=((64, 1), (64, 1))),
    "fashion_pool3_brief": _fashion("pool3", convs=((128, 2), (64, 2))),
    "fashion_fc6_brief": _fashion("relu6", hidden=_WIDE),
    "fashion_fc7_brief": _fashion("relu7", hidden=_WIDE),
    "fashion_fc8_brief": _fashion("fc8", hidden=_WIDE),
    "digits_conv2": _digits("relu2", hidden=(), convs=((32, 1), (32, 1))),
    "digits_logits": _digits("logits", hidden=(64,)),
    "caffenet_pool5": _caffenet("pool5", convs=((512, 1), (512, 1), (512, 0))),
    "caffenet_fc6": _caffenet("relu6"),
    "caffenet_fc7": _caffenet("relu7"),
}


def names() -> tuple[str, ...]:
    """Names that `load` takes."""
    return tuple(_ENTRIES)


def shipped(network: str) -> str | None:
    """The generator of codes of a network that comes with this package, if there is one.

    >>> shipped("photo_maxpool"), shipped("vgg16")
    ('photo_fc6', None)
    """
    return next((name for name, entry in _ENTRIES.items() if entry.shipped and entry.network == network), None)


def load(
    name: str,
    file: str | os.PathLike | None = None,
    weights: str | os.PathLike = "pretrained",
    data: str | None = None,
) -> LoadedGenerator:
    """A generator by name, from a file or trained on first use.

    "photo_fc6" comes with this package. Training takes seconds for digits, one or two minutes on two cores for each of
    the brief ones, and weeks on one GPU for CaffeNet's, whose published weights `deepsim.read_generator` reads.

    Args:
      name: one of `names()`.
      file: path of the generator's weights; None for those of this package, or a training.
      weights: of its network, as in `models.load`.
      data: name of the data set whose first training images bound the codes; None for that of the training.

    Returns:
      The generator.

    Raises:
      ValueError: for an unknown name, and a file that does not fit.
      FileNotFoundError: where images to train on are missing.
    """
    weights = published.path(_entry(name).network, weights)
    digests = _digest(file), "" if weights == "pretrained" else _digest(weights)
    return _load(name, file, weights, data or _entry(name).data, *digests)


@functools.cache
def _load(name, file, weights, bounding, file_digest, weights_digest):
    """The same, once for each content of the files, which may be replaced."""
    entry = _entry(name)
    model = models.load(entry.network, weights)
    to_network, encode = model.from_centred(entry.mean), network.features(model.net, entry.layer)
    if file is None and entry.shipped and weights == "pretrained":
        variables, upper = _read(name)
    else:
        if file is None:
            variables = _trained(name, entry, model, datasets.load(entry.data, "train"))
        else:
            variables = deepsim.read_generator(file, entry.module, abstract(name)[2])
        upper = _upper_bounds(encode, model, datasets.load(bounding, "train"))
    generator = Partial(entry.module.apply, variables)
    generate = dgn_am.of_generator(generator, models.abstract(entry.network)[2][:2], to_network)
    return LoadedGenerator(generate, encode, upper, entry.network, entry.layer)


def _read(name):
    """Variables and upper bounds of a generator that comes with this package."""
    found, _ = shipped_files.read(name)
    return {"params": found["params"]}, jnp.asarray(found["upper"])


def _upper_bounds(encode, model, data):
    """Upper bound of each unit of the codes of the first images, (d,)."""
    return dgn_am.upper_bounds(jnp.concatenate(list(_codes(encode, model, data))))


def train(name: str) -> dict[str, Any]:
    """Variables of a generator that is trained here, also of a shipped one, and the `upper` bounds, shaped like a code.

    Example: `train("photo_fc6")["upper"]`. Resumes where an earlier call was stopped.
    """
    entry = _entry(name)
    model, data = models.load(entry.network), datasets.load(entry.data, "train")
    upper = _upper_bounds(network.features(model.net, entry.layer), model, data)
    return {**_trained(name, entry, model, data), "upper": upper}


def first_lines(name: str, steps: int) -> list[dict[str, float]]:
    """Losses of the first steps of the same training. Example: `first_lines("photo_fc6", 1)[0]["features"]`."""
    entry = _entry(name)
    arguments, options = _training(entry, models.load(entry.network), datasets.load(entry.data, "train"))
    return deepsim_training.first_lines(steps, *arguments, **options)


def recipe(name: str) -> dict[str, Any]:
    """Settings of the training of a generator, as JSON has them.

    >>> recipe("photo_fc6")["steps"], recipe("photo_fc6")["seed"]
    (10000, 0)
    """
    settings = dataclasses.asdict(_entry(name).recipe) | {"seed": SEED}
    return settings | {"halvings": list(settings["halvings"])}


def _digest(path):
    return "" if path is None else shards.digest(path)


def _codes(encode, model, data):
    """Codes of the first images, in batches of 100."""
    count = min(BOUNDED_BY, len(data))
    for start in range(0, count, 100):
        images = (data[i][0] for i in range(start, min(start + 100, count)))
        yield network.call(encode, model.preprocess(list(images)))


def _training(entry, model, data):
    """Arguments and options of `deepsim.fit`."""
    layers, to_network = (entry.layer, entry.compared), model.from_centred(entry.mean)
    encode, compare = (inversion.of_layer(model.net, layer, to_network) for layer in layers)
    prepare = Partial(_less, jnp.asarray(entry.mean, jnp.float32))
    options = {"seed": SEED, "prepare": prepare, "transform": entry.transform}
    return (entry.module, entry.discriminator, encode, compare, data, entry.recipe), options


def _trained(name, entry, model, data):
    arguments, options = _training(entry, model, data)
    return deepsim_training.fit(*arguments, deepsim_training.shared_dir(name, *arguments, **options), **options)


def _entry(name):
    if name not in _ENTRIES:
        raise ValueError(f"Expected one of {listed(_ENTRIES)}, got {quoted(name)}.")
    return _ENTRIES[name]


def _less(mean, images):
    return images.astype(jnp.float32) - mean


def network_of(name: str) -> str:
    """The name of the network whose codes a generator inverts."""
    return _entry(name).network


def abstract(name: str) -> tuple[Generator, Any, tuple[int, ...]]:
    """(module, its variables as shapes, shape of a code), without training; for dry runs."""
    entry = _entry(name)
    net, variables, shape = models.abstract(entry.network)
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    code = network.layer_names(Partial(net.apply, variables), x)[entry.layer]
    return entry.module, jax.eval_shape(entry.module.init, jax.random.key(0), code), code.shape[1:]
