"""Activation maximisation with hand-designed priors, for experiments that compare them with each other and DGN-AM."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.lib import dry_run, generator_codes
from xai_jax import activation_maximisation, dgn_am, models, network, targets
from xai_jax.core.targets import Target
from xai_jax.data.datasets import Dataset
from xai_jax.models import LoadedModel
from xai_jax.synthesis.activation_maximisation import Form

AVERAGED = 15  # images per mean image, as in the paper's code
BATCH_SIZE = 100  # images whose features are computed at once


def find(
    model: LoadedModel, classes: np.ndarray, form: Form, config: Any, begin: Array | None = None
) -> dict[str, np.ndarray]:
    """Pixels of what a form finds for the classes' logits, from `begin` or else from noise, and all logits of it."""
    shape = model.preprocess([np.zeros((8, 8, 3), np.uint8)]).shape[1:]
    begin = initial_images(form, config.mean, (len(classes), *shape), config.seed) if begin is None else begin
    target = class_target(classes, form, config.strong)
    found = maximise(model, config.mean, target, begin, form, config.batch_size, config.seed)
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
    """Pictures (N, H, W, C) from `starts`, pixels less the mean, and the network's logits of them, (N, K).

    So many images are optimised at once as `batch_size` says.
    """
    (deviation, shift), parts = models.units(model, mean), []
    net, black = activation_maximisation.of_pixels(model.net, deviation, shift), -np.asarray(mean, np.float32)
    for start in range(0, len(starts), batch_size):
        rows, key = slice(start, start + batch_size), jax.random.fold_in(jax.random.key(seed), start)
        x = activation_maximisation.maximise(net, target.rows(rows), starts[rows], key, form, black, 255 + black).x
        images = generator_codes.quantised(model, (x + shift) / deviation)
        parts.append((images, network.call(model.net, images)))
    images, logits = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {"images": images, "logits": logits}


def initial_images(form: Form, mean: tuple[float, ...], shape: tuple[int, ...], seed: int) -> Array:
    """Images (N, H, W, C), pixels less the mean, for the form to start from: noise."""
    return form.noise(jax.random.key(seed), shape, -np.asarray(mean, np.float32))


def mean_images(model: LoadedModel, layer: str, data: Dataset, config: Any) -> Array:
    """Mean images (starts * K, H, W, C) of clusters of each class's images, pixels less the mean, to start from.

    Of the first `config.known` images of the data those of a class are clustered by their features, as `dgn_am.facets`
    does; in the paper by these after t-SNE. The first clusters of all classes come first.
    """
    represent, (deviation, shift) = network.features(model.net, layer), models.units(model, config.mean)
    own = {k: [] for k in repeated_classes(model, config)}
    for image, label in (data[i] for i in range(config.known)):
        if label in own:
            own[label].append(image[..., 0] if image.shape[-1] == 1 else image)
    means = []
    for images in map(model.preprocess, own.values()):
        features = [network.call(represent, images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
        _, members = dgn_am.facets(jnp.concatenate(features), config.starts, AVERAGED, seed=config.seed)
        means.append(images[members].mean(1) * deviation - shift)
    return jnp.stack(means, 1).reshape(-1, *images.shape[1:])


def repeated_classes(model: LoadedModel, config: Any) -> np.ndarray:
    """`config.classes`, or else all classes, repeated `config.starts` times.

    Raises ValueError if the starts do not divide into `config.groups` groups of equal size.
    """
    if config.starts % config.groups:
        raise ValueError(f"Expected a number of starts that is a multiple of {config.groups}, got {config.starts}.")
    return np.tile(config.classes or np.arange(len(model.classes)), config.starts)


def class_target(classes: np.ndarray, form: Form, strong: float) -> Target:
    """The classes' logits, divided by a typical one, `strong`, where the form presupposes relative activations."""
    return targets.logit(classes) * (1 / strong) if form.relative_activation else targets.logit(classes)


def plan(name: str, forms: Mapping[str, Form], images: int, batch_size: int) -> list[dry_run.Step]:
    """The gradients that all forms need for so many images of the network `name`."""
    module, variables, shape = models.abstract(name)
    x, calls = jax.ShapeDtypeStruct((min(batch_size, images), *shape), jnp.float32), -(-images // batch_size)

    def gradient(variables, x):
        return jax.grad(lambda x: module.apply(variables, x)[:, 0].sum())(x)

    return [
        dry_run.Step(f"steps, {name}", gradient, (variables, x), calls * form.step_count)
        for name, form in forms.items()
    ]


def forms(config: Any) -> dict[str, Form]:
    """The forms of a configuration's `baselines` that are not None, by their names in figures."""
    return {name.replace("_", " "): form for name, form in vars(config.baselines).items() if form is not None}
