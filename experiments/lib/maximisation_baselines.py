"""Preferred inputs by priors that people thought of, for experiments that compare them with each other and with DGN."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.lib import dry_run, generator_codes
from experiments.nguyen2016 import prior_comparison
from xai_jax import activation_maximisation, dgn_am, models, network, targets
from xai_jax.core.targets import Target
from xai_jax.data.datasets import Dataset
from xai_jax.models import LoadedModel
from xai_jax.synthesis.activation_maximisation import Form

AVERAGED = 15  # images per mean image, as in the paper's code
BATCH_SIZE = 100  # images whose features are computed at once


def found(
    model: LoadedModel, classes: np.ndarray, form: Form, config: Any, begin: Array | None = None
) -> dict[str, np.ndarray]:
    """Pixels of what a form finds for the classes' logits, from `begin` or else from noise, and all logits of it."""
    shape = model.preprocess([np.zeros((8, 8, 3), np.uint8)]).shape[1:]
    begin = starts(form, config.mean, (len(classes), *shape), config.seed) if begin is None else begin
    aim = target(classes, form, config.strong)
    return prior_comparison.pictured(model, preferred(model, config.mean, aim, begin, form, config.batch, config.seed))


def preferred(
    model: LoadedModel,
    mean: tuple[float, ...],
    target: Target,
    starts: Array,
    form: Form,
    batch: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Pictures (N, H, W, C) from `starts`, pixels less the mean, and the network's logits of them, (N, K).

    So many images are optimised at once as `batch` says.
    """
    (deviation, shift), parts = models.units(model, mean), []
    net, black = activation_maximisation.of_pixels(model.net, deviation, shift), -np.asarray(mean, np.float32)
    for start in range(0, len(starts), batch):
        rows, key = slice(start, start + batch), jax.random.fold_in(jax.random.key(seed), start)
        x = activation_maximisation.maximise(net, target.rows(rows), starts[rows], key, form, black, 255 + black).x
        images = generator_codes.pictured(model, (x + shift) / deviation)
        parts.append((images, network.call(model.net, images)))
    images, logits = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {"images": images, "logits": logits}


def starts(form: Form, mean: tuple[float, ...], shape: tuple[int, ...], seed: int) -> Array:
    """Images (N, H, W, C), pixels less the mean, for the form to start from: noise."""
    return form.noise(jax.random.key(seed), shape, -np.asarray(mean, np.float32))


def mean_images(model: LoadedModel, layer: str, data: Dataset, config: Any) -> Array:
    """Mean images (starts * K, H, W, C) of clusters of each class's images, pixels less the mean, to start from.

    Of the first `config.known` images of the data those of a class are clustered by their features, as `dgn_am.facets`
    does; in the paper by these after t-SNE. The first clusters of all classes come first.
    """
    represent, (deviation, shift) = network.features(model.net, layer), models.units(model, config.mean)
    own = {k: [] for k in prior_comparison.classes(model, config)}
    for image, label in (data[i] for i in range(config.known)):
        if label in own:
            own[label].append(image[..., 0] if image.shape[-1] == 1 else image)
    means = []
    for images in map(model.preprocess, own.values()):
        features = [network.call(represent, images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
        _, members = dgn_am.facets(jnp.concatenate(features), config.starts, AVERAGED, seed=config.seed)
        means.append(images[members].mean(1) * deviation - shift)
    return jnp.stack(means, 1).reshape(-1, *images.shape[1:])


def target(classes: np.ndarray, form: Form, strong: float) -> Target:
    """The classes' logits, divided by a typical one, `strong`, where the form presupposes relative activations."""
    return targets.logit(classes) * (1 / strong) if form.relative_activation else targets.logit(classes)


def plan(name: str, forms: Mapping[str, Form], images: int, batch: int) -> list[dry_run.Step]:
    """The gradients that all forms need for so many images of the network `name`."""
    module, variables, shape = models.abstract(name)
    x, calls = jax.ShapeDtypeStruct((min(batch, images), *shape), jnp.float32), -(-images // batch)

    def slope(variables, x):
        return jax.grad(lambda x: module.apply(variables, x)[:, 0].sum())(x)

    return [
        dry_run.Step(f"steps, {name}", slope, (variables, x), calls * form.step_count) for name, form in forms.items()
    ]


def forms(config: Any) -> dict[str, Form]:
    """The forms that a configuration's `rivals` has, by their names in figures."""
    return {name.replace("_", " "): form for name, form in vars(config.rivals).items() if form is not None}
