"""Quality of attributions: deletion and insertion curves, infidelity, and the sanity checks.

>>> net = lambda x, relu=jax.nn.relu, tap=network.keep: relu(x).sum((1, 2))
>>> x, target = jnp.ones((2, 4, 4, 3)), targets.logit(0)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax.attribution.sanity_checks import Similarity as Similarity
from xai_jax.attribution.sanity_checks import cascading_randomisation as cascading_randomisation
from xai_jax.attribution.sanity_checks import random_logit as random_logit
from xai_jax.attribution.sanity_checks import randomise as randomise
from xai_jax.attribution.sanity_checks import similarity as similarity
from xai_jax.core import finite, network, targets
from xai_jax.core.arguments import check_amount, check_array, check_count, is_integer
from xai_jax.core.batching import chunked, like_images
from xai_jax.core.loops import fold
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import wide, wide_dtype
from xai_jax.core.targets import Target


class Curve(NamedTuple):
    """The target as a function of the fraction of pixels removed or inserted."""

    fractions: np.ndarray  # (steps + 1,), from 0 to 1
    values: np.ndarray  # (N, steps + 1)
    area: np.ndarray  # (N,), by the trapezoidal rule


def deletion(
    net: Network,
    x: Array,
    attributions: Array,
    target: Target,
    steps: int = 32,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Curve:
    """Target as pixels are replaced by `fill` in decreasing order of attribution (Petsiuk et al. 2018, section 4.1).

    Under a faithful attribution a probability decreases fast: small area under the curve.

    >>> deletion(net, x, x, target, steps=2).values[0].tolist()
    [16.0, 8.0, 0.0]

    Args:
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      attributions: (N, H, W, C); they are summed over channels. Ties are removed in row-major order.
      target: the target, usually `targets.probability` or, for one logit or several labels, `targets.sigmoid`.
      steps: number of steps from the whole image to none.
      fill: what replaces removed pixels; broadcasts to `x`: a number, a pixel (C,), or images such as blurred copies.
      batch_size: number of images processed at once; None: by the device's memory.

    Returns:
      The curve of each image.

    Raises:
      ValueError: the attributions are not finite or not shaped like the images, the fill does not broadcast to them,
        or there are more steps than pixels.
    """
    return _curve(net, x, attributions, target, steps, fill, batch_size, removing=True)


def insertion(
    net: Network,
    x: Array,
    attributions: Array,
    target: Target,
    steps: int = 32,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Curve:
    """Target as pixels are inserted into `fill` in decreasing order of attribution (Petsiuk et al. 2018, section 4.1).

    Under a faithful attribution a probability increases fast: large area under the curve.

    >>> insertion(net, x, x, target, steps=4).area.tolist()
    [8.0, 8.0]

    Args, Returns, Raises: as in `deletion`.
    """
    return _curve(net, x, attributions, target, steps, fill, batch_size, removing=False)


def infidelity(
    net: Network,
    x: Array,
    attributions: Array,
    target: Target,
    samples: int = 64,
    noise: float = 0.2,
    key: Array | None = None,
    batch_size: int | None = None,
) -> Array:
    """Expected squared error of the predicted effect of input noise (Yeh et al. 2019, definition 2.1).

    For perturbations I ~ N(0, noise^2): E[(sum(I * attributions) - (f(x) - f(x - I)))^2], which is 0 for the gradient
    of a linear network.

    >>> maps = jnp.zeros_like(x).at[..., 0].set(1)  # the gradient
    >>> bool((infidelity(net, 9 + x, maps, target, samples=2) < 1e-6).all())
    True

    Args:
      net, x, target, batch_size: as in `deletion`.
      attributions: (N, H, W, C).
      samples: number of perturbations, the same for all images.
      noise: standard deviation of the perturbations, in units of the input.
      key: a JAX random key; None for `jax.random.key(0)`.

    Returns:
      The infidelity of each image, (N,).

    Raises:
      ValueError: the attributions are not finite or not shaped like the images, or samples or noise are not positive.
    """
    _check_attributions(x, attributions)
    check_count(samples, "samples")
    check_amount(noise, "noise")
    if not noise:
        raise ValueError("Expected noise > 0, got 0, which has no effect to predict.")
    keys = jax.random.split(jax.random.key(0) if key is None else key, samples)
    step = functools.partial(_infidelity, noise=noise, keys=keys)
    return chunked(step, net, x, target, batch_size, attributions.astype(wide_dtype(jnp.result_type(x))))


def _curve(net, x, attributions, target, steps, fill, batch_size, removing):
    _check_attributions(x, attributions)
    if not is_integer(steps) or not 1 <= steps <= x.shape[1] * x.shape[2]:
        raise ValueError(
            f"Expected between 1 and {x.shape[1] * x.shape[2]} steps, one pixel each, got {quoted(steps)}."
        )
    order = np.argsort(-wide(np.asarray(attributions)).sum(-1).reshape(x.shape[0], -1), axis=1, kind="stable")
    rank = np.argsort(order, axis=1).reshape(x.shape[:3]).astype(np.float32)
    fill = like_images(fill, x, "fill")
    fractions = np.linspace(0, 1, steps + 1)
    counts = np.array([round(fraction * x.shape[1] * x.shape[2]) for fraction in fractions], np.float32)
    step = functools.partial(_follow, counts=counts, removing=np.bool_(removing))
    values = np.asarray(chunked(step, net, x, target, batch_size, rank, fill))
    return Curve(fractions, values, np.trapezoid(values, fractions, axis=1))


def _follow(net, x, target, rank, fill, counts, removing):
    """The target for each number of pixels, (n, counts), and the first logits, or the first that are not finite."""
    _, (values, logits) = fold(_evaluate_masked, None, counts, net, x, target, rank, fill, removing)
    return values.T, _first_bad(logits)


@jax.jit
def _first_bad(logits):
    return logits[finite.not_finite(logits).any((1, 2)).argmax()]


def _evaluate_masked(carry, count, net, x, target, rank, fill, removing):
    hidden = (rank < count)[..., None] == removing
    return carry, wide(targets.evaluate(net, jnp.where(hidden, fill, x), target))


@jax.jit
def _infidelity(net, x, target, attributions, noise, keys):
    values, logits = targets.evaluate(net, x, target)

    def add(total, key):
        perturbation = noise * jax.random.normal(key, x.shape[1:], wide_dtype(x.dtype))
        moved = (wide(x) - perturbation).astype(x.dtype)
        if moved.dtype != perturbation.dtype:  # the perturbation after rounding
            perturbation = wide(x) - wide(moved)
        predicted = (perturbation * wide(attributions)).sum(axis=(-3, -2, -1))
        change = values - targets.evaluate(net, moved, target)[0]
        return total + (predicted - change) ** 2, None

    total, _ = jax.lax.scan(add, jnp.zeros_like(values), keys)
    return total / len(keys), logits


def _check_attributions(x, attributions):
    network.check_images(x)
    check_array(attributions, "attributions (N, H, W, C)")
    if attributions.shape != x.shape:
        raise ValueError(f"Expected attributions shaped like the images, {x.shape}, got {attributions.shape}.")
    if (bad := finite.first_bad(np.asarray(attributions))) is not None:
        raise ValueError(f"Expected finite attributions, got NaN or infinity for image {bad}.")
