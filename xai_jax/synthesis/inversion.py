"""Images whose representation is a given one: what a layer, or HOG, still knows of an image.

Mahendran & Vedaldi 2015, Understanding deep image representations by inverting them (`CVPR`), and 2016, Visualizing
deep convolutional neural networks using natural pre-images (`IJCV`). Where their code differs from the papers, this
follows the code, which made the figures.

    represent = of_layer(model.net, "relu5", deviation=(58.4, 57.1, 57.4))
    found = invert(represent, represent(photograph), (224, 224, 3), key)

Images are pixels with the mean taken off, in [-128, 128] roughly, since all constants of the papers are for such.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network
from xai_jax.core.network import Network
from xai_jax.core.pytrees import as_partial
from xai_jax.io.errors import first_line
from xai_jax.synthesis import optimize, priors
from xai_jax.synthesis.optimize import Result

Represent = Callable[[Array], Array]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class CVPR:
    """The first form: relative loss, alpha-norm and variation; gradient descent with momentum.

    `variation` is lambda_V of the code: 1, 10 or 100 (0.5, 5, 50 in the paper), for lower, middle and upper layers.
    `deviation` is the RMS of natural images' values, 68.9, which the paper's sigma is for its images of 227x227. The
    rate is 0.004 times each factor of `phases`, for so many steps; with the rate the momentum starts anew.
    """

    variation: float = 10.0
    beta: float = 2.0
    norm: float = 8e-10
    alpha: float = 6.0
    deviation: float = 68.9
    rate: float = 0.004
    phases: tuple[tuple[float, int], ...] = ((1.0, 100), (0.1, 200), (0.01, 100))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class IJCV:
    """The second form: jittered images of bounded colours, and steps like AdaGrad's.

    `weight` is C, of the loss: 1, 20, 100 or 300; `norm` and `variation` are those of the priors, beside the paper's.
    `jitter`: the image moves by up to so many pixels less one, a quarter of the layer's stride in the paper. `steps`:
    with jitter, then without at a tenth of the rate. `most`: the longest colour; `deviation` of natural images' colours
    (B+ and B).
    """

    weight: float = 100.0
    norm: float = 1.0
    alpha: float = 6.0
    variation: float = 1.0
    beta: float = 2.0
    deviation: float = 80.0
    most: float = 160.0
    jitter: int = 1
    steps: tuple[int, int] = (300, 50)


def of_layer(net: Network, layer: str, deviation: Sequence[float] = (1.0,), shift: Sequence[float] = (0.0,)) -> Partial:
    """A layer as a function of pixels less a mean colour, of a network whose input is (these + shift) / deviation.

    The shift is zero for networks whose input has the same mean taken off.
    """
    return Partial(_layer, network.features(net, layer), *(jnp.asarray(v, jnp.float32) for v in (deviation, shift)))


def _layer(features, deviation, shift, x):
    return features((x + shift) / deviation)


def invert(
    represent: Represent,
    wanted: Array,
    shape: tuple[int, int, int],
    key: Array,
    form: CVPR | IJCV = IJCV(),
    mask: Array | None = None,
    start: Array | None = None,
    saved: Path | None = None,
) -> Result:
    """Images (N, *shape) whose representations come close to `wanted` (N, ...), from noise or from `start`.

    `mask`, of the shape of one representation or broadcast to it, says which parts of it count (CVPR, Figs. 9 and 10);
    repeat a target for several answers. The history has the terms of the loss: "features", "norm" and "variation". With
    `saved` a killed run goes on. Raises ValueError for representations that are all zero where the mask looks, of
    another shape, or a mask that does not fit; DivergedError where steps are too large.
    """
    represent = as_partial(represent)
    wanted, mask = _checked(represent, wanted, shape, mask)
    noising, running = jax.random.split(key)
    room = form.jitter - 1 if isinstance(form, IJCV) else 0
    size = len(wanted), shape[0] + room, shape[1] + room, shape[2]
    x = noise(noising, size, form) if start is None else jnp.asarray(start, jnp.float32)
    if x.shape != size:
        raise ValueError(f"Expected a start of shape {size}, got {x.shape}.")
    problem = represent, wanted, mask
    return (_by_momentum if isinstance(form, CVPR) else _by_jitter)(problem, form, x, running, saved)


def caricature(represent: Represent, x: Array, key: Array, form: IJCV = IJCV(), saved: Path | None = None) -> Result:
    """Images (N, H, W, C) that begin as `x` and come to have more of what the representation finds in it (IJCV).

    Against the priors, the inner product with the positive part of what `x` has grows, see `inner_product`; in the
    history, "features" is -weight times it. Only the first of the form's `steps` are taken; room for the jitter is the
    border repeated. With `saved` a killed run goes on. Raises ValueError for images that the representation does not
    take, and where it is nowhere positive; DivergedError where steps are too large.
    """
    represent, x = as_partial(represent), jnp.asarray(x, jnp.float32)
    network.check_images(x)
    _output(represent, x.shape)
    wanted = jax.nn.relu(network.call(represent, x))
    _refuse_zeros(wanted, "positive somewhere, got none above zero", "dead features")
    wide = priors.widened(x, form.jitter)
    loss, against = Partial(inner_product, represent, wanted), dataclasses.replace(form, weight=-form.weight)
    return _phase(loss, against, wide, usual_rate(form, wide), form.steps[0], key, saved)


def _by_momentum(problem, form, x, key, saved):
    steps, objective = sum(count for _, count in form.phases), Partial(_cvpr, form, *problem)
    return optimize.minimise(objective, x, momentum(form.rate, form.phases), steps, key, saved=saved)


def _by_jitter(problem, form, x, key, saved):
    """With jitter, then without at a tenth of the rate."""
    loss, rate, still = Partial(distance, *problem), usual_rate(form, x), dataclasses.replace(form, jitter=1)
    first = _phase(loss, form, x, rate, form.steps[0], key, optimize.numbered(saved, 0))
    last = _phase(loss, still, first.x, rate / 10, form.steps[1], key, optimize.numbered(saved, 1))
    return optimize.joined([first, last])


def usual_rate(form: IJCV, x: Array) -> float:
    """The rate of `smoothed` steps on images (N, H, W, C), with room for jitter."""
    return 0.05 * form.deviation**2 / form.alpha * x.shape[1] * x.shape[2]


def _phase(loss, form, x, rate, steps, key, saved):
    """Steps at one rate, and the middle of what they find, without the room for jitter."""
    objective, bounded = Partial(_ijcv, form, loss), Partial(_bounded, form)
    x, history = optimize.minimise(objective, x, smoothed(rate), steps, key, bounded, saved)
    return Result(priors.narrowed(x, form.jitter), history)


def _bounded(form, x):
    return priors.bounded_colour(x, form.most)


def _checked(represent, wanted, shape, mask):
    wanted = jnp.asarray(wanted, jnp.float32)
    if not len(wanted):
        raise ValueError("Expected one representation or more, got none.")
    one = _output(represent, (len(wanted), *shape))
    if one != wanted.shape:
        raise ValueError(f"Expected representations of shape {one}, as images {shape} have, got {wanted.shape}.")
    try:
        mask = jnp.broadcast_to(jnp.asarray(1.0 if mask is None else mask, jnp.float32), wanted.shape[1:])
    except ValueError:
        raise ValueError(f"Expected a mask for representations {wanted.shape[1:]}, got {np.shape(mask)}.") from None
    _refuse_zeros(mask * wanted, "not all zero, got zeros", "dead features, or a mask that hides all that is not zero")
    return wanted, mask


def _output(represent, shape):
    """The shape of the representations of images (N, H, W, C)."""
    try:
        return jax.eval_shape(represent, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    except Exception as error:  # flax and lax each have their own
        raise ValueError(
            f"Expected a shape (height, width, channels) of images that the representation takes, got {shape[1:]}. It "
            f"said: {first_line(error)}"
        ) from error


def _refuse_zeros(wanted, what, causes):
    empty = np.flatnonzero(np.asarray(_sums(wanted**2)) == 0).tolist()
    if empty:
        raise ValueError(f"Expected representations that are {what} in number {empty}. Usual causes: {causes}.")


def noise(key: Array, shape: tuple[int, ...], form: CVPR | IJCV) -> Array:
    """Images of this shape to start from: Gaussian of natural images' RMS (CVPR), uniform of their deviation (IJCV)."""
    if isinstance(form, CVPR):
        x = jax.random.normal(key, shape)
        return x * form.deviation / jnp.sqrt((x**2).mean((1, 2, 3), keepdims=True))
    x = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return x / jnp.quantile(x, 0.95) * form.deviation / np.sqrt(3)


