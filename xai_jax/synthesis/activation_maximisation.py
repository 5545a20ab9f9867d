"""Activation maximisation in pixel space with hand-designed priors; the baselines of `dgn_am`, whose prior is learned.

Simonyan, Vedaldi & Zisserman 2014, Deep inside convolutional networks, equation 1 (`Simonyan`); Yosinski et al. 2015,
Understanding neural networks through deep visualization (`Yosinski`); Mahendran & Vedaldi 2016 (`inversion.IJCV`);
Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization (`multifaceted.MFV`); Olah, Mordvintsev & Schubert
2017, Feature visualization (`Fourier`). Where the authors' code differs from their paper, this follows the code.

>>> net = of_pixels(lambda x, relu=jax.nn.relu, tap=network.keep: x.mean((1, 2)))  # three classes
>>> for form in (Simonyan(steps=3), Yosinski(steps=3), Fourier(steps=3)):
...     x = maximise(net, targets.logit([0, 1]), jnp.zeros((2, 8, 8, 3)), jax.random.key(0), form, -100.0, 155.0).x
...     print(x.shape, bool(x[0, ..., 0].mean() > 0))
(2, 8, 8, 3) True
(2, 8, 8, 3) True
(2, 8, 8, 3) True

Images are pixels with the mean subtracted, which all constants of the papers presuppose.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network, targets
from xai_jax.core.arguments import as_floats
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.pytrees import node, static
from xai_jax.core.targets import Target
from xai_jax.synthesis import optimize, parametrisation, priors, transforms, updates
from xai_jax.synthesis.optimize import Result
from xai_jax.synthesis.pixel_forms import Form, Problem, of_pixels

__all__ = ["Form", "Fourier", "Problem", "Simonyan", "Yosinski", "maximise", "of_pixels"]

MARGIN = 0.01  # fraction of the range kept from black and white where the sigmoid is inverted


@node
class Simonyan(Form):
    """L2 regularisation: the activation minus `penalty` times the squared norm of the image (equation 1).

    The paper gives neither the penalty nor the optimiser: these here are those of DGN-AM, a normalised gradient with a
    linearly decaying learning rate in grey levels.
    """

    penalty: float = 1e-4
    learning_rate: float = 8.0
    final_learning_rate: float = 1e-10
    steps: int = 200

    def maximise(self, problem: Problem, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Maximises the target of a problem over pixels.

        Args:
          problem: net, target and range.
          x: initial images (N, H, W, C).
          key: not used.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          DivergedError: if the learning rate is too large.
        """
        del key
        rule = updates.normalised_gradient(self.learning_rate, self.final_learning_rate, self.steps)
        objective = Partial(Simonyan._loss, self, problem)
        return optimize.minimise(objective, x, rule, self.steps, project=problem.project, checkpoint=checkpoint)

    def _loss(self, problem, x):
        return problem.terms(x) | {"penalty": self.penalty * (x**2).sum((1, 2, 3))}


