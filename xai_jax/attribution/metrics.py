"""How good an explanation is: faithfulness curves, infidelity, and sanity checks.

A method is any `method(net, x, target, batch_size=...) -> attributions`; bind further arguments with
`functools.partial`. High scores of one measure do not make an explanation right; the sanity checks ask the least, that
a map depends on what the network has learned and on what it is asked.
"""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats
from skimage.metrics import structural_similarity

from xai_jax.core import network, targets
from xai_jax.core.batching import chunked
from xai_jax.core.network import Network
from xai_jax.core.targets import Target

Method = Callable[..., Array]


class Curve(NamedTuple):
    """Target as a function of the share of pixels removed or shown."""

    fractions: np.ndarray  # (steps + 1,), from 0 to 1
    values: np.ndarray  # (N, steps + 1)
    area: np.ndarray  # (N,), by the trapezoidal rule


class Similarity(NamedTuple):
    """How alike two attributions are, per image: (N,) each, 1 for equal maps."""

    spearman: np.ndarray  # rank correlation of the signed values
    spearman_abs: np.ndarray  # rank correlation of the absolute values
    ssim: np.ndarray  # structural similarity of the absolute maps, scaled to [0, 1]


def deletion(
    net: Network,
    x: Array,
    attributions: Array,
    target: Target,
    steps: int = 32,
    fill: float | Array = 0.0,
    batch_size: int | None = None,
) -> Curve:
    """Target while the most attributed pixels are replaced by `fill`, first things first (Petsiuk et al. 2018, 4.1).

    `attributions` (N, H, W, C) are summed over channels; `fill` broadcasts to `x`, a blurred copy for example. A
    faithful map makes a probability fall fast: small area. Ties are removed in row-major order.
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
    """Target while the most attributed pixels appear on `fill` (Petsiuk et al. 2018, 4.1); shapes as in `deletion`.

    A faithful map makes a probability rise fast: large area.
    """
    return _curve(net, x, attributions, target, steps, fill, batch_size, removing=False)


def infidelity(
    net: Network,
    x: Array,
    attributions: Array,
    target: Target,
    samples: int = 64,
    noise: float = 0.2,
    seed: int = 0,
    batch_size: int | None = None,
) -> Array:
    """Mean squared error of the map's forecast of what Gaussian noise does (Yeh et al. 2019, definition 2.1): (N,).

    Perturbations I ~ N(0, noise^2) are taken off the image: E[(sum(I * attributions) - (f(x) - f(x - I)))^2], 0 for
    the gradient of a linear network.
    """
    _check_attributions(x, attributions)
    if samples < 1 or noise <= 0:
        raise ValueError(f"Expected samples >= 1 and noise > 0, got {samples} and {noise}.")
    keys = jax.random.split(jax.random.key(seed), samples)
    per_image = jax.vmap(lambda k: jax.random.split(k, x.shape[0]), out_axes=1)(keys)
    step = functools.partial(_infidelity, noise=noise)
    return chunked(step, net, x, target, batch_size, jnp.asarray(attributions), per_image)


def similarity(a: Array, b: Array) -> Similarity:
    """Compares two attributions of the same images, both (N, H, W, C), as Adebayo et al. 2018 do (section 3).

    Values, or absolute values, are added up over channels first: what is compared are the maps one looks at. A
    constant map has no ranks: its correlations are NaN.
    """
    if a.shape != b.shape or len(a.shape) != 4:
        raise ValueError(f"Expected two attributions (N, H, W, C) of one shape, got {a.shape} and {b.shape}.")
    pairs = [(np.asarray(p, np.float64), np.asarray(q, np.float64)) for p, q in zip(a, b, strict=True)]
    return Similarity(
        np.array([_spearman(p.sum(-1), q.sum(-1)) for p, q in pairs]),
        np.array([_spearman(abs(p).sum(-1), abs(q).sum(-1)) for p, q in pairs]),
        np.array([_ssim(p, q) for p, q in pairs]),
    )


def cascading_randomisation(
    method: Method, net: Network, x: Array, target: Target, seed: int = 0, depth: int = 1, batch_size: int | None = None
) -> dict[str, Similarity]:
    """Similarity to the original map as layers are randomised from the top down (Adebayo et al. 2018, section 3.1).

    Images (N, H, W, C). Keys are the layers in the order they are randomised, each on top of all before it; `seed` and
    `depth` go to `randomise`. A map that stays similar to the end shows the image, not the network.
    """
    original = method(net, x, target, batch_size=batch_size)
    randomised = randomise(net, x, seed, depth)
    return {name: similarity(original, method(n, x, target, batch_size=batch_size)) for name, n in randomised.items()}


def random_logit(
    method: Method, net: Network, x: Array, classes: Array, seed: int = 0, batch_size: int | None = None
) -> Similarity:
    """Similarity of the maps of the classes (N,) and of other classes drawn at random (Sixt et al. 2020, section 5).

    A map that hardly changes does not say what speaks for the class.
    """
    logits = network.abstract(net, x)[0]
    if logits.shape[1] < 2:
        raise ValueError(f"Expected a network with at least two classes, it has {logits.shape[1]}.")
    classes = np.broadcast_to(np.asarray(classes), x.shape[0])
    other = (classes + np.random.default_rng(seed).integers(1, logits.shape[1], x.shape[0])) % logits.shape[1]
    maps = [method(net, x, targets.logit(k), batch_size=batch_size) for k in (classes, other)]
    return similarity(*maps)


def randomise(net: Network, x: Array, seed: int = 0, depth: int = 1) -> dict[str, Network]:
    """Networks with randomised weights, from the top layer alone down to all layers: `{layer: network}`.

    `x` (N, H, W, C): images to trace with. The entries of each array are permuted, which keeps their distribution and
    forgets what was learned. A layer is the arrays whose paths in the network's pytree begin with the same `depth`
    names; the order is that in which the forward pass reads them. Raises ValueError for a network whose weights are not
    leaves of a pytree.
    """
    net = network.as_network(net)
    leaves, tree = jax.tree_util.tree_flatten_with_path(net)
    names, layers = _layer_names([path for path, _ in leaves], depth), {}
    for i in _order_of_use(net, x):
        layers.setdefault(names[i], []).append(i)
    if not layers:
        raise ValueError(
            "Expected a network whose weights are leaves of a pytree, found none. Usual cause: a closure over weights; "
            "bind them with jax.tree_util.Partial(module.apply, variables) or adapt.from_function(f, weights)."
        )
    values, result = [value for _, value in leaves], {}
    for name in reversed(layers):
        for i in layers[name]:
            flat = np.ravel(values[i])
            values[i] = np.random.default_rng([seed, i]).permutation(flat).reshape(np.shape(values[i]))
        result[name] = jax.tree.unflatten(tree, values)
    return result


def _order_of_use(net, x):
    """Indices of the network's leaves in the order in which its equations first read them."""
    leaves, tree = jax.tree.flatten(net)
    closed = jax.make_jaxpr(lambda leaves, x: jax.tree.unflatten(tree, leaves)(x))(leaves, x)
    index = {v: i for i, v in enumerate(closed.jaxpr.invars[: len(leaves)])}
    read = [index[v] for eqn in closed.jaxpr.eqns for v in eqn.invars if not hasattr(v, "val") and v in index]
    return list(dict.fromkeys(read))