def _sums(x):
    return x.reshape(len(x), -1).sum(1)


def distance(represent, wanted, mask, x):
    """Squared distance as a share of the wanted representation's square, where the mask looks."""
    return _sums((mask * (represent(x) - wanted)) ** 2) / _sums((mask * wanted) ** 2)


def inner_product(represent, wanted, x):
    """Inner product of representations with the wanted ones, as a share of their square: 1 for the same (IJCV)."""
    return _sums(represent(x) * wanted) / _sums(wanted**2)


def _cvpr(form, represent, wanted, mask, key, x):
    """All terms are sigma squared times the paper's, as in the code, so that its rates hold."""
    sigma = form.deviation**2 * np.prod(x.shape[1:])
    return {
        "features": sigma * distance(represent, wanted, mask, x),
        "norm": form.norm / 2 * priors.alpha_norm(x, form.alpha),
        "variation": form.variation / 2 * priors.variation(x, form.beta),
    }


def _ijcv(form, loss, key, x):
    return {"features": form.weight * loss(priors.jittered(key, x, form.jitter))} | penalties(form, x)


def penalties(form: IJCV, x: Array) -> dict[str, Array]:
    """What the priors take off, (N,) each: "norm" and "variation"."""
    return {
        "norm": form.norm * priors.colour_norm(x / form.deviation, form.alpha),
        "variation": form.variation * priors.mean_variation(x * (6.5 / form.deviation), form.beta),
    }


