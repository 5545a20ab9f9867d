"""The networks of the controlled experiment, each trained on captions of its own noise (Kim et al. 2018, section 4.3).

Two truths about what they rely on: accuracy without captions, as in the paper, and the decisions in a cue conflict.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.kim2018 import small_networks
from experiments.lib import dry_run, training_task
from experiments.lib.runner import Workspace
from xai_jax.architectures.allcnn import Layer
from xai_jax.architectures.photo_networks import PhotoNet
from xai_jax.core.network import Network
from xai_jax.data import captions, datasets
from xai_jax.data.captions import Canvas
from xai_jax.data.datasets import Dataset, InMemory
from xai_jax.data.drawn import Composites
from xai_jax.training import parallel, supervised

COMPOSITES = "composites"  # value of `data`
Conflict = tuple[
    InMemory, np.ndarray
]  # images, labelled with the classes of their pictures, and those of their words (N,)


class Pictures(NamedTuple):
    """Images of the classes without captions, for training and for tests."""

    training: Dataset
    test: Dataset


def pictures(config: Any) -> Pictures:
    """The images of `config`, a `configs.captioned.Networks`: of a data set, or composites of cut-outs."""
    if config.data == COMPOSITES:
        return composed(config, config.canvas[0])
    both = (datasets.only(datasets.load(config.data, split), config.classes) for split in datasets.splits(config.data))
    return Pictures(*map(training_task.first, both, (config.images, config.checked)))


def composed(config: Any, side: int) -> Pictures:
    """Composites with equally many images of each class, and with other objects to test than to train."""
    parts = (
        Composites("train", config.images, side, 0, config.classes),
        Composites("test", config.checked, side, 1, config.classes),
    )
    return Pictures(*(datasets.only(part.in_memory(), config.classes) for part in parts))


def noises(config: Any) -> dict[str, float | None]:
    """The noise of each network by its name; None for the one trained without captions."""
    return {f"noise {100 * noise:g} %": noise for noise in config.noises} | {"no captions": None}


def captioned(
    shown: Dataset, noise: float | None, config: Any, seed: int, words: Sequence[str] | None = None
) -> InMemory:
    """Images with captions of some noise, or without any; `words` of the classes are those of `config` by default."""
    data = captions.captioned(shown, words or config.words, noise, seed, Canvas(*config.canvas))
    return InMemory(*data.arrays(), config.words)


def trained(shown: Pictures, config: Any, seed: int, work: Workspace) -> dict[str, Network]:
    """The networks by name. All see the same images in the same order; they are trained once for all experiments."""
    net, recipe = module(config), small_networks.recipe(config)

    def fit(name, noise):
        data = captioned(shown.training, noise, config, 2 * seed)
        label = f"captioned-{name.replace(' ', '-').replace('-%', '')}-{seed}"
        common = {"seed": seed, "prepare": small_networks.inputs}
        checkpoint_dir = supervised.shared_dir(label, net, data, recipe, **common)
        variables = supervised.fit(net, data, recipe, checkpoint_dir, **common)
        bar.update()
        return jax.device_get(variables)

    with work.bar(len(noises(config)), "networks") as bar:
        found = parallel.independent([partial(fit, name, noise) for name, noise in noises(config).items()])
    bound = (Partial(net.apply, jax.tree.map(jnp.asarray, variables)) for variables in found)
    return dict(zip(noises(config), bound, strict=True))


def test_images(shown: Pictures, noise: float | None, config: Any, seed: int) -> InMemory:
    """Test images with captions of some noise, or without any; the same images for every noise."""
    return captioned(shown.test, noise, config, 2 * seed + 1)


def conflicts(shown: Pictures, config: Any, seed: int) -> list[Conflict]:
    """All test images over the word of another class, and these classes (N,), for each other class in turn."""
    count, found = len(config.classes), []
    for shift in range(1, count):
        words = [config.words[(label + shift) % count] for label in range(count)]
        data = captioned(shown.test, 0.0, config, 2 * seed + 1, words)
        found.append((data, (data.labels + shift) % count))
    return found


def followed(net: Network, conflicting: list[Conflict]) -> np.ndarray:
    """Shares of predictions in `conflicts` that follow the picture, the caption, and neither, by class (K, 3)."""
    predicted = np.concatenate([small_networks.predictions(net, data.images) for data, _ in conflicting])
    labels = np.concatenate([data.labels for data, _ in conflicting])
    words = np.concatenate([word for _, word in conflicting])
    kinds = np.stack([predicted == labels, predicted == words, (predicted != labels) & (predicted != words)], 1)
    return np.stack([kinds[labels == label].mean(0) for label in range(len(conflicting) + 1)])


def plan(config: Any) -> list[dry_run.Step]:
    """Training and evaluation of all networks of one seed."""
    canvas, count = Canvas(*config.canvas), len(noises(config))
    recipe, shape = small_networks.recipe(config), canvas.shape
    steps = training_task.plan("the networks", module(config), recipe, config, shape, 1, resident=config.images)
    return [step._replace(repeats=step.repeats * count) for step in steps]


def module(config: Any) -> PhotoNet:
    """The architecture of all networks."""
    first, *others = config.widths
    layers = Layer(first, 5, 2), 2, *(part for width in others for part in (Layer(width, 3), 2))
    return PhotoNet(layers, (config.hidden,), len(config.classes))
