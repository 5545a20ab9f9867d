"""Refuses networks in which the logits of an image depend on the other images of its batch."""

from typing import Any

import jax

from xai_jax.core.network import keep
from xai_jax.core.per_image import like


def require(net: Any, x: Any) -> None:
    """Raises ValueError if a network that seems to mix rows of `x` does so for another number of images, too.

    An axis of weights or of pixels may have the size of the batch by coincidence, but not the sizes of two batches.

    >>> from xai_jax import adapt
    >>> net = adapt.from_function(lambda x: x.mean((1, 2)) / x.mean())
    >>> require(net, jax.ShapeDtypeStruct((2, 8, 8, 3), "float32"))
    Traceback (most recent call last):
    ValueError: Expected a model in evaluation mode, whose logits for an image do not depend on the rest of the ...

    Args:
      net: a network made by `xai_jax.adapters.adapt`.
      x: images, or their shape and dtype.

    Raises:
      ValueError: the network mixes rows.
    """
    n, runs = x.shape[0] + 1, []

    def run(net, x):
        logits, found, _ = net.run(x, jax.nn.relu, keep)
        runs.append(found.mixes and logits.shape[:1] == (n,))

    more = jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype)
    try:
        jax.eval_shape(run, like(net, n), more)
    except Exception:  # a model of one number of images: it cannot be known
        return
    if runs[0]:
        raise ValueError(
            "Expected a model in evaluation mode, whose logits for an image do not depend on the rest of the batch: "
            "pass train=False, is_training=False, or what it calls it. Got sums or random numbers over it, as in "
            "batch normalisation and dropout in training mode."
        )