class _Momentum(NamedTuple):
    speed: Array
    step: Array


@functools.cache
def momentum(rate: float, phases: tuple[tuple[float, int], ...]) -> optax.GradientTransformation:
    """Steps with momentum 0.9, which starts anew with every phase: factors of the rate, and how many steps each."""
    ends = np.cumsum([count for _, count in phases])
    rates = jnp.array([rate * factor for factor, _ in phases], jnp.float32)

    def init(x):
        return _Momentum(jnp.zeros_like(x), jnp.zeros((), jnp.int32))

    def update(gradient, memory, x=None):
        phase = jnp.searchsorted(jnp.array(ends), memory.step, side="right")
        kept = jnp.where((memory.step == jnp.array(ends)).any(), 0.0, 0.9)
        speed = kept * memory.speed - rates[phase] * gradient
        return speed, _Momentum(speed, memory.step + 1)

    return optax.GradientTransformation(init, update)


class _Smoothed(NamedTuple):
    speed: Array
    squares: Array


@functools.cache
def smoothed(rate: float) -> optax.GradientTransformation:
    """The second paper's steps: momentum 0.9 of gradients over 1 / rate and the root of their recent squares."""

    def init(x):
        return _Smoothed(jnp.zeros_like(x), jnp.zeros_like(x))

    def update(gradient, memory, x=None):
        squares = 0.9 * memory.squares + gradient**2
        speed = 0.9 * memory.speed - gradient / (1 / rate + jnp.sqrt(squares))
        return speed, _Smoothed(speed, squares)

    return optax.GradientTransformation(init, update)


def error(represent: Represent, x: Array, wanted: Array, others: Array | None = None) -> Array:
    """Squared distance of representations as a share, (N,): of the mean one between `others` (CVPR).

    Others are representations of different images, `wanted` themselves if not given; each counts with itself, too, as
    in the code.
    """
    others = wanted if others is None else others
    flat = others.reshape(len(others), -1)
    apart = ((flat[:, None] - flat) ** 2).sum(-1).mean()
    return _sums((represent(x) - wanted) ** 2) / apart
