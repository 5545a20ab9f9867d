"""Activation maximisation over the codes of an image generator.

Nguyen, Dosovitskiy, Yosinski, Brox & Clune 2016, Synthesizing the preferred inputs for neurons in neural networks via
deep generator networks, arXiv 1605.09304 (`DGN`, as their code has it); Montavon, Samek & Müller 2018, Methods for
interpreting and understanding deep neural networks, section 3.3 (`Montavon`). The generator is a learned natural-image
prior: the code is optimised instead of pixels.

>>> generator = lambda codes: codes.reshape(-1, 4, 4, 3)
>>> generate = clip_images(of_generator(generator, (2, 2)), -1.0, 1.0)
>>> net = lambda x, relu=jax.nn.relu, tap=network.keep: x.mean((1, 2))  # three classes
>>> codes = jnp.abs(noise(jax.random.key(0), (6, 48)))
>>> result = maximise(generate, net, targets.logit([0, 1]), codes[:2], DGN(steps=5), upper_bounds(codes))
>>> generate(result.x).shape
(2, 2, 2, 3)
>>> starts, members = facets(codes, count=2, averaged=3, seed=0)
>>> starts.shape, members.shape
((2, 48), (2, 3))
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from xai_jax.core import network, targets
from xai_jax.core.arguments import as_floats, is_integer
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.precision import wide
from xai_jax.core.pytrees import as_partial, node
from xai_jax.core.targets import Target
from xai_jax.io.errors import first_line
from xai_jax.synthesis import optimize, transforms, updates
from xai_jax.synthesis.optimize import Result

Generate = Callable[[Array], Array]


class Problem(NamedTuple):
    """A generator, a network, the target, and optional upper bounds of the units of a code."""

    generate: Generate
    net: Network
    target: Target
    upper: Array | None = None

    def terms(self, codes: Array) -> dict[str, Array]:
        """The negative activation of the images of codes (N, ...), (N,)."""
        return {"activation": -targets.evaluate(self.net, self.generate(codes), self.target)[0]}


@node
class DGN:
    """Normalised-gradient ascent with linearly decaying step size, box constraints and multiplicative code decay.

    Attributes:
      learning_rate: first mean absolute change of a unit.
      final_learning_rate: last mean absolute change of a unit.
      steps: number of steps.
      decay_factor: factor of the code after each step, which the authors' code has in place of a penalty.
      penalty: lambda of the paper, factor of the code's norm; with it, `decay_factor` should be 1.
    """

    learning_rate: float = 8.0
    final_learning_rate: float = 1e-10
    steps: int = 200
    decay_factor: float = 0.99
    penalty: float = 0.0
    bounded: ClassVar[bool] = True

    def maximise(self, problem: Problem, codes: Array, checkpoint: Path | None = None) -> Result:
        """Codes (N, ...) from `codes` on, each unit within [0, upper], that maximise the target of a problem."""
        free = problem.upper is None
        upper = jnp.broadcast_to(jnp.float32(jnp.inf) if free else jnp.asarray(problem.upper), codes.shape[1:])
        project = Partial(DGN._project, self, jnp.float32(-jnp.inf if free else 0.0), upper)
        rule = updates.normalised_gradient(self.learning_rate, self.final_learning_rate, self.steps)
        objective = Partial(DGN.terms, self, problem)
        return optimize.minimise(objective, codes, rule, self.steps, project=project, checkpoint=checkpoint)

    def terms(self, problem: Problem, codes: Array) -> dict[str, Array]:
        """The negative activation, and the penalty, which is proportional to the norm."""
        square = _square_norm(codes)
        norm = jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny))
        return problem.terms(codes) | {"penalty": self.penalty * norm}

    def _project(self, lower, upper, codes, step):
        return self.decay_factor * jnp.clip(codes, lower, upper)


@node
class Montavon:
    """max_z log p(w_c | g(z)) - penalty ||z||^2 by Adam; the target should be a `targets.log_probability`."""

    learning_rate: float = 0.05
    steps: int = 200
    penalty: float = 0.01
    bounded: ClassVar[bool] = False

    def maximise(self, problem: Problem, codes: Array, checkpoint: Path | None = None) -> Result:
        """Unbounded codes (N, ...) from `codes` on that maximise the target of a problem.

        Raises ValueError for a problem with bounds.
        """
        if problem.upper is not None:
            raise ValueError("Expected no bounds, which the penalty replaces in Montavon's form. Leave out `upper`.")
        rule, objective = updates.adam(self.learning_rate), Partial(Montavon.terms, self, problem)
        return optimize.minimise(objective, codes, rule, self.steps, checkpoint=checkpoint)

    def terms(self, problem: Problem, codes: Array) -> dict[str, Array]:
        """The negative activation, and the penalty, which is proportional to the squared norm."""
        return problem.terms(codes) | {"penalty": self.penalty * _square_norm(codes)}


def _square_norm(codes):
    return (codes**2).reshape(len(codes), -1).sum(1)


def maximise(
    generate: Generate,
    net: Network,
    target: Target,
    codes: Array,
    form: DGN | Montavon = DGN(),  # noqa: B008, which knows frozen dataclasses by their decorator
    upper: Array | None = None,
    checkpoint: Path | None = None,
) -> Result:
    """Codes whose generated images maximise a target, from `codes` on.

    The last code is returned, not the one with the highest activation.

    Args:
      generate: codes (N, ...) -> images (N, H, W, C) in the network's input range, see `of_generator`.
      net: the network to explain.
      target: one target for all codes, or one row for each: `targets.logit(np.arange(N))`, or a unit of a layer.
      codes: initial codes, see `noise`.
      form: optimiser and regularisation of one of the two papers.
      upper: upper bounds of the shape of one code, see `upper_bounds`; the lower ones are zero. None: unbounded.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      Codes (N, ...), and the history of the terms "activation", negative, and "penalty".

    Raises:
      ValueError: for codes that do not fit the generator, images that do not fit the network, and bounds that do not
        fit the codes.
      DivergedError: if the learning rate is too large.
    """
    if not isinstance(form, DGN | Montavon):
        raise TypeError(f"Expected a form of the optimisation, such as DGN(), got {quoted(form)}.")
    generate, net, codes = as_partial(generate), network.as_network(net), as_floats(codes, "codes")
    _check(generate, net, target, codes)
    _check_bounds(codes, upper)
    return form.maximise(Problem(generate, net, target, upper), codes, checkpoint)


def of_generator(
    generator: Generate, size: tuple[int, int], to_network: Callable[[Array], Array] = optimize.identity
) -> Partial:
    """A generator of network inputs (N, *size, C), from a generator of mean-subtracted pixels (N, H, W, C).

    Images are cropped to their centre of `size` (height, width), and `to_network` maps them to the network's input.
    Raises ValueError on the first call for generated images smaller than `size`.
    """
    return Partial(_cropped(tuple(size)), as_partial(generator), as_partial(to_network))


@functools.cache
def _cropped(size):
    """One function for each size, so that equal generators share compiled programs."""

    def generate(generator, to_network, codes):
        images = generator(codes)
        if (np.subtract(images.shape[1:3], size) < 0).any():
            raise ValueError(f"Expected a generator of images of at least {size}, got {images.shape[1:3]}.")
        return to_network(transforms.centre_crop(images, size))

    return generate


def clip_images(generate: Generate, lower: Array, upper: Array) -> Partial:
    """A generator with images clipped to [`lower`, `upper`], the network's input for black and white.

    Both broadcast to images. The authors' code clips images only when it saves them, after the optimisation.
    """
    return Partial(_clip, as_partial(generate), *(jnp.asarray(each, jnp.float32) for each in (lower, upper)))


def _clip(generate, lower, upper, codes):
    return jnp.clip(generate(codes), lower, upper)


def noise(key: Array, shape: tuple[int, ...]) -> Array:
    """Initial codes of a shape: standard normal, as in the authors' code."""
    return jax.random.normal(key, shape)


