"""The network that `xai_jax.adapters.adapt` makes of a function: traced, checked and evaluated with its rules and taps.

>>> from xai_jax.adapters.outputs import chooser
>>> from xai_jax.core.closures import as_leaves
>>> model = as_leaves(lambda x: jax.nn.relu(x).mean((1, 2)))
>>> net = Adapted((), model, chooser(None), PerImage(()), (), False, -1)
>>> net(jax.numpy.ones((2, 8, 8, 3))).shape
(2, 3)
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from xai_jax.adapters import independent_rows, rectifiers
from xai_jax.adapters.jaxpr_rewriting import Pass
from xai_jax.adapters.origins import IMAGES, Origin
from xai_jax.adapters.sites import Site, Sites, require_rules
from xai_jax.core.network import Network, Tap, keep
from xai_jax.core.per_image import PerImage, check_rows
from xai_jax.core.pytrees import node, require_arrays, static
from xai_jax.core.rules import Relu


def _apply(function, choose, bound, x, inputs):
    return choose(function(*bound, x, *inputs))


@node
class Adapted:
    """A Network; fields as the parameters of `adapt.from_function`, of which `choose` is the `output`."""

    bound: tuple
    function: Callable
    choose: Callable
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
        closed = jax.make_jaxpr(_apply)(self.function, self.choose, self.bound, *examples)
        run = Pass(relu, tap, x.shape[0], self.covered(closed), self.per_image, self.channel_axis)
        weights, given = jax.tree.leaves((self.function, self.choose, self.bound)), jax.tree.leaves(given)
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


def sites(net: Network, x: Any) -> Sites:
    """Counts what is rewritten in an adapted network, and its rectifiers without a rule, by abstract evaluation.

    >>> x = jax.numpy.ones((2, 8, 8, 3))
    >>> sites(net, x)
    {'relu': 1, 'pool': 0}
    >>> model = as_leaves(lambda x: jax.nn.relu(jax.nn.leaky_relu(x + 1)).mean((1, 2)))
    >>> found = sites(Adapted((), model, chooser(None), PerImage(()), (), False, -1), x)
    >>> found, [(site.kind, site.shape, site.rule) for site in found.rectifiers]
    ({'relu': 1, 'pool': 0, 'leaky ReLU': 1}, [('leaky ReLU', (2, 8, 8, 3), False), ('relu', (2, 8, 8, 3), True)])

    Args:
      net: a network made by `xai_jax.adapters.adapt`.
      x: images, or their shape and type.

    Returns:
      The numbers of ReLUs and max-pools that are rewritten and of further rectifiers by kind; `rectifiers` lists each
      with its shape, module and line of source. The backward rules refuse a network with a rectifier without a rule.
    """
    if not isinstance(net, Adapted):
        raise TypeError(f"Expected a network made by xai_jax.adapters.adapt, got {type(net).__name__}.")
    traced = []

    def trace(x):
        logits, *rest = net.run(x, jax.nn.relu, keep)
        traced.extend(rest)
        return logits

    jax.eval_shape(trace, x)
    run, closed = traced
    found = net.rectifiers(closed)
    counts = Counter(site.kind for site in found if not site.rule)
    return Sites({"relu": run.sites["relu"], "pool": run.sites["pool"]} | counts, found)