def _layer_names(paths, depth):
    """The first names of each path, behind what all paths share and the names of Flax's collections."""
    words = [[str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path] for path in paths]
    words = [[word for word in path if word not in ("params", "batch_stats")] for path in words]
    shared = len(os.path.commonprefix(words)) if len(words) > 1 else 0
    return ["/".join(path[shared : max(shared + 1, min(shared + depth, len(path) - 1))]) for path in words]


def _curve(net, x, attributions, target, steps, fill, batch_size, removing):
    _check_attributions(x, attributions)
    if not 1 <= steps <= x.shape[1] * x.shape[2]:
        raise ValueError(f"Expected between 1 and {x.shape[1] * x.shape[2]} steps, one pixel each, got {steps}.")
    order = np.argsort(-np.asarray(attributions).sum(-1).reshape(x.shape[0], -1), axis=1, kind="stable")
    rank = jnp.asarray(np.argsort(order, axis=1).reshape(x.shape[:3]).astype(np.float32))
    fill = jnp.broadcast_to(jnp.asarray(fill, x.dtype), x.shape)
    fractions = np.linspace(0, 1, steps + 1)
    columns = []
    for fraction in fractions:
        step = functools.partial(_masked, count=round(fraction * x.shape[1] * x.shape[2]), removing=removing)
        columns.append(chunked(step, net, x, target, batch_size, rank, fill))
    values = np.stack(columns, axis=1)
    return Curve(fractions, values, np.trapezoid(values, fractions, axis=1))


@functools.partial(jax.jit, static_argnames="removing")
def _masked(net, x, target, rank, fill, count, removing):
    first = (rank < count)[..., None]
    return targets.evaluate(net, jnp.where(first, *((fill, x) if removing else (x, fill))), target)


@jax.jit
def _infidelity(net, x, target, attributions, keys, noise):
    values, logits = targets.evaluate(net, x, target)

    def add(total, keys):
        draw = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))
        perturbation = noise * draw(keys)
        forecast = (perturbation * attributions).sum(axis=(1, 2, 3))
        change = values - targets.evaluate(net, x - perturbation, target)[0]
        return total + (forecast - change) ** 2, None

    total, _ = jax.lax.scan(add, jnp.zeros_like(values), keys.T)
    return total / keys.shape[1], logits


def _check_attributions(x, attributions):
    network.check_images(x)
    if attributions.shape != x.shape:
        raise ValueError(f"Expected attributions shaped like the images, {x.shape}, got {attributions.shape}.")
    if not np.isfinite(attributions).all():
        raise ValueError("Expected finite attributions, got NaN or infinity.")


def _spearman(a, b):
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(stats.spearmanr(a.ravel(), b.ravel()).statistic)


def _ssim(a, b):
    a, b = (abs(m).sum(-1) for m in (a, b))
    a, b = (m / m.max() if m.max() else m for m in (a, b))
    window = min(7, *a.shape) - (min(7, *a.shape) + 1) % 2  # odd, and no larger than the map
    return float(structural_similarity(a, b, data_range=1.0, win_size=window))
