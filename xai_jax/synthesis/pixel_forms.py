"""What all forms of activation maximisation in pixel space share: the problem, and the interface of a form.

>>> net = of_pixels(lambda x, relu=jax.nn.relu, tap=keep: x.sum((1, 2)))
>>> problem = Problem(net, targets.logit(0), jnp.full(3, -1.0), jnp.full(3, 1.0))
>>> problem.terms(2 * jnp.ones((1, 2, 2, 3)))["activation"].tolist(), problem.clip(jnp.full(3, 2.0)).tolist()
([-8.0], [1.0, 1.0, 1.0])
"""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from xai_jax.core import network, targets
from xai_jax.core.network import Network, keep
from xai_jax.core.pytrees import as_partial, node
from xai_jax.core.targets import Target
from xai_jax.synthesis import optimize
from xai_jax.synthesis.optimize import Result

NOISE_STD = 10.0  # of initial noise around the mean, in Yosinski's code


class Problem(NamedTuple):
    """A target to maximise, and the range of pixel values, (C,) each. A pytree, so that compiled steps take it."""

    net: Network
    target: Target
    lower: Array
    upper: Array

    def terms(self, x: Array) -> dict[str, Array]:
        """The negative activation of images (N, H, W, C), (N,)."""
        return {"activation": -targets.evaluate(self.net, x, self.target)[0]}

    def clip(self, x: Array) -> Array:
        """Images within the range."""
        return jnp.clip(x, self.lower, self.upper)

    @property
    def objective(self) -> Partial:
        """`terms` as an argument of compiled steps."""
        return Partial(Problem.terms, self)

    @property
    def project(self) -> Partial:
        """`clip` as a projection of `optimize.minimise`."""
        return Partial(_clip, self.lower, self.upper)


def _clip(lower, upper, x, step):
    return jnp.clip(x, lower, upper)


class Form:
    """Parametrisation, regularisers and optimiser of one paper; subclasses are frozen dataclasses with a field `steps`.

    `relative_activation`: whether the form's constants presuppose activations of about 1, so that the target has to be
    divided by the activation of natural images.
    """

    relative_activation: ClassVar[bool] = False

    def maximise(self, problem: Problem, x: Array, key: Array, checkpoint: Path | None = None) -> Result:
        """Images (N, H, W, C) that maximise the target of a problem.

        Args:
          problem: net, target and range.
          x: initial images (N, H, W, C).
          key: for random transforms; not every form has some.
          checkpoint: file from which an interrupted run resumes.

        Returns:
          Images (N, H, W, C), and the history of the loss.

        Raises:
          NotImplementedError: if the subclass does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `maximise`.")

    def noise(self, key: Array, shape: tuple[int, ...], black: Array) -> Array:
        """Initial images of a shape (N, H, W, C): mean-subtracted pixels, where black is minus the mean, (C,)."""
        return NOISE_STD * jax.random.normal(key, shape)

    @property
    def step_count(self) -> int:
        """Number of gradient steps of `maximise`."""
        return self.steps


@node
class _OfPixels:
    net: Network
    to_network: Partial

    def __call__(self, x, relu=jax.nn.relu, tap=keep):
        return self.net(self.to_network(x), relu=relu, tap=tap)


def of_pixels(net: Network, to_network: Callable[[Array], Array] = optimize.identity) -> Network:
    """A network of mean-subtracted pixels (N, H, W, C), which `to_network` maps to the input of `net`."""
    return _OfPixels(network.as_network(net), as_partial(to_network))
