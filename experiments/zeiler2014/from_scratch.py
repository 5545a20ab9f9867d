"""Networks trained from scratch on few images: "non-pretrained" in Tables 4 and 5 of Zeiler & Fergus 2014."""

from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, training_task
from experiments.lib.training_task import Task
from experiments.zeiler2014 import linear_classifiers
from xai_jax import models
from xai_jax.core.network import Network
from xai_jax.core.precision import highest
from xai_jax.data import crops
from xai_jax.data.batches import in_order
from xai_jax.data.datasets import Dataset, select
from xai_jax.training import sgd


def accuracy(
    data: Dataset, labels: np.ndarray, known: np.ndarray, new: np.ndarray, config: Any, workdir: Path, seed: int
) -> float:
    """Accuracy in %, averaged over classes, on the images `new` of a network that has seen nothing but `known`.

    `labels` are those of all images; `known` and `new` are numbers of images. Trains in `workdir`.
    """
    sides = {"side": config.side, "short": config.short}
    cropped, centred = partial(crops.one_of_ten, **sides), partial(crops.centre_crop, **sides)
    training, tested = _subset(data, known, config.steps * config.batch_size), _subset(data, new, len(new))
    task = Task(training, training, tested, inputs(config), cropped, centred)
    net = training_task.fit(build(config, len(data.classes)), task, recipe(config), workdir, seed)
    return linear_classifiers.per_class(labels[new], predict(net, task))


def _subset(data, numbers, count):
    """`count` images, which are those of `numbers` again and again."""
    return select(data, np.resize(numbers, count))


def inputs(config: Any) -> partial:
    """uint8 images -> the network's input."""
    return partial(training_task.prepare, mean=config.mean, std=(config.standard_deviation,))


def build(config: Any, classes: int) -> nn.Module:
    return models.module(config.scratch).clone(classes=classes)


def recipe(config: Any) -> sgd.Recipe:
    """As many steps for few images as for many: one epoch of images that are repeated."""
    limits = {"decay": config.weight_decay, "renormalise": config.renormalise or None, "half": config.half}
    return sgd.Recipe(1, config.batch_size, config.learning_rate, cosine=True, **limits)


def predict(net: Network, task: Task) -> np.ndarray:
    """The most probable class (N,) of each of the task's validation images."""
    found = []
    for images, _ in in_order(task.validation, linear_classifiers.BATCH, task.centre):
        padded = np.resize(images, (linear_classifiers.BATCH, *images.shape[1:]))
        found.append(np.asarray(_classify(net, Partial(task.prepare), padded))[: len(images)])
    return np.concatenate(found)


@highest()
@jax.jit
def _classify(net, prepare, images):
    return net(prepare(images)).argmax(1)


def plan(name: str, classes: int, new: int, networks: int, config: Any) -> list[dry_run.Step]:
    """Training of `networks` networks, and tests of each on `new` images."""
    module, shape = build(config, classes), (config.side, config.side, len(config.mean))
    setting, prepare = sgd.Setting(module, recipe(config), config.steps), inputs(config)
    variables = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    state = jax.eval_shape(partial(sgd.begin, setting), variables)
    images = jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.uint8)
    labels = jax.ShapeDtypeStruct((config.batch_size,), jnp.int32)
    seen = jax.ShapeDtypeStruct((linear_classifiers.BATCH, *shape), jnp.uint8)

    def test(variables, images):
        return _classify(Partial(module.apply, variables), Partial(prepare), images)

    step, batches = training_task.step(setting, prepare), -(-new // linear_classifiers.BATCH)
    return [
        dry_run.Step(f"step, {name}", step, (state, images, labels), config.steps * networks),
        dry_run.Step(f"test, {name}", test, (variables, seen), batches * networks),
    ]
