"""The network that `xai_jax.adapters.adapt` makes of a function: traced, checked and evaluated with its rules and taps.

>>> from xai_jax.core.closures import as_leaves
>>> net = Adapted((), as_leaves(lambda x: jax.nn.relu(x).mean((1, 2))), PerImage(()), (), False, -1)
>>> net(jax.numpy.ones((2, 8, 8, 3))).shape
(2, 3)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.adapters import independent_rows, rectifiers
from xai_jax.adapters.jaxpr_rewriting import Pass
from xai_jax.adapters.origins import IMAGES, Origin
from xai_jax.adapters.sites import Site, require_rules
from xai_jax.core.network import Tap, keep
from xai_jax.core.per_image import PerImage, check_rows
from xai_jax.core.pytrees import node, require_arrays, static
from xai_jax.core.rules import Relu


def _apply(function, bound, x, inputs):
    return function(*bound, x, *inputs)


@node
class Adapted:
    """A Network; fields as the parameters of `adapt.from_function`."""

    bound: tuple
    function: Callable
    inputs: PerImage
    relu_patterns: tuple[str, ...] = static()
    per_image: bool = static()
    channel_axis: int = static()

    def __call__(self, x: Array, relu: Relu = jax.nn.relu, tap: Tap = keep) -> Array:
        logits, run, closed = self.run(x, relu, tap)
        if run.mixes:
            independent_rows.require(self, x)
        if run.has_rule:
            require_rules(run.sites["relu"], self.rectifiers(closed))
        return logits

    def run(self, x, relu, tap):
        require_arrays(self)
        check_rows(self.inputs, x.shape[0])
        given = x, self.inputs.value
        examples = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[self.per_image :], jnp.result_type(a)), given)
        closed, shape = jax.make_jaxpr(_apply, return_shape=True)(self.function, self.bound, *examples)
        if not isinstance(shape, jax.ShapeDtypeStruct):
            raise ValueError(f"Expected a model that returns one array of logits, got {jax.tree.structure(shape)}.")
        run = Pass(relu, tap, x.shape[0], self.covered(closed), self.per_image, self.channel_axis)
        weights, given = jax.tree.leaves((self.function, self.bound)), jax.tree.leaves(given)
        origins = [None] * len(weights) + [IMAGES] + [Origin(None, False, False)] * (len(given) - 1)
        (logits,), (origin,) = run.evaluate(closed, weights + given, origins)
        run.mixes = origin is not None and origin.mixes
        return logits, run, closed

    def found(self, closed):
        return rectifiers.find(closed, len(jax.tree.leaves(self.inputs)))

    def covered(self, closed):
        """Rectifiers that get the rule on request."""
        found = self.found(closed).items() if self.relu_patterns else ()
        return {calls: rectifier for calls, rectifier in found if rectifier.can_be_covered}

    def rectifiers(self, closed) -> list[Site]:
        covered = self.covered(closed)
        return [Site(*r[:3], r.kind == "relu" or calls in covered) for calls, r in self.found(closed).items()]
