"""Small networks for colour images of 64 pixels, trained on composites of cut-out objects.

"photo_maxpool" is in the manner of ZFNet, with 7x7 filters and max-pooling; "photo_allcnn" has strided convolutions and
a mean instead; "photo_evaluation", of 3x3 filters, learned from other composites, to evaluate images made with
one of the others. Each names the class of an object, or which of the training objects it is: their logits are two parts
of one layer, read as two networks, such as "photo_maxpool" and "photo_maxpool_objects".

>>> kind("photo_maxpool_objects"), len(outputs("photo_maxpool")), len(outputs("photo_maxpool_objects"))
('photo_maxpool', 13, 195)
"""

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from xai_jax.architectures import photo_networks
from xai_jax.architectures.photo_networks import PhotoNet
from xai_jax.core.network import call
from xai_jax.data import composites, cutouts, photographs
from xai_jax.data.drawn import Composites
from xai_jax.io.fingerprints import fingerprint
from xai_jax.models.input_scaling import Input
from xai_jax.models.pretrained import shipped
from xai_jax.training import two_labels
from xai_jax.training.two_labels import Recipe

INPUT = Input(64, 1.0, (125.0,) * 3, (60.0,) * 3)
COMPOSITES = 150  # of each training object
NEW = {"train": 10, "test": 40}  # composites of each object, not trained on, whose names are counted
NEW_SEED = 12345
_OBJECTS = "_objects"  # ending of the names of networks that name objects


class Kind(NamedTuple):
    """A network before it is trained: layers, sizes of fc6 and fc7, seed of training and of composites, recipe."""

    layers: tuple
    hidden: tuple[int, ...]
    seed: int
    composites: int
    recipe: Recipe = Recipe()


# More weight decay than the other networks' leaves smooth filters in the first layer.
KINDS = {
    "photo_maxpool": Kind(photo_networks.MAXPOOL, (384, 256), 0, 0, Recipe(learning_rate=4e-3, decay=0.5)),
    "photo_allcnn": Kind(photo_networks.ALLCNN, (), 1, 0),
    "photo_evaluation": Kind(photo_networks.EVALUATION, (192,), 2, 1),
}
NAMES = tuple(name + ending for name in KINDS for ending in ("", _OBJECTS))


def kind(name: str) -> str:
    """The key of `KINDS` of a network."""
    return name.removesuffix(_OBJECTS)


def outputs(name: str) -> tuple[str, ...]:
    """Names of the classes, or objects, that a network distinguishes."""
    rows = cutouts.of_class(split="train")
    return tuple(row.name for row in rows) if name.endswith(_OBJECTS) else cutouts.CLASSES


def build(name: str) -> PhotoNet:
    """(N, 64, 64, 3) -> logits (N, classes)."""
    layers, hidden, *_ = KINDS[kind(name)]
    return PhotoNet(layers, hidden, len(outputs(name)))


def read(name: str, module: nn.Module) -> dict[str, Any]:
    """Variables of a network; of the last layer's outputs those of its classes, or objects."""
    variables, _ = shipped.read(kind(name))
    first = len(cutouts.CLASSES)
    part = slice(first, None) if name.endswith(_OBJECTS) else slice(first)
    last = {entry: array[..., part] for entry, array in variables["params"]["fc8"].items()}
    return {"params": {**variables["params"], "fc8": last}}


def both(name: str) -> PhotoNet:
    """The network with all its logits, those of the classes before those of the objects, as it is trained."""
    return build(name).clone(classes=len(cutouts.CLASSES) + len(outputs(name + _OBJECTS)))


def images(name: str) -> Composites:
    """What a network is trained on: images from whose 72 pixels 64 are cropped."""
    trained = KINDS[name]
    return Composites("train", COMPOSITES, INPUT.size + trained.recipe.margin, trained.composites)


def digest(name: str) -> str:
    """Digest of all that the images depend on: files of objects and backgrounds, their number, size and seed.

    >>> len(digest("photo_maxpool"))
    64
    """
    files = [row.digest for row in (*cutouts.of_class(split="train"), *photographs.of_kind(*composites.SCENERY))]
    _, count, side, seed, _ = images(name)
    return fingerprint((files, count, side, seed, composites.VERSION))


def train(name: str, directory: Path) -> dict[str, Any]:
    """Variables of `both(name)` after training on `images(name)`; resumable. Example: `train(name, "runs/a")`."""
    arguments, options = _arguments(name, images(name).in_memory())
    return two_labels.fit(*arguments, directory, **options)


def first_losses(name: str, steps: int) -> list[float]:
    """Losses of the first steps of the same training, whose images are drawn as they are needed."""
    arguments, options = _arguments(name, images(name).on_access())
    return [line["loss"] for line in two_labels.first_lines(steps, *arguments, **options)]


def _arguments(name, data):
    options = {"seed": KINDS[name].seed, "prepare": Partial(INPUT.to_network)}
    return (both(name), data, _classes("train"), KINDS[name].recipe), options


def _classes(split):
    """Class of each object of a split."""
    return np.array([row.number for row in cutouts.of_class(split=split)], np.int32)


def accuracy(name: str, variables: Any) -> dict[str, float]:
    """Shares of new composites whose object, and of unseen objects whose class, is named; an interval of the latter.

    The interval, `low` to `high`, is of 95 % of bootstrap samples of the objects.
    """
    net, classes = Partial(both(name).apply, variables), len(cutouts.CLASSES)
    known, unseen = (_logits(net, split, count) for split, count in NEW.items())
    objects = known[:, classes:]
    named = objects.argmax(1) == np.arange(len(known)) % objects.shape[1]
    truth = _classes("test")
    right = (unseen[:, :classes].argmax(1).reshape(-1, len(truth)) == truth).mean(0)
    samples = np.random.default_rng(0).integers(len(truth), size=(2000, len(truth)))
    low, high = np.quantile(right[samples].mean(1), (0.025, 0.975))
    found = {"objects": named.mean(), "unseen_classes": right.mean(), "low": low, "high": high}
    return {key: round(float(value), 4) for key, value in found.items()}


def _logits(net, split, count):
    x = Composites(split, count, INPUT.size, NEW_SEED).in_memory().images
    return np.concatenate([call(net, INPUT.to_network(jnp.float32(x[i : i + 250]))) for i in range(0, len(x), 250)])
