"""Inversion of image representations by optimisation, and caricatures.

Mahendran & Vedaldi 2015, Understanding deep image representations by inverting them (`CVPR`), and 2016, Visualizing
deep convolutional neural networks using natural pre-images (`IJCV`). Where their code differs from the papers, this
follows the code, which made the figures.

>>> net = Partial(lambda x, relu=jax.nn.relu, tap=network.keep: tap("relu1", relu(x - 1)).mean((1, 2)))
>>> represent, images, key = of_layer(net, "relu1"), 40 * jnp.ones((2, 4, 4, 3)), jax.random.key(0)
>>> target = represent(images)
>>> result = invert(represent, target, (4, 4, 3), key, CVPR(phases=((1.0, 5),)))
>>> exaggerated = caricature(represent, images, key, IJCV(steps=(5, 0)))
>>> result.x.shape, exaggerated.x.shape
((2, 4, 4, 3), (2, 4, 4, 3))
>>> distance(represent, target, jnp.ones(()), images).tolist(), inner_product(represent, target, images).tolist()
([0.0, 0.0], [1.0, 1.0])
>>> error(represent, images, target, others=jnp.stack([target[0], 0 * target[0]])).tolist()
[0.0, 0.0]

Images are pixels with the mean subtracted, in [-128, 128] roughly, which all constants of the papers presuppose.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network
from xai_jax.core.arguments import as_floats
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import highest, wide
from xai_jax.core.pytrees import as_partial
from xai_jax.io.errors import first_line
from xai_jax.synthesis import optimize
from xai_jax.synthesis.inversion_forms import CVPR, IJCV, sum_each
from xai_jax.synthesis.optimize import Result

__all__ = ["CVPR", "IJCV", "caricature", "distance", "error", "inner_product", "invert", "of_layer"]

Represent = Callable[[Array], Array]


class _Match(NamedTuple):
    """The objective of inversion: the distance to target representations."""

    represent: Represent
    target: Array
    mask: Array

    def terms(self, x):
        return {"features": distance(self.represent, self.target, self.mask, x)}


class _Exaggerate(NamedTuple):
    """The objective of caricatures: the inner product with target representations, to be maximised."""

    represent: Represent
    target: Array

    def terms(self, x):
        return {"features": -inner_product(self.represent, self.target, x)}


def of_layer(net: Network, layer: str, to_network: Callable[[Array], Array] = optimize.identity) -> Partial:
    """A layer as a function of mean-subtracted pixels (N, H, W, C), which `to_network` maps to the network's input.

    For networks of `models.load` that is `model.from_centred(mean)`. Raises ValueError on the first call for an unknown
    layer.
    """
    return Partial(_layer, network.features(net, layer), as_partial(to_network))


def _layer(features, to_network, x):
    return wide(features(to_network(x)))


def invert(
    represent: Represent,
    target: Array,
    shape: tuple[int, int, int],
    key: Array,
    form: CVPR | IJCV = IJCV(),
    mask: Array | None = None,
    start: Array | None = None,
    checkpoint: Path | None = None,
) -> Result:
    """Images whose representations approximate given ones (pre-images), from noise or from `start`.

    Args:
      represent: a differentiable function of images, such as `of_layer` gives.
      target: representations (N, ...); repeat one for several pre-images of it.
      shape: height, width and channels of the images.
      key: for the initial noise, and for the jitter of `IJCV`.
      form: objective, regularisers and optimiser of one of the two papers.
      mask: weights of the representation's components, of the shape of one representation or broadcast to it (CVPR,
        Figs. 9 and 10).
      start: initial images (N, *shape), enlarged by the form's jitter less one pixel.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      Images (N, *shape), and the history of the terms "features", "norm" and "total_variation".

    Raises:
      ValueError: for a target that is zero under the mask or of another shape, and for a mask that does not fit.
      DivergedError: if the learning rate is too large.
    """
    if not isinstance(form, CVPR | IJCV):
        raise TypeError(f"Expected a form of the inversion, such as IJCV(), got {quoted(form)}.")
    represent = as_partial(represent)
    target, mask = _checked(represent, target, shape, mask)
    noise_key, run_key = jax.random.split(key)
    size = len(target), shape[0] + form.padding, shape[1] + form.padding, shape[2]
    x = form.initial_noise(noise_key, size) if start is None else as_floats(start, "initial images")
    if x.shape != size:
        raise ValueError(f"Expected a start of shape {size}, got {x.shape}.")
    return form.minimise(Partial(_Match.terms, _Match(represent, target, mask)), x, run_key, checkpoint)


def caricature(
    represent: Represent, x: Array, key: Array, form: IJCV = IJCV(), checkpoint: Path | None = None
) -> Result:
    """Images in which the features that a representation finds in `x` are exaggerated (IJCV).

    Maximises the inner product with the positive part of the representation of `x`, see `inner_product`, under the
    priors of the form.

    Args:
      represent: a differentiable function of images.
      x: initial images (N, H, W, C).
      key: for the jitter.
      form: priors and optimiser; only the first of its `steps` are taken.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      Images (N, H, W, C); the term "features" of the history is -weight times the inner product.

    Raises:
      ValueError: for images of another shape than the representation takes, and where it is nowhere positive.
      DivergedError: if the learning rate is too large.
    """
    represent, x = as_partial(represent), as_floats(x, "images (N, H, W, C)")
    network.check_images(x)
    _output_shape(represent, x.shape)
    target = jax.nn.relu(wide(network.call(represent, x)))
    _refuse_zeros(target, "positive somewhere, got none above zero", "dead features")
    return form.minimise_jittered(Partial(_Exaggerate.terms, _Exaggerate(represent, target)), x, key, checkpoint)


def _checked(represent, target, shape, mask):
    target = as_floats(target, "representations (N, ...)")
    if not len(target):
        raise ValueError("Expected one representation or more, got none.")
    expected = _output_shape(represent, (len(target), *shape))
    if expected != target.shape:
        raise ValueError(f"Expected representations of shape {expected}, as images {shape} have, got {target.shape}.")
    try:
        mask = jnp.broadcast_to(jnp.asarray(1.0 if mask is None else mask, jnp.float32), target.shape[1:])
    except ValueError:
        raise ValueError(f"Expected a mask for representations {target.shape[1:]}, got {np.shape(mask)}.") from None
    _refuse_zeros(mask * target, "not all zero, got zeros", "dead features, or a mask that hides all that is not zero")
    return target, mask


def _output_shape(represent, shape):
    """The shape of the representations of images (N, H, W, C)."""
    try:
        return jax.eval_shape(represent, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    except Exception as error:  # flax and lax each have their own
        raise ValueError(
            f"Expected a shape (height, width, channels) of images that the representation takes, got {shape[1:]}. It "
            f"said: {first_line(error)}"
        ) from error


def _refuse_zeros(target, what, causes):
    empty = np.flatnonzero(np.asarray(sum_each(target**2)) == 0).tolist()
    if empty:
        raise ValueError(f"Expected representations that are {what} in number {empty}. Usual causes: {causes}.")


def distance(represent: Represent, target: Array, mask: Array, x: Array) -> Array:
    """Normalised squared distance ||mask (represent(x) - target)||^2 / ||mask target||^2, (N,) (CVPR).

    Args:
      represent: a function of images.
      target: representations (N, ...).
      mask: weights, broadcast to the representations.
      x: images (N, H, W, C).

    Returns:
      One distance for each image, 0 for a perfect match.

    Raises:
      TypeError: for shapes that do not broadcast.
    """
    return sum_each((mask * (wide(represent(x)) - target)) ** 2) / sum_each((mask * target) ** 2)


def inner_product(represent: Represent, target: Array, x: Array) -> Array:
    """Inner product of representations with target ones over the target's squared norm, (N,): 1 for a match (IJCV)."""
    return sum_each(wide(represent(x)) * target) / sum_each(target**2)


@highest()
def error(represent: Represent, x: Array, target: Array, others: Array | None = None) -> Array:
    """Reconstruction error, normalised by the mean squared distance between representations of images (CVPR).

    Args:
      represent: a function of images.
      x: images (N, H, W, C).
      target: their target representations (N, ...).
      others: representations (M, ...) of different images for the normalisation, `target` by default. Each is paired
        with itself, too, as in the authors' code.

    Returns:
      One error for each image: 0 for a perfect match, 1 for the mean distance between two images.

    Raises:
      TypeError: for representations of different shapes.
    """
    target, others = wide((target, target if others is None else others))
    between = 2 * sum_each((others - others.mean(0)) ** 2).mean()  # the mean over all pairs, without making them
    return sum_each((wide(network.call(represent, x)) - target) ** 2) / between
