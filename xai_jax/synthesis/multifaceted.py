"""Preferred inputs of neurons from images that are enlarged in octaves and denoised at every step.

Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization, arXiv 1602.03616, and its authors' code: `MEAN_IMAGE`
starts from the mean of similar images, `CENTRE_BIAS` from noise. A form of `maximisation.maximise`.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.tree_util import Partial

from xai_jax.synthesis import dgn_am, optimize, priors
from xai_jax.synthesis.optimize import Result


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Octave:
    """Steps at one size: the image is first enlarged by `scale`, and windows of it near its middle are shown.

    `rates`, grey levels on average, and `weights` of `priors.denoise` change along a line. What is `margin` pixels or
    less from a window's border stays. `spread` is the deviation of the windows' places as a share of their room.
    """

    steps: int
    rates: tuple[float, float]
    weights: tuple[float, float]
    scale: float = 1.0
    margin: int = 0
    spread: float = 0.3


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class MFV:
    """Steps of a chosen length, after each of which the image is denoised; several octaves.

    In the code only the window is denoised that was shown, here the whole image.
    """

    octaves: tuple[Octave, ...]
    iterations: int = 100


# From a mean image of similar ones; from noise around grey, enlarged again and again, so that the middle is shown most.
MEAN_IMAGE = MFV(
    (
        Octave(190, (1.0, 2.0), (0.4, 0.4)),
        Octave(150, (1.0, 1.0), (0.01, 2.0), 1.2),
        Octave(20, (2.0, 2.0), (0.1, 2.0), margin=50, spread=0.2),
        Octave(10, (2.0, 2.0), (0.4, 2.0)),
    )
)
CENTRE_BIAS = MFV(
    (
        Octave(190, (11.0, 11.0), (0.001, 0.05)),
        Octave(150, (6.0, 6.0), (0.01, 0.08), 1.2),
        Octave(150, (1.0, 1.0), (0.01, 2.0), 1.2),
        Octave(30, (3.0, 3.0), (0.1, 2.0), margin=50, spread=0.1),
        Octave(10, (6.0, 3.0), (0.01, 2.0)),
    )
)


def climb(form: MFV, problem: Any, x: Array, key: Array, saved: Path | None) -> Result:
    """Steps of all octaves on a `maximisation.Problem`, and the middle of the last images, shaped like the first."""
    size, found = x.shape[1:3], [Result(x, {})]
    limits = tuple(tuple(limit.tolist()) for limit in (problem.lower, problem.upper))
    for number, octave in enumerate(form.octaves):
        x, running, file = found[-1].x, jax.random.fold_in(key, number), optimize.numbered(saved, number)
        shape = [round(side * octave.scale) for side in x.shape[1:3]]
        x = jnp.clip(jax.image.resize(x, (len(x), *shape, x.shape[3]), "cubic"), problem.lower, problem.upper)
        rule = _denoising(octave, form.iterations, np.prod(size) / np.prod(shape), limits)
        found.append(
            optimize.minimise(Partial(_seen(octave, size), problem), x, rule, octave.steps, running, saved=file)
        )
    last = optimize.joined(found[1:])
    top, left = ((have - want) // 2 for have, want in zip(last.x.shape[1:3], size, strict=True))
    return last._replace(x=last.x[:, top : top + size[0], left : left + size[1]])


@functools.cache
def _seen(octave, size):
    if 2 * octave.margin >= min(size):
        raise ValueError(f"Expected a margin of less than half of {min(size)} pixels, got {octave.margin}.")
    inner = np.pad(np.ones([side - 2 * octave.margin for side in size], bool), octave.margin)[..., None]

    def seen(problem, key, x):
        shown = priors.near_middle(key, x, size, octave.spread)
        return problem.term(jnp.where(inner, shown, lax.stop_gradient(shown)))

    return seen


@functools.cache
def _denoising(octave, iterations, share, limits):
    """Steps of the octave's length in the window, which is a `share` of the image; then clipping and denoising."""
    first, last = octave.weights
    ascent = dgn_am.normalised(*(share * rate for rate in octave.rates), octave.steps)

    def update(gradient, step, x=None):
        change, after = ascent.update(gradient, step)
        weight = first + (last - first) * step.astype(x.dtype) / octave.steps
        moved = jnp.clip(x + change, *(jnp.array(limit, x.dtype) for limit in limits))
        return priors.denoise(moved, weight, iterations) - x, after

    return optax.GradientTransformation(ascent.init, update)
