"""Small networks that learn from drawn images: to train, and to ask."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, training_task
from xai_jax import network
from xai_jax.architectures.vgg import VGG
from xai_jax.core.network import Network
from xai_jax.data.datasets import Dataset
from xai_jax.training import supervised

BATCH = 100  # images looked at together

inputs = partial(training_task.prepare, mean=(127.5,), std=(127.5,))  # uint8 -> -1 to 1


def trained(data: Dataset, config: Any, place: Path, seed: int, **reading: Any) -> Network:
    """A network that learns all classes of `data` as `config` says, in `place`, or is read from there."""
    module = of_size(config, len(data.classes))
    return Partial(
        module.apply, supervised.fit(module, data, recipe(config), place, seed=seed, prepare=inputs, **reading)
    )


def of_size(config: Any, classes: int) -> VGG:
    """A network of `config.stages`, `widths` and `hidden`."""
    return VGG(config.stages, config.widths, config.hidden, classes)


def recipe(config: Any) -> supervised.Recipe:
    """How it is trained."""
    return supervised.Recipe(
        config.epochs, config.batch_size, config.learning_rate, cosine=True, decay=config.weight_decay
    )


def logits(net: Network, images: np.ndarray) -> Iterator[jax.Array]:
    """Of each class, (n, K), for one batch after another of uint8 images (N, H, W, C)."""
    for start in range(0, len(images), BATCH):
        yield network.call(net, inputs(images[start : start + BATCH]))


def probabilities(net: Network, images: np.ndarray) -> np.ndarray:
    """Of each class, (N, K), for uint8 images (N, H, W, C)."""
    return np.concatenate([np.asarray(jax.nn.softmax(part)) for part in logits(net, images)])


def named(answers: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(K, K): of the images with each label, the share that is given each answer."""
    rows = [np.bincount(answers[labels == label], minlength=classes) for label in range(classes)]
    return np.stack(rows) / np.bincount(labels, minlength=classes)[:, None]


def plan(config: Any, classes: int, side: int, networks: int, asked: int) -> list[dry_run.Step]:
    """Training of `networks` networks and tests, and what a layer answers to `asked` images of each of them."""
    module, shape = of_size(config, classes), (side, side, 3)
    steps = training_task.plan("the networks", module, recipe(config), config, shape, 1)
    steps.append(answers_step(module, config.layers, shape, asked))
    return [step._replace(repeats=step.repeats * networks) for step in steps]


def answers_step(module: VGG, layers: Sequence[str], shape: tuple[int, ...], asked: int) -> dry_run.Step:
    """What layers answer to `asked` images, and gradients of the first of them."""
    x = jax.ShapeDtypeStruct((BATCH, *shape), np.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def answers(variables: Any, x: jax.Array) -> tuple:
        net = Partial(module.apply, variables)
        features, head = network.features(net, layers[0]), network.head(net, layers[0], x)
        slopes = jax.grad(lambda value: head(value)[:, 0].sum())(features(x))
        return network.capture(net, x, layers)[1], slopes

    return dry_run.Step("activations of layers", answers, (variables, x), -(-asked // BATCH))
