"""Small networks for synthetic images: training, predictions and dry runs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial
from sklearn.metrics import confusion_matrix

from experiments.lib import dry_run, training_task
from xai_jax import network
from xai_jax.architectures.vgg import VGG
from xai_jax.core.network import Network
from xai_jax.data.datasets import Dataset
from xai_jax.training import supervised

BATCH = 100  # images in one pass

inputs = partial(training_task.prepare, mean=(127.5,), std=(127.5,))  # uint8 -> -1 to 1


def trained(data: Dataset, config: Any, checkpoint_dir: Path, seed: int) -> Network:
    """A network trained on `data` with the recipe of `config` in `checkpoint_dir`, or read from there."""
    net = module(config, len(data.classes))
    return Partial(net.apply, supervised.fit(net, data, recipe(config), checkpoint_dir, seed=seed, prepare=inputs))


def module(config: Any, classes: int) -> VGG:
    """A network of `config.stages`, `widths` and `hidden`."""
    return VGG(config.stages, config.widths, config.hidden, classes)


def recipe(config: Any) -> supervised.Recipe:
    """The recipe of its training."""
    return supervised.Recipe(
        config.epochs,
        config.batch_size,
        config.learning_rate,
        cosine=True,
        decay=config.weight_decay,
        half=config.half,
    )


def logits(net: Network, images: np.ndarray) -> Iterator[jax.Array]:
    """Logits (n, K) of one batch after another of uint8 images (N, H, W, C)."""
    for start in range(0, len(images), BATCH):
        yield network.call(net, inputs(images[start : start + BATCH]))


def probabilities(net: Network, images: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of uint8 images (N, H, W, C)."""
    return np.concatenate([np.asarray(jax.nn.softmax(part)) for part in logits(net, images)])


def predictions(net: Network, images: np.ndarray) -> np.ndarray:
    """Predicted classes (N,) of uint8 images (N, H, W, C)."""
    return np.concatenate([np.asarray(part).argmax(1) for part in logits(net, images)])


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(K, K): of the images with each label, the fraction that is predicted to be of each class."""
    return confusion_matrix(labels, predicted, labels=range(classes), normalize="true")


def plan(config: Any, classes: int, side: int, networks: int, images: int, resident: int = 0) -> list[dry_run.Step]:
    """The steps of several networks.

    Args:
      config: of the experiment.
      classes: number of classes.
      side: of the images.
      networks: number of networks, each of which is trained and evaluated.
      images: images whose activations of layers each network computes.
      resident: images that stay on the device in training, if they do.

    Returns:
      The steps of the plan.
    """
    net, shape = module(config, classes), (side, side, 3)
    steps = training_task.plan("the networks", net, recipe(config), config, shape, 1, resident)
    steps.append(activations_step(net, config.layers, shape, images))
    return [step._replace(repeats=step.repeats * networks) for step in steps]


def activations_step(net: VGG, layers: Sequence[str], shape: tuple[int, ...], images: int) -> dry_run.Step:
    """Activations of layers for `images` images, and gradients with respect to those of the first layer."""
    x = jax.ShapeDtypeStruct((BATCH, *shape), np.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)

    def activations(variables: Any, x: jax.Array) -> tuple:
        bound = Partial(net.apply, variables)
        layer = network.layer_names(bound, x)[layers[0]]
        perturbed = partial(network.perturb, bound, layers[0])
        gradients = jax.grad(lambda delta: perturbed(delta)(x)[:, 0].sum())(np.zeros(layer.shape, layer.dtype))
        return network.capture(bound, x, layers)[1], gradients

    return dry_run.Step("activations of layers", activations, (variables, x), dry_run.calls(images, BATCH))
