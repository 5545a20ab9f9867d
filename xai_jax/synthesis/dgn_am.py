"""Preferred inputs of neurons, found among the images that a generator makes.

Nguyen, Dosovitskiy, Yosinski, Brox & Clune 2016, Synthesizing the preferred inputs for neurons in neural networks via
deep generator networks, arXiv 1605.09304 (`DGN`, as their code has it); Montavon, Samek & Müller 2018, Methods for
interpreting and understanding deep neural networks, section 3.3 (`Montavon`). Not pixels are optimised but the code
that the generator makes the image from, so that whatever excites the neuron looks like what the generator has learnt.

    generate = of_generator(Partial(generator.apply, variables), (224, 224), deviation, shift)
    found = maximise(generate, model.net, targets.logit(np.arange(10)), noise(key, (10, 4096)), key, upper=upper)
    images = network.call(generate, found.x)
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from xai_jax.core import network, targets
from xai_jax.core.network import Network
from xai_jax.core.pytrees import as_partial
from xai_jax.core.targets import Target
from xai_jax.io.errors import first_line
from xai_jax.synthesis import optimize
from xai_jax.synthesis.optimize import Result

Generate = Callable[[Array], Array]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class DGN:
    """Steps whose length falls along a line, whatever the gradient's; codes within bounds, and pulled to zero.

    A step changes the units of a code by `rate` on average, and by less and less until `last_rate`; then each unit is
    clipped to [0, upper], and all are multiplied by `keep`, the code's form of the penalty. `penalty` is lambda of the
    paper's form, of the code's length; with it, keep should be 1.
    """

    rate: float = 8.0
    last_rate: float = 1e-10
    steps: int = 200
    keep: float = 0.99
    penalty: float = 0.0


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Montavon:
    """max_z log p(w_c | g(z)) - penalty ||z||^2 by Adam; the target should be a `targets.log_probability`."""

    rate: float = 0.05
    steps: int = 200
    penalty: float = 0.01


def maximise(
    generate: Generate,
    net: Network,
    target: Target,
    codes: Array,
    key: Array,
    form: DGN | Montavon = DGN(),
    upper: Array | None = None,
    saved: Path | None = None,
) -> Result:
    """Codes (N, ...) whose images excite the target as much as images of the generator do, from `codes` on.

    `generate` gives images in the network's input range. All codes are optimised at once, each for its own row of the
    target: of class `targets.logit(np.arange(N))`, or of a unit of a layer. `upper`, of the shape of one code, bounds
    its units from above and zero from below (see `upper_bounds`); none means unbounded, as Montavon's form always is.
    The history has the terms "activation", with a minus, and "penalty". It is the last code that is given, not the most
    exciting one: excitement and a likeness to natural images are different things. With `saved` a killed run goes on.
    Raises ValueError for codes that the generator does not take, images that the network does not, and bounds that do
    not fit.
    """
    generate, net, codes = as_partial(generate), network.as_network(net), jnp.asarray(codes, jnp.float32)
    _check(generate, net, target, codes)
    _check_bounds(form, codes, upper)
    objective = Partial(_objective, form, generate, net, target)
    if isinstance(form, Montavon):
        return optimize.minimise(objective, codes, _adam(form.rate), form.steps, key, saved=saved)
    limit = jnp.broadcast_to(jnp.float32(jnp.inf) if upper is None else jnp.asarray(upper), codes.shape[1:])
    lower = jnp.float32(-jnp.inf if upper is None else 0.0)
    project = Partial(_bounded, form, lower, limit)
    rule = normalised(form.rate, form.last_rate, form.steps)
    return optimize.minimise(objective, codes, rule, form.steps, key, project, saved)


def of_generator(
    generator: Generate, size: tuple[int, int], deviation: Sequence[float] = (1.0,), shift: Sequence[float] = (0.0,)
) -> Partial:
    """A generator of pixels less a mean colour as one of a network's input: (their middle + shift) / deviation."""
    arrays = (jnp.asarray(v, jnp.float32) for v in (deviation, shift))
    return Partial(functools.partial(_cropped, size), as_partial(generator), *arrays)


def _cropped(size, generator, deviation, shift, codes):
    images = generator(codes)
    top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], size, strict=True))
    if min(top, left) < 0:
        raise ValueError(f"Expected a generator of images of at least {size}, got {images.shape[1:3]}.")
    return (images[:, top : top + size[0], left : left + size[1]] + shift) / deviation


