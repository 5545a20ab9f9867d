"""The networks of the controlled experiment: each learnt from captions of its own noise (Kim et al. 2018, section 4.3).

The truth about them is how often they are right when captions are gone.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.kim2018 import small_networks
from experiments.lib import dry_run, runner, training_task
from xai_jax.core.network import Network
from xai_jax.data import captions, datasets
from xai_jax.data.captions import Canvas
from xai_jax.data.datasets import Dataset, InMemory
from xai_jax.io.files import cache_dir


class Pictures(NamedTuple):
    """Pictures of the classes, without captions: to learn from, and to test with."""

    training: Dataset
    test: Dataset


def pictures(config: Any) -> Pictures:
    """The pictures that `config`, a `configs.captioned.Networks`, names."""
    both = (datasets.only(datasets.load(config.data, split), config.classes) for split in datasets.SPLITS[config.data])
    return Pictures(*map(training_task.first, both, (config.images, config.checked)))


def noises(config: Any) -> dict[str, float | None]:
    """The noise of each network by its name; None for the one that never saw a caption."""
    return {f"noise {100 * noise:g} %": noise for noise in config.noises} | {"no captions": None}


def captioned(shown: Dataset, noise: float | None, config: Any, seed: int) -> InMemory:
    """Pictures with captions of some noise, or without any."""
    data = captions.captioned(shown, config.words, noise, seed, Canvas(*config.canvas))
    return InMemory(*data.arrays(), data.classes)


def trained(shown: Pictures, config: Any, seed: int, run: runner.Run) -> dict[str, Network]:
    """The networks by name. All see the same pictures in the same order; they are trained once for all experiments."""
    nets, home = {}, folder(config)
    for name, noise in run.progress(noises(config).items(), "networks"):
        data = captioned(shown.training, noise, config, 2 * seed)
        place = home / f"{name.replace(' ', '-').replace('-%', '')}-{seed}"
        nets[name] = small_networks.trained(data, config, place, seed)
    return nets


def folder(config: Any) -> Path:
    """Where networks of this configuration are trained and kept, beside those of `xai_jax.models`."""
    shown = config.data, config.classes, config.words, config.canvas, config.images
    described = repr((*map(str, shown), module(config), small_networks.recipe(config)))
    return cache_dir(f"captioned-{hashlib.sha256(described.encode()).hexdigest()[:12]}")


def test_images(shown: Pictures, noise: float | None, config: Any, seed: int) -> InMemory:
    """Test pictures with captions of some noise, or without any; the same pictures for every noise."""
    return captioned(shown.test, noise, config, 2 * seed + 1)


def answers(net: Network, images: np.ndarray) -> np.ndarray:
    """The class (N,) that the network names for each of (N, H, W, 3) uint8."""
    return np.concatenate([np.asarray(part).argmax(1) for part in small_networks.logits(net, images)])


def plan(config: Any) -> list[dry_run.Step]:
    """Training and tests of all networks of one seed."""
    canvas, count = Canvas(*config.canvas), len(noises(config))
    steps = training_task.plan("the networks", module(config), small_networks.recipe(config), config, canvas.shape, 1)
    return [step._replace(repeats=step.repeats * count) for step in steps]


def module(config):
    return small_networks.of_size(config, len(config.classes))
