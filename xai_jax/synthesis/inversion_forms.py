"""The two forms of natural pre-images by Mahendran & Vedaldi: regularisers and optimiser of 2015 and of 2016.

A form minimises any objective `terms(x)` -> terms of the loss by name, (N,) each; `inversion.invert` gives it the
distance of representations, `inversion.caricature` an inner product, `activation_maximisation.maximise` an activation.

>>> terms = Partial(lambda x: {"features": sum_each((x - 20.0) ** 2) / 4800.0})
>>> x = jnp.zeros((1, 2, 2, 3))
>>> bool(CVPR(phases=((0.1, 5),)).minimise(terms, x, jax.random.key(0)).x.mean() > 0)
True
>>> IJCV(steps=(3, 2)).minimise(terms, x, jax.random.key(0)).history["features"].shape
(5, 1)
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.core.pytrees import node, static
from xai_jax.synthesis import checkpoints, optimize, priors, transforms, updates
from xai_jax.synthesis.optimize import Result
from xai_jax.synthesis.pixel_forms import Form, Problem

Terms = Callable[[Array], Mapping[str, Array]]


def sum_each(x: Array) -> Array:
    """Sum over all axes but the first, (N,)."""
    return x.reshape(len(x), -1).sum(1)


@node
class CVPR:
    """The form of 2015: normalised loss, alpha-norm and total variation; gradient descent with momentum.

    Attributes:
      total_variation: lambda_V of the code, 1, 10 or 100 (0.5, 5, 50 in the paper) for lower, middle and upper layers.
      beta: exponent of the total variation.
      norm: lambda_alpha of the code.
      alpha: exponent of the norm.
      std: RMS of the values of natural images; the paper's sigma is this times the root of the number of values.
      learning_rate: of the first phase.
      phases: (learning-rate factor, number of steps); momentum is reset at each phase.
    """

    total_variation: float = 10.0
    beta: float = static(default=2.0)
    norm: float = 8e-10
    alpha: float = static(default=6.0)
    std: float = 68.9
    learning_rate: float = 0.004
    phases: tuple[tuple[float, int], ...] = ((1.0, 100), (0.1, 200), (0.01, 100))
    padding: ClassVar[int] = 0

    def initial_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Gaussian noise (N, H, W, C) with the RMS of natural images."""
        x = jax.random.normal(key, shape)
        return x * self.std / jnp.sqrt((x**2).mean((1, 2, 3), keepdims=True))

    def minimise(self, terms: Terms, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Minimises an objective and the regularisers.

        Args:
          terms: objective, images -> terms of the loss by name, (N,) each.
          x: initial images (N, H, W, C).
          key: not used.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          DivergedError: if the learning rate is too large.
        """
        del key
        steps = sum(count for _, count in self.phases)
        rule = updates.momentum(self.learning_rate, self.phases)
        return optimize.minimise(Partial(CVPR._loss, self, terms), x, rule, steps, checkpoint=checkpoint)

    def _loss(self, terms, x):
        """All terms are sigma squared times the paper's, as in the code, so that its learning rates hold."""
        sigma = float(x[0].size) * self.std**2  # beyond int32 for an integer
        return {name: sigma * value for name, value in terms(x).items()} | {
            "norm": self.norm / 2 * priors.alpha_norm(x, self.alpha),
            "total_variation": self.total_variation / 2 * priors.total_variation(x, self.beta),
        }


@node
class IJCV(Form):
    """The form of 2016: jittered images with bounded colours; momentum with AdaGrad-like scaling.

    Attributes:
      weight: C, the weight of the loss: 1, 20, 100 or 300.
      norm: factor of the norm prior, 1 in the paper.
      alpha: exponent of the norm.
      total_variation: factor of the total variation prior, 1 in the paper.
      beta: exponent of the total variation.
      std: standard deviation of the colours of natural images (B+).
      max_norm: greatest colour norm (B).
      jitter: images are translated by up to `jitter` - 1 pixels, a quarter of the layer's stride in the paper; 0 and 1
        are none.
      steps: number with jitter, then without at a tenth of the learning rate; either may be 0.
    """

    weight: float = 100.0
    norm: float = 1.0
    alpha: float = static(default=6.0)
    total_variation: float = 1.0
    beta: float = static(default=2.0)
    std: float = 80.0
    max_norm: float = 160.0
    jitter: int = static(default=1)
    steps: tuple[int, int] = (300, 50)
    relative_activation: ClassVar[bool] = True

    @property
    def padding(self) -> int:
        """Pixels by which images are enlarged in height and width."""
        return transforms.padding(self.jitter)

    def maximise(self, problem: Problem, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Maximises the target of a problem, with the first phase alone.

        Args:
          problem: net, target and range; `weight` is the activation's.
          x: initial images (N, H, W, C).
          key: for the jitter.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          DivergedError: if the learning rate is too large.
        """
        return self.minimise_jittered(problem.objective, x, key, checkpoint, (problem.lower, problem.upper))

    @property
    def step_count(self) -> int:
        """Number of gradient steps of `maximise`."""
        return self.steps[0]

    def initial_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Uniform noise (N, H, W, C) with the standard deviation of natural images."""
        x = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
        return x / jnp.quantile(x, 0.95) * self.std / np.sqrt(3)

    def minimise(self, terms: Terms, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Minimises an objective and the priors with jitter, then without.

        Args:
          terms: objective, images -> terms of the loss by name, (N,) each.
          x: images (N, H + padding, W + padding, C).
          key: for the jitter.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history of both phases.

        Raises:
          DivergedError: if the learning rate is too large.
        """
        learning_rate, found = self.initial_learning_rate(x), []
        phases = [checkpoints.phase_path(checkpoint, number) for number in range(2)]
        if self.steps[0]:
            found.append(self._phase(terms, x, learning_rate, self.steps[0], key, phases[0]))
        if self.steps[1] or not found:
            x = found[0].x if found else x
            found.append(self._phase(terms, x, learning_rate / 10, self.steps[1], key, phases[1], still=True))
        return self._without_padding(optimize.concatenate(found))

    def minimise_jittered(
        self,
        terms: Terms,
        x: Array,
        key: Array,
        checkpoint: Path | None = None,
        limits: tuple[Any, Any] = (-np.inf, np.inf),
    ) -> Result:
        """The first phase alone.

        Args:
          terms: objective, images -> terms of the loss by name, (N,) each.
          x: images (N, H, W, C), which are padded for the jitter.
          key: for the jitter.
          checkpoint: file from which an interrupted run resumes.
          limits: range of the values, one for each channel or for all.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          DivergedError: if the learning rate is too large.
        """
        x = transforms.pad_for_jitter(x, self.jitter)
        learning_rate = self.initial_learning_rate(x)
        return self._without_padding(self._phase(terms, x, learning_rate, self.steps[0], key, checkpoint, limits))

    def initial_learning_rate(self, x: Array) -> float:
        """The initial learning rate for padded images (N, H, W, C)."""
        return 0.05 * self.std**2 / self.alpha * x.shape[1] * x.shape[2]

    def _phase(self, terms, x, learning_rate, steps, key, checkpoint, limits=(-np.inf, np.inf), still=False):
        """Steps at one learning rate, of jittered images or, if `still`, of their centre; images keep their padding."""
        limits = (np.asarray(limit, np.float32) for limit in limits)
        objective, project = Partial(IJCV._loss, self, terms, still), Partial(IJCV._project, self, *limits)
        return optimize.minimise(objective, x, updates.adagrad_momentum(learning_rate), steps, key, project, checkpoint)

    def _without_padding(self, result):
        return result._replace(x=transforms.undo_padding(result.x, self.jitter))

    def _loss(self, terms, still, key, x):
        """One program for both phases, as that of a network takes long to compile."""
        shown, penalties = x, self._penalties(x)
        if self.padding:
            centre, choose = transforms.undo_padding(x, self.jitter), functools.partial(jnp.where, still)
            shown = choose(centre, transforms.jitter(key, x, self.jitter))
            penalties = jax.tree.map(choose, self._penalties(centre), penalties)
        return {name: self.weight * value for name, value in terms(shown).items()} | penalties

    def _penalties(self, x):
        return {
            "norm": self.norm * priors.colour_norm(x / self.std, self.alpha),
            "total_variation": self.total_variation * priors.mean_total_variation(x * (6.5 / self.std), self.beta),
        }

    def _project(self, lower, upper, x, step):
        return jnp.clip(priors.clip_colour_norm(x, self.max_norm), lower, upper)
