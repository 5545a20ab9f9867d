"""Preferred inputs of neurons, found in pixels, with priors of natural images that people thought of.

Simonyan, Vedaldi & Zisserman 2014, Deep inside convolutional networks, equation 1 (`Simonyan`); Yosinski et al. 2015,
Understanding neural networks through deep visualization (`Yosinski`); Mahendran & Vedaldi 2016 (`inversion.IJCV`);
Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization (`multifaceted.MFV`); Olah, Mordvintsev & Schubert
2017, Feature visualization (`Fourier`). Where the authors' code differs from their paper, this follows the code. They
are the baselines of `dgn_am`, whose prior is learned.

    net = of_pixels(model.net, *models.units(model, (124.0, 116.0, 104.0)))
    x = maximise(net, targets.logit(np.arange(10)), start, key, Yosinski(), -mean, 255 - mean).x

Images are pixels with a mean colour taken off, since all constants of the papers are for such.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network, targets
from xai_jax.core.network import Network, keep
from xai_jax.core.pytrees import node
from xai_jax.core.targets import Target
from xai_jax.synthesis import dgn_am, inversion, multifaceted, optimize, priors
from xai_jax.synthesis.inversion import IJCV
from xai_jax.synthesis.multifaceted import MFV
from xai_jax.synthesis.optimize import Result

SHARE = 0.01  # of their range that values keep from black and white where a squashing function is undone


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Simonyan:
    """The activation less `penalty` times the squared length of the image; none without.

    The paper has neither the penalty nor the steps: these here are DGN's, of a length that falls along a line, so many
    grey levels on average.
    """

    penalty: float = 1e-4
    rate: float = 8.0
    last_rate: float = 1e-10
    steps: int = 200


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Yosinski:
    """x <- (1 - decay) (x + rate g), every so many steps a blur, and then the least pixels become the mean colour.

    The rate is `fastest`, or what raises the activation by `rise` to first order, if that is less. `blur` is a
    deviation in pixels. Of pixels, `short` percent have the shortest colours, `idle` percent contribute least. Defaults
    are the third row of the paper's table, of most of its figures.
    """

    steps: int = 1000
    fastest: float = 100.0
    rise: float | None = None
    decay: float = 1e-4
    blur: float = 1.0
    every: int = 4
    short: float = 0.0
    idle: float = 0.0


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Fourier:
    """Adam on frequencies and decorrelated colours, squashed into the range of pixels, of jittered images.

    `jitter`: the image moves by up to so many pixels less one. Of the code's transformations this is the only one.
    """

    rate: float = 0.05
    steps: int = 512
    jitter: int = 9


Form = Simonyan | Yosinski | IJCV | MFV | Fourier


class Problem(NamedTuple):
    """What is maximised, and the range of values; given to the compiled steps."""

    net: Network
    target: Target
    lower: Array
    upper: Array

    def term(self, x: Array, weight: float = 1.0) -> dict[str, Array]:
        """The activation with a minus, which a loss begins with."""
        return {"activation": -weight * targets.evaluate(self.net, x, self.target)[0]}


@node
class _OfPixels:
    net: Network
    deviation: Array
    shift: Array

    def __call__(self, x, relu=jax.nn.relu, tap=keep):
        return self.net((x + self.shift) / self.deviation, relu=relu, tap=tap)


def of_pixels(net: Network, deviation: Sequence[float] = (1.0,), shift: Sequence[float] = (0.0,)) -> Network:
    """A network of pixels less a mean colour, from one whose input is (these + shift) / deviation."""
    return _OfPixels(network.as_network(net), *(jnp.asarray(v, jnp.float32) for v in (deviation, shift)))


def maximise(
    net: Network,
    target: Target,
    start: Array,
    key: Array,
    form: Form,
    lower: Any = -np.inf,
    upper: Any = np.inf,
    saved: Path | None = None,
) -> Result:
    """Images (N, H, W, C) that excite the target, from `start` on: pixels less a mean, which `net` takes.

    All are found at once, each for its own row of the target. Values stay within `lower` and `upper`, which are black
    and white, one for each channel or for all. Of `inversion.IJCV` the `weight` is the activation's, which should be
    made a share of a strong one, and only the first `steps` are taken. Of `MFV` the middle of the enlarged images is
    given, as large as the start. The history has the terms "activation", with a minus, and those of the prior. With
    `saved` a killed run goes on. Raises TypeError for what is no form, ValueError for images and targets that do not
    fit the network and for limits that are no range, DivergedError where steps are too large.
    """
    if type(form) not in _CLIMBS:
        raise TypeError(f"Expected a form out of {', '.join(kind.__name__ for kind in _CLIMBS)}, got {form!r}.")
    start = jnp.asarray(start, jnp.float32)
    problem = Problem(network.as_network(net), target, *_range(lower, upper, start.shape[-1:], form))
    targets.check(net, start, target)
    return _CLIMBS[type(form)](form, problem, start, key, saved)


def _range(lower, upper, channels, form):
    try:
        limits = [np.broadcast_to(np.asarray(limit, np.float32), channels) for limit in (lower, upper)]
    except ValueError:
        raise ValueError(f"Expected limits for {channels} channels, got {lower} and {upper}.") from None
    finite = np.isfinite(limits).all()
    if not (limits[0] < limits[1]).all() or (isinstance(form, Fourier) and not finite):
        raise ValueError(f"Expected lower limits below upper ones, finite for Fourier, got {lower} and {upper}.")
    return limits


def _clipped(lower, upper, x):
    return jnp.clip(x, lower, upper)


def _simonyan(form, problem, x, key, saved):
    rule, clip = dgn_am.normalised(form.rate, form.last_rate, form.steps), Partial(_clipped, *problem[2:])
    return optimize.minimise(Partial(_short, form, problem), x, rule, form.steps, key, clip, saved)


def _short(form, problem, key, x):
    return problem.term(x) | {"penalty": form.penalty * (x**2).sum((1, 2, 3))}


def _yosinski(form, problem, x, key, saved):
    objective, clip = Partial(_plain, problem), Partial(_clipped, *problem[2:])
    return optimize.minimise(objective, clip(x), _regularised(form), form.steps, key, clip, saved)


def _plain(problem, key, x):
    return problem.term(x)


@functools.cache
def _regularised(form):
    def update(gradient, step, x=None):
        square = (gradient**2).sum((1, 2, 3), keepdims=True)
        rate = form.fastest if form.rise is None else jnp.minimum(form.rise / square, form.fastest)
        found = priors.decay(x - rate * gradient, form.decay)
        if form.blur:
            blurred = functools.partial(priors.blur, deviation=form.blur)
            found = jax.lax.cond(step % form.every == 0, blurred, lambda x: x, found)
        found = priors.clip_small_norm(found, form.short) if form.short else found
        found = priors.clip_small_contribution(found, gradient, form.idle) if form.idle else found
        return found - x, step + 1

    return optax.GradientTransformation(lambda x: jnp.zeros((), jnp.int32), update)


def _ijcv(form, problem, x, key, saved):
    x = priors.widened(x, form.jitter)
    rule, bounded = inversion.smoothed(inversion.usual_rate(form, x)), Partial(_bounded, form, *problem[2:])
    found = optimize.minimise(Partial(_natural, form, problem), x, rule, form.steps[0], key, bounded, saved)
    return found._replace(x=priors.narrowed(found.x, form.jitter))


def _natural(form, problem, key, x):
    return problem.term(priors.jittered(key, x, form.jitter), form.weight) | inversion.penalties(form, x)


def _bounded(form, lower, upper, x):
    return _clipped(lower, upper, priors.bounded_colour(x, form.most))


def _fourier(form, problem, x, key, saved):
    x, limits = priors.widened(x, form.jitter), problem[2:]
    share = jnp.clip((x - limits[0]) / (limits[1] - limits[0]), SHARE, 1 - SHARE)
    begin, objective = priors.to_fourier(jax.scipy.special.logit(share)), Partial(_waves(form, x.shape[2]), problem)
    found = optimize.minimise(objective, begin, _adam(form.rate), form.steps, key, saved=saved)
    return found._replace(x=priors.narrowed(_squashed(x.shape[2], *limits, found.x), form.jitter))


@functools.cache
def _waves(form, width):
    def waves(problem, key, coefficients):
        images = _squashed(width, problem.lower, problem.upper, coefficients)
        return problem.term(priors.jittered(key, images, form.jitter))

    return waves


def _squashed(width, lower, upper, coefficients):
    return lower + (upper - lower) * jax.nn.sigmoid(priors.from_fourier(coefficients, width))


@functools.cache
def _adam(rate):
    return optax.adam(rate)


_CLIMBS = {Simonyan: _simonyan, Yosinski: _yosinski, IJCV: _ijcv, MFV: multifaceted.climb, Fourier: _fourier}
