"""Inversion of image representations by a trained network, in one forward pass.

Dosovitskiy & Brox 2016, Inverting visual representations with convolutional networks, arXiv 1506.02753. The network
minimises the squared error of images (equation 2), so that it estimates the mean of all images with the given features,
where `inversion.invert` finds one of them.

>>> import flax.linen as nn
>>> module = nn.Sequential([nn.Dense(16), lambda x: x.reshape(-1, 4, 4, 1)])
>>> represent = lambda x: x.reshape(len(x), -1)
>>> images, key = jax.random.normal(jax.random.key(0), (8, 4, 4, 1)), jax.random.key(1)
>>> inverse = fit(represent, images, module, steps=2, key=key)
>>> inverse(represent(images)).shape
(8, 4, 4, 1)
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network
from xai_jax.core.arguments import as_floats
from xai_jax.core.precision import wide
from xai_jax.core.pytrees import as_partial
from xai_jax.synthesis import optimize, updates

BATCH_SIZE = 32  # XLA's gradients with respect to filters are slow on CPUs for more


def fit(
    represent: Callable[[Array], Array],
    images: Array,
    module: Any,
    *,
    steps: int,
    key: Array,
    mean: float | Sequence[float] = 0.0,
    learning_rate: float = 1e-3,
    checkpoint: Path | None = None,
) -> Partial:
    """Trains a network that reconstructs images from their features; returns it as a function of features.

    Adam with a learning rate that decays linearly to zero, on batches of `BATCH_SIZE` images drawn with replacement.
    Images are divided by their standard deviation, features by their root mean square.

    Args:
      represent: images (N, H, W, C) -> features (N, ...).
      images: training images (M, H, W, C), which stay on the device: floats, or uint8, which take a quarter of it.
      module: a Linen module, features (N, ...) -> images (N, H, W, C).
      steps: number of training steps.
      key: for the initial weights and the batches.
      mean: colour that is subtracted from a batch of the images, one value for each channel or for all.
      learning_rate: of the first step.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      Features (N, ...) -> images (N, H, W, C), as a `Partial`.

    Raises:
      ValueError: if the module gives images of another shape.
      DivergedError: if the learning rate is too large.
    """
    represent, mean = as_partial(represent), as_floats(mean, "a mean colour")
    is_packed = getattr(images, "dtype", None) == np.uint8
    images = jnp.asarray(images) if is_packed else as_floats(images, "training images (M, H, W, C)")
    network.check_images(jax.ShapeDtypeStruct(images.shape, jnp.float32) if is_packed else images)
    setting_key, running = jax.random.split(key)
    some = _centred(images[:256], mean)
    features, scale = wide(network.call(represent, some)), some.std()
    strength = jnp.maximum(jnp.sqrt((features**2).mean()), jnp.finfo(jnp.float32).tiny)
    variables = _call(Partial(module.init), setting_key, features[:1])
    made = jax.eval_shape(module.apply, variables, features[:1]).shape
    if made != (1, *images.shape[1:]):
        raise ValueError(f"Expected a module that makes images {images.shape[1:]} of these features, got {made[1:]}.")
    objective = Partial(_loss, Partial(module.apply), represent, images, mean, strength, scale)
    one = jax.tree.map(lambda leaf: leaf[None], variables)
    rule = updates.adam(learning_rate, steps)
    found = optimize.minimise(objective, one, rule, steps, running, checkpoint=checkpoint).x
    return Partial(_invert, Partial(module.apply), _only(found), strength, scale)


@jax.jit
def _call(function, *args):
    return function(*args)


def _only(trees):
    return jax.tree.map(lambda leaf: leaf[0], trees)


def _invert(apply, variables, strength, scale, features):
    return scale * apply(variables, wide(features) / strength)


def _centred(images, mean):
    return images.astype(jnp.float32) - mean


def _loss(apply, represent, images, mean, strength, scale, key, variables):
    x = _centred(images[jax.random.randint(key, (BATCH_SIZE,), 0, len(images))], mean)
    found = _invert(apply, _only(variables), strength, scale, wide(represent(x)))
    return {"distance": (((found - x) / scale) ** 2).mean()[None]}
