"""What a target depends on, by dependence analysis of the network's jaxpr.

A gradient that is zero because units are inactive is a result. One that is zero because the target is computed without
the layer, or without the image, is none, and looks the same.

>>> def net(x, relu=jax.nn.relu, tap=network.keep):
...     return tap("relu2", tap("relu1", relu(x)).sum((1, 2)))
>>> sorted(sources(net, np.zeros((1, 4, 4, 3), np.float32), lambda logits, activations: logits[:, 0]).layers)
['relu1', 'relu2']
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from xai_jax.core import network
from xai_jax.core.dependence import body, follow
from xai_jax.core.network import Network
from xai_jax.core.pytrees import shape_and_dtype

_SAME_VALUES = frozenset("broadcast_in_dim convert_element_type copy reshape select_n squeeze transpose".split())


class Sources(NamedTuple):
    """Layers that a target depends on, whether it depends on the image, and the operation that makes the logits."""

    layers: frozenset[str]
    image: bool
    last: str


def sources(net: Network, x: Any, target: Callable) -> Sources:
    """What a target depends on; cached by structure and shapes.

    Where an operation is not followed, its outputs count as dependent on all of its inputs.

    Args:
      net: the network.
      x: images (N, H, W, C), or `jax.ShapeDtypeStruct`.
      target: a target of the network's logits, or of the layers that its attribute `layers` names.

    Returns:
      The sources; a layer that the target reads is one of them.

    Raises:
      ValueError: the network has no layer of that name.

    >>> sources(net, np.zeros((1, 4, 4, 3), np.float32), lambda logits, activations: logits[:, 0]).image
    True
    """
    layers = network.layer_names(net, x)
    leaves, tree = jax.tree.flatten((network.as_network(net), network.as_network(target)))
    shapes = tuple(map(shape_and_dtype, leaves))
    return _sources(tree, shapes, tuple(x.shape), jnp.result_type(x), tuple(layers))


@functools.lru_cache(maxsize=32)  # few, as some networks keep their weights here
def _sources(tree, shapes, shape, dtype, layers):
    def run(x, switches, net, target):
        def marked(x, relu=jax.nn.relu, tap=network.keep):
            def mark(name, value):  # an array, or a pytree of them
                return tap(name, jax.tree.map(lambda leaf: jax.lax.select_n(switches[name], leaf, leaf), value))

            return net(x, relu=relu, tap=mark)

        logits, kept = network.capture(marked, x, getattr(target, "layers", ()))
        return target(logits, kept), logits

    net, target = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*each) for each in shapes])
    switches = {name: jax.ShapeDtypeStruct((), np.bool_) for name in layers}
    closed = jax.make_jaxpr(run)(jax.ShapeDtypeStruct(shape, dtype), switches, net, target)
    bits = {name: 2 << number for number, name in enumerate(sorted(layers))}  # bit 0 is for the images
    found, _ = follow(closed, [1, *bits.values(), *[0] * len(shapes)])
    if closed.effects:  # what is written to a reference is not followed
        found = -1
    return Sources(frozenset(name for name, bit in bits.items() if found & bit), bool(found & 1), _last(closed))


def _last(jaxpr, output=-1):
    """Name of the operation that makes an output of a jaxpr, apart from those that only rearrange values.

    "softmax" for the quotient of an exponential function.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)  # newer JAX has only one kind
    makers, atom = {made: eqn for eqn in jaxpr.eqns for made in eqn.outvars}, jaxpr.outvars[output]
    while not isinstance(atom, Literal) and atom in makers:
        eqn = makers[atom]
        if called := body(eqn):
            return _last(called, eqn.outvars.index(atom))
        name, atom = eqn.primitive.name, eqn.invars[0 if eqn.primitive.name == "div" else -1]
        if name == "div":
            is_softmax = not isinstance(atom, Literal) and atom in makers and makers[atom].primitive.name == "exp"
            return "softmax" if is_softmax else name
        if name not in _SAME_VALUES:
            return name
    return ""