def within(generate: Generate, lower: Array, upper: Array) -> Partial:
    """A generator whose values stay within `lower` and `upper`, the network's input for black and white.

    Both broadcast to images. The papers' code cuts images only when they are saved, by which they may lose what excites
    the network.
    """
    return Partial(_within, as_partial(generate), *(jnp.asarray(each, jnp.float32) for each in (lower, upper)))


def _within(generate, lower, upper, codes):
    return jnp.clip(generate(codes), lower, upper)


def noise(key: Array, shape: tuple[int, ...]) -> Array:
    """Codes of this shape to start from: standard normal, as in the papers' code."""
    return jax.random.normal(key, shape)


def upper_bounds(codes: Array, deviations: float = 3.0) -> Array:
    """Mean and three deviations above of each unit, over the codes (M, ...) of images."""
    return codes.mean(0) + deviations * codes.std(0)


def facets(codes: Array, count: int, averaged: int = 1, *, seed: int) -> tuple[Array, np.ndarray]:
    """Codes (count, ...) to start from for different facets of what the images with `codes` (M, ...) show.

    Codes are clustered by k-means; of each cluster, the mean code of the `averaged` images nearest to its centre: of
    one, the code of a real image. Also the numbers of these images, (count, averaged), the nearest first. After Nguyen,
    Yosinski & Clune 2016, Multifaceted feature visualization, arXiv 1602.03616, who start from mean images. Raises
    ValueError for fewer codes than asked for.
    """
    points = np.asarray(codes, np.float64).reshape(len(codes), -1)
    if not (1 <= count <= len(points) and 1 <= averaged <= len(points)):
        raise ValueError(f"Expected 1 to {len(points)} facets of as many codes, got {count} of {averaged} each.")
    centres = KMeans(count, n_init=1, random_state=seed).fit(points).cluster_centers_
    members = pairwise_distances(centres, points).argsort(1, kind="stable")[:, :averaged]
    return jnp.asarray(codes)[members].mean(1), members


def _check(generate, net, target, codes):
    if not len(codes):
        raise ValueError("Expected one code or more, got none.")
    try:
        images = jax.eval_shape(generate, codes)
    except Exception as error:  # flax and lax each have their own
        raise ValueError(
            f"Expected codes that the generator takes, got {codes.shape[1:]}. Usual cause: codes of another layer than "
            f"the one that it inverts. It said: {first_line(error)}"
        ) from error
    targets.check(net, images, target)


def _check_bounds(form, codes, upper):
    if upper is None:
        return
    if isinstance(form, Montavon):
        raise ValueError(
            "Expected no bounds, got some: Montavon's form has a penalty in their place. Leave out `upper`."
        )
    one = codes.shape[1:]
    if np.shape(upper) != one:
        raise ValueError(
            f"Expected bounds {one}, one for each unit of a code, got {np.shape(upper)}. Usual cause: bounds of "
            "another layer than the one that the generator inverts."
        )
    if not (np.asarray(upper) >= 0).all():
        raise ValueError(
            f"Expected bounds of zero or more, got {np.min(upper):g}. Usual cause: bounds of a layer before it is "
            "rectified; codes are what comes behind the ReLU."
        )


def _objective(form, generate, net, target, key, codes):
    activation, _ = targets.evaluate(net, generate(codes), target)
    square = (codes**2).reshape(len(codes), -1).sum(1)
    length = square if isinstance(form, Montavon) else jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny))
    return {"activation": -activation, "penalty": form.penalty * length}


def _bounded(form, lower, upper, codes):
    return form.keep * jnp.clip(codes, lower, upper)


@functools.cache
def normalised(rate: float, last_rate: float, steps: int) -> optax.GradientTransformation:
    """Steps along each problem's gradient over its mean size; the rate falls linearly. A zero gradient is no step."""

    def update(gradient, step, x=None):
        size = jnp.abs(gradient).mean(tuple(range(1, gradient.ndim)), keepdims=True)
        length = rate + (last_rate - rate) * step.astype(gradient.dtype) / steps
        return jnp.where(size > 0, -length * gradient / jnp.where(size > 0, size, 1.0), 0.0), step + 1

    return optax.GradientTransformation(lambda x: jnp.zeros((), jnp.int32), update)


@functools.cache
def _adam(rate):
    return optax.adam(rate)
