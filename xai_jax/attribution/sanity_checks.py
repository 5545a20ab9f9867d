"""Sanity checks: is an attribution sensitive to the weights and to the target class? (Adebayo et al. 2018)

>>> import jax.numpy as jnp
>>> from xai_jax.attribution import saliency
>>> def model(weights, x, relu=jax.nn.relu, tap=network.keep):
...     return relu(x[:, 0, 0] @ weights)
>>> x, net = jnp.arange(48.0).reshape(1, 4, 4, 3), jax.tree_util.Partial(model, jnp.eye(3))
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from scipy import stats
from skimage.metrics import structural_similarity

from xai_jax.attribution.weight_layers import by_layer
from xai_jax.core import finite, network, targets
from xai_jax.core.arguments import check_array, check_method
from xai_jax.core.network import Network
from xai_jax.core.targets import Target

Method = Callable[..., Array]


class Similarity(NamedTuple):
    """Similarity of two attributions of each image: (N,) each, 1 for equal maps."""

    spearman: np.ndarray  # rank correlation of the signed values
    spearman_abs: np.ndarray  # rank correlation of the absolute values
    ssim: np.ndarray  # structural similarity of the absolute maps, scaled to [0, 1]


def similarity(a: Array, b: Array) -> Similarity:
    """Compares attributions (N, H, W, C) of the same images (Adebayo et al. 2018, section 3).

    Values, or absolute values, are summed over channels first, as maps are displayed. A constant map has no ranks: its
    correlations are NaN.

    >>> maps = np.arange(48.0).reshape(1, 4, 4, 3)
    >>> similarity(maps, -maps).spearman.round(6).tolist()
    [-1.0]
    """
    for each in (a, b):
        check_array(each, "attributions (N, H, W, C)")
    if a.shape != b.shape or len(a.shape) != 4:
        raise ValueError(f"Expected two attributions (N, H, W, C) of one shape, got {a.shape} and {b.shape}.")
    if (bad := finite.first_bad([np.asarray(a), np.asarray(b)])) is not None:
        raise ValueError(f"Expected finite attributions, got NaN or infinity for image {bad}.")
    pairs = [(np.asarray(p, np.float64), np.asarray(q, np.float64)) for p, q in zip(a, b, strict=True)]
    return Similarity(
        np.array([rank_correlation(p.sum(-1), q.sum(-1)) for p, q in pairs]),
        np.array([rank_correlation(abs(p).sum(-1), abs(q).sum(-1)) for p, q in pairs]),
        np.array([_ssim(p, q) for p, q in pairs]),
    )


def cascading_randomisation(
    method: Method,
    net: Network,
    x: Array,
    target: Target,
    key: Array | None = None,
    depth: int = 1,
    batch_size: int | None = None,
) -> dict[str, Similarity]:
    """Similarity to the original attribution as layers are randomised top-down (Adebayo et al. 2018, section 3.1).

    An attribution that stays similar to the end depends on the image alone.

    >>> similarities = cascading_randomisation(saliency.gradient, net, x, targets.logit(0))
    >>> {layer: found.spearman.shape for layer, found in similarities.items()}
    {'0': (1,)}

    Args:
      method: `method(net, x, target, batch_size=...) -> attributions`.
      net: a network whose weights are leaves of its pytree.
      x: images (N, H, W, C) in the network's input range.
      target: the target to explain.
      key: a JAX random key; None for `jax.random.key(0)`.
      depth: number of path components that identify a layer, as in `randomise`.
      batch_size: number of images processed at once.

    Returns:
      Similarities by layer, in the order of randomisation; each layer is randomised in addition to all before it.

    Raises:
      ValueError: the network has no weights to randomise.
    """
    check_method(method)
    original = method(net, x, target, batch_size=batch_size)
    randomised = randomise(net, x, key, depth)
    return {name: similarity(original, method(n, x, target, batch_size=batch_size)) for name, n in randomised.items()}


def random_logit(
    method: Method, net: Network, x: Array, classes: Array, key: Array | None = None, batch_size: int | None = None
) -> Similarity:
    """Similarity of the attributions of given classes and of random other classes (Sixt et al. 2020, section 5).

    Each class has one random other class, so that the result of an image does not depend on its position among others.

    >>> random_logit(saliency.gradient, net, x, [0]).ssim.shape
    (1,)

    Args:
      method: `method(net, x, target, batch_size=...) -> attributions`.
      net: the network.
      x: images (N, H, W, C) in the network's input range.
      classes: one class for all images, or (N,).
      key: a JAX random key; None for `jax.random.key(0)`.
      batch_size: number of images processed at once.

    Returns:
      The similarity for each image; values near 1 mean that the attribution is not class-discriminative.

    Raises:
      ValueError: the network has fewer than two classes, or the number of classes is not that of the images.
    """
    check_method(method)
    network.check_images(x)
    logits = network.abstract(net, x)[0]
    if logits.shape[1] < 2:
        raise ValueError(f"Expected a network with at least two classes, it has {logits.shape[1]}.")
    classes = np.asarray(classes)
    if classes.size != 1 and classes.shape != x.shape[:1]:
        raise ValueError(f"Expected one class for all or one for each of {x.shape[0]} images, got {classes.size}.")
    classes = np.broadcast_to(classes, x.shape[0])
    targets.check(net, x, targets.logit(classes))
    others = _generator(key).integers(1, logits.shape[1], logits.shape[1])  # one for each class
    other = (classes + others[classes]) % logits.shape[1]
    maps = [method(net, x, targets.logit(k), batch_size=batch_size) for k in (classes, other)]
    return similarity(*maps)


def randomise(net: Network, x: Array, key: Array | None = None, depth: int = 1) -> dict[str, Network]:
    """Networks with weights randomised from the top layer alone down to all layers.

    The entries of each array are permuted, which keeps their distribution.

    >>> sorted(randomise(net, x)["0"].args[0].ravel().tolist()) == sorted(jnp.eye(3).ravel().tolist())
    True

    Args:
      net: a network whose weights are leaves of its pytree.
      x: images (N, H, W, C) to trace with.
      key: a JAX random key; None for `jax.random.key(0)`.
      depth: weights whose paths in the pytree begin with the same `depth` names form a layer; without names, or where
        other weights are applied between them, each kernel does with its bias and normalisation.

    Returns:
      `{layer: network}` from the last layer that the forward pass applies to the first.

    Raises:
      ValueError: the weights are not leaves of a pytree.
    """
    net = network.as_network(net)
    network.abstract(net, x)  # refuses images that it cannot read
    layers = by_layer(net, x, depth)
    if not layers:
        raise ValueError(
            "Expected a network whose weights are leaves of a pytree, found none. Usual cause: a closure over NumPy "
            "arrays; bind them with jax.tree_util.Partial(module.apply, variables) or adapt.from_function(f, weights)."
        )
    values, tree = jax.tree.flatten(net)
    result = {}
    for name in reversed(layers):
        for i in layers[name]:
            values[i] = _generator(key, i).permutation(np.ravel(values[i])).reshape(np.shape(values[i]))
        result[name] = jax.tree.unflatten(tree, values)
    return result


def _generator(key, *stream):
    """A NumPy generator seeded by a JAX key: permutations of weights are drawn on the host."""
    words = [0] if key is None else np.ravel(jax.random.key_data(key)).tolist()
    return np.random.default_rng([functools.reduce(lambda high, low: high << 32 | low, words), *stream])


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's correlation of all values of two arrays; NaN where one is constant.

    >>> rank_correlation([1, 2, 4], [0, 3, 9])
    1.0
    """
    first, second = np.ravel(first), np.ravel(second)
    return float(stats.spearmanr(first, second).statistic) if np.ptp(first) and np.ptp(second) else np.nan


def _ssim(a, b):
    a, b = (abs(m).sum(-1) for m in (a, b))
    a, b = (m / m.max() if m.max() else m for m in (a, b))
    window = min(7, *a.shape) - (min(7, *a.shape) + 1) % 2  # odd, and no larger than the map
    return float(structural_similarity(a, b, data_range=1.0, win_size=window))
