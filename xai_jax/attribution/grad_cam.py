"""Gradient-weighted class activation maps (Selvaraju et al. 2017).

>>> net = lambda x, relu=jax.nn.relu, tap=network.keep: tap("relu1", relu(x)).sum((1, 2))
>>> x, target = jnp.ones((1, 4, 4, 3)), targets.logit(2)
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.core import network, targets
from xai_jax.core.batching import chunked
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import wide
from xai_jax.core.targets import Target


def grad_cam(net: Network, x: Array, target: Target, layer: str, batch_size: int | None = None) -> Array:
    """Rectified sum of a layer's maps weighted by their mean gradients (Selvaraju et al. 2017, eq. 1 and 2).

    >>> float(grad_cam(net, x, target, "relu1")[0, 0, 0, 0])
    1.0

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range, or signals (N, 1, T, C) or (N, T, 1, C).
      target: the target to explain.
      layer: name of an activation (N, h, w, C), or (N, t, C) of signals, on which the target depends.
      batch_size: number of images processed at once; None: by the device's memory.

    Returns:
      Non-negative attributions (N, H, W, C), interpolated bilinearly, equal in all channels.

    Raises:
      ValueError: images, network and target do not match, the network ends in a softmax, the layer has no maps, or the
        target does not depend on it.
    """
    targets.check(net, x, target)
    network.require(layer, shapes := network.abstract(net, x)[1])
    _check_maps(layer, shapes[layer].shape, x.shape)
    targets.check_dependence(net, x, target, layer)
    return chunked(functools.partial(_grad_cam, layer=layer), net, x, target, batch_size)


def _check_maps(layer, shape, image):
    if len(shape) == 3 and 1 not in image[1:3]:
        raise ValueError(
            f"Expected a layer with maps (N, h, w, C), {quoted(layer)} is {shape}: which of its positions is where "
            f"in images of {image[1:3]} is unknown. Usual cause: tokens of a transformer: tap their maps instead."
        )
    if len(shape) not in (3, 4):
        raise ValueError(f"Expected a layer with maps (N, h, w, C) or (N, t, C), {quoted(layer)} is {shape}.")


@functools.partial(jax.jit, static_argnames="layer")
def _grad_cam(net, x, target, layer):
    maps = network.features(net, layer)(x)

    def total(delta):
        values, logits = targets.evaluate(network.perturb(net, layer, delta), x, target)
        return values.sum(), logits

    gradients, logits = jax.grad(total, has_aux=True)(jnp.zeros_like(maps))
    maps, gradients = wide((maps, gradients))
    weights = gradients.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
    cam = jax.nn.relu((weights * maps).sum(axis=-1, keepdims=True))
    if cam.ndim == 3:  # of a signal, along the axis that has its samples
        cam = jnp.expand_dims(cam, 1 if x.shape[1] == 1 else 2)
    return jnp.broadcast_to(jax.image.resize(cam, (*x.shape[:3], 1), "bilinear"), x.shape), logits
