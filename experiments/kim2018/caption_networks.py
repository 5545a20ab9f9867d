"""The networks of the controlled experiment, each trained on captions of its own noise (Kim et al. 2018, section 4.3).

Their ground truth is the accuracy without captions.
"""

from typing import Any, NamedTuple

from experiments.kim2018 import small_networks
from experiments.lib import dry_run, training_task
from experiments.lib.runner import Workspace
from xai_jax.architectures.vgg import VGG
from xai_jax.core.network import Network
from xai_jax.data import captions, datasets
from xai_jax.data.captions import Canvas
from xai_jax.data.datasets import Dataset, InMemory


class Pictures(NamedTuple):
    """Images of the classes without captions, for training and for tests."""

    training: Dataset
    test: Dataset


def pictures(config: Any) -> Pictures:
    """The images of `config`, a `configs.captioned.Networks`."""
    both = (datasets.only(datasets.load(config.data, split), config.classes) for split in datasets.splits(config.data))
    return Pictures(*map(training_task.first, both, (config.images, config.checked)))


def noises(config: Any) -> dict[str, float | None]:
    """The noise of each network by its name; None for the one trained without captions."""
    return {f"noise {100 * noise:g} %": noise for noise in config.noises} | {"no captions": None}


def captioned(shown: Dataset, noise: float | None, config: Any, seed: int) -> InMemory:
    """Images with captions of some noise, or without any."""
    data = captions.captioned(shown, config.words, noise, seed, Canvas(*config.canvas))
    return InMemory(*data.arrays(), data.classes)


def trained(shown: Pictures, config: Any, seed: int, work: Workspace) -> dict[str, Network]:
    """The networks by name. All see the same images in the same order; they are trained once for all experiments."""
    nets = {}
    for name, noise in work.progress(noises(config).items(), "networks"):
        data = captioned(shown.training, noise, config, 2 * seed)
        label = f"captioned-{name.replace(' ', '-').replace('-%', '')}-{seed}"
        nets[name] = small_networks.shared(data, config, label, seed)
    return nets


def test_images(shown: Pictures, noise: float | None, config: Any, seed: int) -> InMemory:
    """Test images with captions of some noise, or without any; the same images for every noise."""
    return captioned(shown.test, noise, config, 2 * seed + 1)


def plan(config: Any) -> list[dry_run.Step]:
    """Training and evaluation of all networks of one seed."""
    canvas, count = Canvas(*config.canvas), len(noises(config))
    steps = training_task.plan("the networks", module(config), small_networks.recipe(config), config, canvas.shape, 1)
    return [step._replace(repeats=step.repeats * count) for step in steps]


def module(config: Any) -> VGG:
    """The architecture of all networks."""
    return small_networks.module(config, len(config.classes))