@node
class Yosinski(Form):
    """Gradient ascent, x <- (1 - decay) (x + learning rate * g), with periodic blur and clipping of small pixels.

    Defaults are the third row of the paper's table 1, which made most of its figures.

    Attributes:
      steps: number of steps.
      max_learning_rate: greatest learning rate.
      increase: the learning rate that increases the activation by so much to first order, if that is less.
      decay: L2 decay of each step.
      blur_std: standard deviation in pixels; 0 for no blur.
      blur_every: steps between two blurs; 0 for no blur.
      norm_percentile: pixels with a colour norm below this percentile become zero.
      contribution_percentile: pixels with a contribution to the activation below this percentile become zero.
    """

    steps: int = 1000
    max_learning_rate: float = 100.0
    increase: float | None = None
    decay: float = 1e-4
    blur_std: float = static(default=1.0)
    blur_every: int = 4
    norm_percentile: float = 0.0
    contribution_percentile: float = 0.0

    def maximise(self, problem: Problem, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Maximises the target of a problem over pixels.

        Args:
          problem: net, target and range.
          x: initial images (N, H, W, C).
          key: not used.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          DivergedError: if the learning rate is too large.
        """
        del key
        optional = ("blur_every", "norm_percentile", "contribution_percentile")  # 0 becomes None: another program
        form = dataclasses.replace(self, **{name: getattr(self, name) or None for name in optional})
        x, rule = problem.clip(x), optax.GradientTransformation(_no_steps, Partial(Yosinski._ascend, form))
        return optimize.minimise(problem.objective, x, rule, self.steps, project=problem.project, checkpoint=checkpoint)

    def regularise(self, x: Array, gradient: Array, step: Array) -> Array:
        """The operator r_theta of the paper: decay, blur, and the two kinds of clipping."""
        x = priors.decay(x, self.decay)
        if self.blur_std and _is_used(self.blur_every):
            blur = functools.partial(priors.blur, std=self.blur_std)
            x = jax.lax.cond(step % self.blur_every == 0, blur, lambda x: x, x)
        x = priors.clip_small_norm(x, self.norm_percentile) if _is_used(self.norm_percentile) else x
        if _is_used(self.contribution_percentile):
            x = priors.clip_small_contribution(x, gradient, self.contribution_percentile)
        return x

    def _ascend(self, gradient, step, x=None):
        """The update of an optax transformation, since r_theta needs the gradient, which projections do not have."""
        square = (gradient**2).sum((1, 2, 3), keepdims=True)
        limit = self.max_learning_rate
        learning_rate = limit if self.increase is None else jnp.minimum(self.increase / square, limit)
        return self.regularise(x - learning_rate * gradient, gradient, step) - x, step + 1


def _is_used(amount):
    """Whether it is a number but 0; a traced one is an argument of the program that uses it."""
    return isinstance(amount, jax.core.Tracer) or bool(amount)


def _no_steps(x):
    return jnp.zeros((), jnp.int32)


@node
class Fourier(Form):
    """Adam on Fourier coefficients of decorrelated colours, with a sigmoid to the range of pixels, and jitter.

    `jitter`: images are translated by up to `jitter` - 1 pixels, the only one of the code's transforms; 0 is none.
    """

    learning_rate: float = 0.05
    steps: int = 512
    jitter: int = static(default=9)

    def maximise(self, problem: Problem, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Maximises the target of a problem over the coefficients of images.

        Args:
          problem: net, target and a finite range.
          x: initial images (N, H, W, C).
          key: for the jitter.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          ValueError: if the range is not finite.
        """
        if not np.isfinite([problem.lower, problem.upper]).all():
            raise ValueError(f"Expected finite limits for Fourier, got {problem.lower} and {problem.upper}.")
        x = transforms.pad_for_jitter(x, self.jitter)
        objective = Partial(_render_and_score(self.jitter, x.shape[2]), problem)
        rule, start = updates.adam(self.learning_rate), _coefficients(problem, x)
        found = optimize.minimise(objective, start, rule, self.steps, key, checkpoint=checkpoint)
        images = _render(problem.lower, problem.upper, found.x, x.shape[2])
        return found._replace(x=transforms.undo_padding(images, self.jitter))

    def noise(self, key, shape, black):
        """Noise with the spectrum and the colours of natural images."""
        return _render(black, black + 255, parametrisation.fourier_noise(key, shape), shape[2])


@functools.cache
def _render_and_score(jitter, width):
    def loss(problem, key, coefficients):
        images = _render(problem.lower, problem.upper, coefficients, width)
        return problem.terms(transforms.jitter(key, images, jitter))

    return loss


def _render(lower, upper, coefficients, width):
    return lower + (upper - lower) * jax.nn.sigmoid(parametrisation.from_fourier(coefficients, width))


def _coefficients(problem, x):
    fraction = jnp.clip((x - problem.lower) / (problem.upper - problem.lower), MARGIN, 1 - MARGIN)
    return parametrisation.to_fourier(jax.scipy.special.logit(fraction))


def maximise(
    net: Network,
    target: Target,
    start: Array,
    key: Array,
    form: Form,
    lower: Any = -np.inf,
    upper: Any = np.inf,
    checkpoint: Path | None = None,
) -> Result:
    """Images that maximise a target, from `start` on.

    Args:
      net: a network of mean-subtracted pixels, see `of_pixels`.
      target: one target for all images, or one row for each; for `inversion.IJCV`, whose `weight` presupposes it,
        divided by the activation of natural images.
      start: initial images (N, H, W, C), mean-subtracted pixels.
      key: for jitter and random crops.
      form: parametrisation, priors and optimiser: `Simonyan`, `Yosinski`, `inversion.IJCV` (its first phase),
        `multifaceted.MFV` or `Fourier`.
      lower: black, one value for each channel or for all.
      upper: white, one value for each channel or for all.
      checkpoint: file from which an interrupted run resumes.

    Returns:
      Images (N, H, W, C), and the history of the terms: "activation", negative, and those of the form's priors.

    Raises:
      TypeError: if `form` is not one of those listed.
      ValueError: for images and targets that do not fit the network, and for limits that are no range.
      DivergedError: if the learning rate is too large.
    """
    if not isinstance(form, Form):
        raise TypeError(f"Expected a form of activation maximisation, such as Yosinski(), got {quoted(form)}.")
    start = as_floats(start, "initial images (N, H, W, C)")
    problem = Problem(network.as_network(net), target, *_range(lower, upper, start.shape[-1:]))
    targets.check(net, start, target)
    targets.check_dependence(net, start, target)
    return form.maximise(problem, start, key, checkpoint)


def _range(lower, upper, channels):
    try:
        limits = [np.broadcast_to(np.asarray(limit, np.float32), channels) for limit in (lower, upper)]
    except ValueError:
        raise ValueError(f"Expected limits for {channels} channels, got {lower} and {upper}.") from None
    if not (limits[0] < limits[1]).all():
        raise ValueError(f"Expected lower limits below upper ones, got {lower} and {upper}.")
    return limits
