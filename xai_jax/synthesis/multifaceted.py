"""Multifaceted feature visualization: images that are enlarged in stages and denoised at every step.

Nguyen, Yosinski & Clune 2016, Multifaceted feature visualization, arXiv 1602.03616, and its authors' code: `MEAN_IMAGE`
starts from the mean of similar images, `CENTRE_BIAS` from noise. A form of `activation_maximisation.maximise`.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial

from xai_jax.core.pytrees import node, static
from xai_jax.synthesis import checkpoints, optimize, priors, transforms, updates
from xai_jax.synthesis.optimize import Result
from xai_jax.synthesis.pixel_forms import Form, Problem

GREY, GREY_STD = 175.0, 8.0  # mean and standard deviation of the noise that centre bias starts from, in pixels


@node
class Stage:
    """Steps at one image size.

    Attributes:
      steps: number of steps.
      learning_rates: first and last mean absolute change of a pixel, in grey levels; linear in between.
      denoising: first and last weight of `priors.denoise`; linear in between.
      scale: factor by which the image is enlarged before the first step.
      margin: border of the crop, in pixels, that gets no gradient.
      spread: standard deviation of the crop's position, see `transforms.random_central_crop`.
    """

    steps: int
    learning_rates: tuple[float, float]
    denoising: tuple[float, float]
    scale: float = static(default=1.0)
    margin: int = static(default=0)
    spread: float = 0.3

    def _project(self, iterations, lower, upper, x, step):
        first, last = self.denoising
        weight = first + (last - first) * step.astype(x.dtype) / self.steps
        return priors.denoise(jnp.clip(x, lower, upper), weight, iterations)


@node
class MFV(Form):
    """Normalised-gradient ascent in stages of increasing size, denoised by total variation after each step.

    `iterations` are those of the denoising. The authors' code denoises only the current crop, this the whole image.
    """

    stages: tuple[Stage, ...]
    iterations: int = 100

    def maximise(self, problem: Problem, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Maximises the target of a problem; the centre of the last images, of the size of the first.

        Args:
          problem: net, target and range.
          x: initial images (N, H, W, C).
          key: for the positions of the crops.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history.

        Raises:
          ValueError: if a margin leaves nothing of the images.
        """
        size, found = x.shape[1:3], [Result(x, {})]
        for number, stage in enumerate(self.stages):
            path, stage_key = checkpoints.phase_path(checkpoint, number), jax.random.fold_in(key, number)
            enlarged = problem.clip(_enlarge(found[-1].x, stage.scale))
            found.append(self._run_stage(stage, size, problem, enlarged, stage_key, path))
        last = optimize.concatenate(found[1:])
        return last._replace(x=transforms.centre_crop(last.x, size))

    def _run_stage(self, stage, size, problem, x, key, checkpoint):
        if 2 * stage.margin >= min(size):
            raise ValueError(f"Expected a margin of less than half of {min(size)} pixels, got {stage.margin}.")
        share = np.prod(size) / np.prod(x.shape[1:3])  # of the image that the crop covers
        first, last = stage.learning_rates
        rule = updates.normalised_gradient(share * first, share * last, stage.steps)
        objective = Partial(_crop_loss(size), stage, problem)
        project = Partial(Stage._project, stage, self.iterations, problem.lower, problem.upper)
        return optimize.minimise(objective, x, rule, stage.steps, key, project, checkpoint)

    def noise(self, key: Array, shape: tuple[int, ...], black: Array) -> Array:
        """Normal noise around light grey."""
        return GREY + black + GREY_STD * jax.random.normal(key, shape)

    @property
    def step_count(self) -> int:
        """Number of gradient steps in all stages."""
        return sum(stage.steps for stage in self.stages)


@functools.cache
def _crop_loss(size):
    """The negative activation of a random central crop of `size`."""

    def loss(stage, problem, key, x):
        inner = np.pad(np.ones([side - 2 * stage.margin for side in size], bool), stage.margin)[..., None]
        shown = transforms.random_central_crop(key, x, size, stage.spread)
        return problem.terms(jnp.where(inner, shown, lax.stop_gradient(shown)))

    return loss


def _enlarge(x, scale):
    return jax.image.resize(x, (len(x), *[round(side * scale) for side in x.shape[1:3]], x.shape[3]), "cubic")


MEAN_IMAGE = MFV(
    (
        Stage(190, (1.0, 2.0), (0.4, 0.4)),
        Stage(150, (1.0, 1.0), (0.01, 2.0), 1.2),
        Stage(20, (2.0, 2.0), (0.1, 2.0), margin=50, spread=0.2),
        Stage(10, (2.0, 2.0), (0.4, 2.0)),
    )
)
CENTRE_BIAS = MFV(  # repeated enlargement shows the centre most often
    (
        Stage(190, (11.0, 11.0), (0.001, 0.05)),
        Stage(150, (6.0, 6.0), (0.01, 0.08), 1.2),
        Stage(150, (1.0, 1.0), (0.01, 2.0), 1.2),
        Stage(30, (3.0, 3.0), (0.1, 2.0), margin=50, spread=0.1),
        Stage(10, (6.0, 3.0), (0.01, 2.0)),
    )
)