def upper_bounds(codes: Array, stds: float = 3.0) -> Array:
    """Upper bounds of each unit: mean plus `stds` standard deviations over the codes (M, ...) of images."""
    codes = wide(codes)
    return codes.mean(0) + stds * codes.std(0)


def facets(codes: Array, count: int, averaged: int = 1, *, seed: int) -> tuple[Array, np.ndarray]:
    """Initial codes for different facets of a set of images, by k-means.

    After Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization, who start from mean images.

    Args:
      codes: codes of the images, (M, ...).
      count: number of clusters.
      averaged: number of images per cluster whose codes are averaged, those nearest to its centre.
      seed: of scikit-learn's `KMeans`.

    Returns:
      Codes (count, ...), and the indices of the averaged images, (count, averaged), the nearest first.

    Raises:
      ValueError: for fewer codes than clusters or averaged images.
    """
    points = np.asarray(codes, np.float64).reshape(len(codes), -1)
    if not all(is_integer(number) and 1 <= number <= len(points) for number in (count, averaged)):
        raise ValueError(
            f"Expected 1 to {len(points)} facets of as many codes, got {quoted(count)} of {quoted(averaged)}."
        )
    centres = KMeans(count, n_init=1, random_state=seed).fit(points).cluster_centers_
    members = pairwise_distances(centres, points).argsort(1, kind="stable")[:, :averaged]
    return wide(jnp.asarray(codes)[members]).mean(1), members


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
    targets.check_dependence(net, images, target)


def _check_bounds(codes, upper):
    if upper is None:
        return
    one = codes.shape[1:]
    if np.shape(upper) != one:
        raise ValueError(
            f"Expected bounds {one}, one for each unit of a code, got {np.shape(upper)}. Usual cause: bounds of "
            "another layer than the one that the generator inverts."
        )
    if not (np.asarray(upper) >= 0).all():
        raise ValueError(
            f"Expected bounds of zero or more, got {np.min(upper):g}. Usual cause: bounds of a layer before it is "
            "rectified; codes are activations after the ReLU."
        )
