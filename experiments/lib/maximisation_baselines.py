"""Activation maximisation with hand-designed priors, for experiments that compare them with each other and DGN-AM."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.lib import dry_run, generator_codes
from xai_jax import activation_maximisation, dgn_am, network, targets
from xai_jax.core.targets import Target
from xai_jax.data import datasets
from xai_jax.data.datasets import Dataset
from xai_jax.models import LoadedModel
from xai_jax.synthesis.activation_maximisation import Form

AnyForm = TypeVar("AnyForm")
AVERAGED = 15  # images per mean image, as in the paper's code
BATCH_SIZE = 100  # images whose features are computed at once


def find(
    model: LoadedModel, classes: np.ndarray, form: Form, config: Any, start: Array | None = None
) -> dict[str, np.ndarray]:
    """Images that maximise the logits of classes.

    Args:
      model: the network to explain.
      classes: the class of each image, (N,).
      form: parametrisation, priors and optimiser.
      config: has `mean`, `strong`, `batch_size` and `seed`.
      start: initial images, mean-subtracted pixels (N, H, W, C); noise by default.

    Returns:
      "pixels", uint8 (N, H, W, 3), and "logits" (N, K).
    """
    start = (
        initial_images(form, config.mean, (len(classes), *model.input.shape), config.seed) if start is None else start
    )
    target = class_target(classes, form, config.strong)
    found = maximise(model, config.mean, target, start, form, config.batch_size, config.seed)
    return generator_codes.as_pixels(model, found)


def maximise(
    model: LoadedModel,
    mean: tuple[float, ...],
    target: Target,
    starts: Array,
    form: Form,
    batch_size: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Images that maximise a target, with pixels rounded to integers, and their logits.

    Args:
      model: the network to explain.
      mean: the colour that is subtracted from pixels.
      target: one target for all images, or one row for each.
      starts: initial images, mean-subtracted pixels (N, H, W, C).
      form: parametrisation, priors and optimiser.
      batch_size: images that are optimised at once.
      seed: of jitter and random crops.

    Returns:
      "images" (N, H, W, C) in the network's input range, and "logits" (N, K).
    """
    to_network, black, parts = model.from_centred(mean), -np.asarray(mean, np.float32), []
    net = activation_maximisation.of_pixels(model.net, to_network)
    for start in range(0, len(starts), batch_size):
        rows, key = slice(start, start + batch_size), jax.random.fold_in(jax.random.key(seed), start)
        x = activation_maximisation.maximise(net, target.rows(rows), starts[rows], key, form, black, 255 + black).x
        images = generator_codes.quantised(model, to_network(x))
        parts.append((images, network.call(model.net, images)))
    images, logits = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {"images": images, "logits": logits}


def initial_images(form: Form, mean: tuple[float, ...], shape: tuple[int, ...], seed: int) -> Array:
    """Random initial images of a form, mean-subtracted pixels (N, H, W, C)."""
    return form.noise(jax.random.key(seed), shape, -np.asarray(mean, np.float32))


def mean_images(model: LoadedModel, layer: str, data: Dataset, config: Any) -> Array:
    """Initial images for multifaceted feature visualization: means of clusters of each class's images.

    The first `config.known` images are clustered by their features with `dgn_am.facets`; in the paper after t-SNE.

    Args:
      model: the network to explain.
      layer: layer of the features.
      data: images and labels.
      config: has `mean`, `known`, `classes`, `starts`, `groups` and `seed`.

    Returns:
      Mean-subtracted pixels (starts * K, H, W, C), the first clusters of all classes first.
    """
    represent, mean = network.features(model.net, layer), np.asarray(config.mean, np.float32)
    own = {k: [] for k in repeated_classes(model, config)}
    data = datasets.numbered(data, model.classes)
    for image, label in (data[i] for i in range(config.known)):
        if label in own:
            own[label].append(image)
    means = []
    for images in map(model.preprocess, own.values()):
        features = [network.call(represent, images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
        _, members = dgn_am.facets(jnp.concatenate(features), config.starts, AVERAGED, seed=config.seed)
        means.append(model.input.from_network(images[members].mean(1)) - mean)
    return jnp.stack(means, 1).reshape(-1, *images.shape[1:])


def repeated_classes(model: LoadedModel, config: Any) -> np.ndarray:
    """`config.classes`, or else all classes, repeated `config.starts` times.

    Raises ValueError if the starts do not divide into `config.groups` groups of equal size.
    """
    if config.starts % config.groups:
        raise ValueError(f"Expected a number of starts that is a multiple of {config.groups}, got {config.starts}.")
    return np.tile(config.classes or np.arange(len(model.classes)), config.starts)


def class_target(classes: np.ndarray, form: Form, strong: float) -> Target:
    """The logits of classes, divided by a typical one, `strong`, if the form presupposes relative activations."""
    return targets.logit(classes) * (1 / strong) if form.relative_activation else targets.logit(classes)


def plan(name: str, forms: Mapping[str, Form], images: int, batch_size: int) -> list[dry_run.Step]:
    """The gradient steps of a dry run.

    Args:
      name: a registered network.
      forms: forms of activation maximisation by name.
      images: number of images for each form.
      batch_size: images that are optimised at once.

    Returns:
      One step of the plan for each form.
    """
    calls, target = dry_run.calls(images, batch_size), targets.logit(0)
    return [
        dry_run.gradient(name, min(batch_size, images), calls * form.step_count, target, f"steps, {label}")
        for label, form in forms.items()
    ]


def forms(config: Any) -> dict[str, Form]:
    """The forms of a configuration's `baselines` that are not None, by their names in figures, with its `steps`."""
    found = {name.replace("_", " "): form for name, form in vars(config.baselines).items() if form is not None}
    return {name: shortened(form, config.steps) for name, form in found.items()}


def shortened(form: AnyForm, steps: float) -> AnyForm:
    """A form of optimisation with its numbers of steps, or those of its stages, multiplied by `steps`; at least one.

    >>> from configs.maximisation_baselines import PAPERS
    >>> shortened(PAPERS.TV, 0.001).steps
    (1, 0)
    """
    if hasattr(form, "stages"):
        return dataclasses.replace(form, stages=tuple(shortened(stage, steps) for stage in form.stages))
    own = form.steps if isinstance(form.steps, tuple) else (form.steps,)
    numbers = tuple(number and max(1, round(number * steps)) for number in own)
    return dataclasses.replace(form, steps=numbers if isinstance(form.steps, tuple) else numbers[0])
